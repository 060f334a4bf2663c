"""Functions of the last few inputs: the sequential class of Campbell, Guo, Hu, Vir, Hsiao 2023."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import setting
from function_classes.posteriors import HIGHEST, LinearPosterior, linear_filter, log_normal
from function_classes.vectors import NoisyNumbers, VectorInputs


@FunctionClass.registry.add("sliding-window", papers=("campbell-2023",))
class SlidingWindow(VectorInputs, NoisyNumbers):
    """y_i = f(x_i, x_{i-1}, ..., x_{i-n+1}) + noise_std e_i with n = `window`; inputs before the first are 0.

    separate: f = sum_j w_j'x_{i-j},  w_j ~ N(0, weight_std^2 I) independent: n dim weights.
    shared:   f = w' sum_j x_{i-j},   w ~ N(0, weight_std^2 I): dim weights.
    relu:     f = sqrt(2 / hidden) a' relu(W [x_i; ...; x_{i-n+1}]) with a ~ N(0, weight_std^2 I), W_ij ~ N(0, 1).

    For full windows E f^2 = weight_std^2 E|window|^2 in all three. The paper's code is not public: variants, sizes and
    names are ours. Bayes is ridge on stacked (or summed) lags; a predictor that sees x_i alone keeps (n - 1) / n of the
    variance. Examples are not exchangeable: `evaluate` takes rows of inputs as one sequence from its beginning.

    >>> task = SlidingWindow(dim=1, points=3, window=2)
    >>> print(task.evaluate(jnp.array([[1.0], [10.0]]), jnp.array([[1.0], [2.0], [3.0]])))
    [ 1. 12. 23.]
    """

    lesson = "Ridge on stacked lags is Bayes; whoever reads the last input alone keeps (n - 1) / n of the variance."

    points: int = setting(32, "positions in a prompt", at_least=1)
    window: int = setting(3, "how many inputs y depends on, the last one among them", at_least=1)
    function: Literal["separate", "shared", "relu"] = setting("separate", "how the inputs of a window act")
    hidden: int = setting(32, "hidden units; read by relu alone", at_least=1)
    weight_std: float = setting(1.0, "standard deviation of every (output) weight", above=0)

    @property
    def exchangeable(self) -> bool:
        return self.window == 1

    @property
    def bayes_kind(self) -> BayesKind:
        if self.function == "relu":
            return BayesKind("none", "hidden units leave no closed form; separate and shared weights have one")
        return BayesKind("exact", "conjugate Gaussian on the lags")

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "N D"] | tuple[Float[Array, "H E"], Float[Array, "H"]]:
        """Weights (window, dim) or (1, dim), or hidden and output weights."""
        if self.function != "relu":
            rows = self.window if self.function == "separate" else 1
            return self.weight_std * jax.random.normal(key, (rows, self.dim))
        first, second = jax.random.split(key)
        hidden = jax.random.normal(first, (self.hidden, self.window * self.dim))
        return hidden, self.weight_std * jax.random.normal(second, (self.hidden,))

    def lags(self, xs: Float[Array, "N D"]) -> Float[Array, "N F"]:
        """What f reads at every position: [x_i; ...; x_{i-n+1}], or their sum for shared weights."""
        padded = jnp.concatenate([jnp.zeros((self.window - 1, xs.shape[1]), xs.dtype), xs])
        blocks = [padded[self.window - 1 - lag : self.window - 1 - lag + xs.shape[0]] for lag in range(self.window)]
        if self.function == "shared":
            return sum(blocks[1:], blocks[0])
        return jnp.concatenate(blocks, -1)

    def evaluate(self, latent: object, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        if isinstance(latent, tuple):
            hidden, outer = latent
            active = jnp.maximum(jnp.matmul(self.lags(xs), hidden.T, precision=HIGHEST), 0)
            return jnp.sqrt(2 / self.hidden) * jnp.matmul(active, outer, precision=HIGHEST)
        return jnp.matmul(self.lags(xs), jnp.asarray(latent).reshape(-1), precision=HIGHEST)

    def posterior(self, prompt: Prompt) -> LinearPosterior:
        """Of the weights on the lags. Raises NotAvailable for relu."""
        if self.function == "relu":
            raise NotAvailable(f"{self.name} has no posterior: {self.bayes_kind.detail}")
        return linear_filter(self.lags(prompt.xs), prompt.ys, self.weight_std, self.noise_std)

    def bayes(self, prompt: Prompt) -> Prediction:
        posterior = self.posterior(prompt)
        return Prediction(mean=posterior.mean, variance=posterior.variance + self.noise_std**2)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        posterior = self.posterior(prompt)
        prior = self.weight_std**2 * jnp.sum(self.lags(prompt.xs) ** 2, -1)
        return log_normal(prompt.ys, posterior.mean, posterior.variance + self.noise_std**2, prior)
