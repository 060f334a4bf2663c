"""Linear functions of Gaussian weights: the class of Garg et al. 2022 and Akyurek et al. 2022, with label noise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.inputs import Gaussian, InputLaw, unfit
from function_classes.posteriors import LinearPosterior, linear_filter, log_normal
from function_classes.spaces import Real


@FunctionClass.registry.add("linear-regression", papers=("garg-2022", "akyurek-2022", "raventos-2023"))
class LinearRegression(FunctionClass):
    """y = w'x + noise_std e with w ~ N(weight_mean 1, weight_std^2 I), e ~ N(0, 1), x from `inputs`.

    Bayes is ridge towards weight_mean 1 with penalty noise_std^2 / weight_std^2 on the sum X'X; its predictive variance
    is noise_std^2 + x'Sx with posterior covariance S. Around mean 0, E[y^2] = weight_std^2 E|x|^2 + noise_std^2.

    >>> task = LinearRegression(dim=2, points=3, noise_std=0.0)
    >>> print(task.evaluate(jnp.array([1.0, -1.0]), jnp.array([[3.0, 1.0]])))
    [2.]
    """

    lesson = (
        "Ridge at the penalty of the noise is Bayes; least squares peaks where k = dim, gradient descent stops early."
    )

    dim: int = setting(5, "number of input coordinates", at_least=1)
    points: int = setting(16, "positions in a prompt", at_least=1)
    noise_std: float = setting(0.5, "standard deviation of the label noise, in the unit of y", at_least=0)
    weight_std: float = setting(1.0, "standard deviation of every weight", above=0)
    inputs: InputLaw = setting(Gaussian(), "law of the inputs")
    weight_mean: float = setting(0.0, "mean of every weight")

    def problems(self):
        return unfit(self.inputs, self.dim)

    @property
    def x_space(self) -> Real:
        return Real((self.dim,))

    @property
    def y_space(self) -> Real:
        return Real()

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "conjugate Gaussian")

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "D"]:
        return self.weight_mean + self.weight_std * jax.random.normal(key, (self.dim,))

    def sample_inputs(self, latent: Float[Array, "D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        return self.inputs.sample(key, self.points, self.dim)

    def evaluate(self, latent: Float[Array, "D"], xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        return jnp.matmul(xs, latent, precision=jax.lax.Precision.HIGHEST)

    def sample_outputs(
        self, latent: Float[Array, "D"], xs: Float[Array, "P D"], key: PRNGKeyArray
    ) -> Float[Array, "P"]:
        return self.evaluate(latent, xs) + self.noise_std * jax.random.normal(key, xs.shape[:1])

    def posterior(self, prompt: Prompt) -> LinearPosterior:
        """Mean and variance of w'x_k, and the posterior mean of w, before y_k is seen."""
        expected = self.weight_mean * jnp.sum(prompt.xs, -1)
        around = linear_filter(prompt.xs, prompt.ys - expected, self.weight_std, self.noise_std)
        return LinearPosterior(around.mean + expected, around.variance, around.weights + self.weight_mean)

    def bayes(self, prompt: Prompt) -> Prediction:
        posterior = self.posterior(prompt)
        return Prediction(mean=posterior.mean, variance=posterior.variance + self.noise_std**2)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        posterior = self.posterior(prompt)
        prior = self.weight_std**2 * jnp.sum(prompt.xs**2, -1)
        return log_normal(prompt.ys, posterior.mean, posterior.variance + self.noise_std**2, prior)
