"""Real streams that continue themselves, linearly or through fixed random features (Gao et al. 2024)."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.posteriors import HIGHEST, LinearPosterior, linear_filter, log_normal
from function_classes.streams import NumberStream


@FunctionClass.registry.add("autoregressive", papers=("gao-2024",))
class Autoregressive(NumberStream):
    """y_t = w'phi(y_{t-1}, ..., y_{t-q}) + noise_std e_t with q = `order`; values before the first are 0.

    w ~ N(0, weight_std^2 / F I) for the F features, fresh in every stream.
    linear: phi is the q lags themselves. random: phi_i = sqrt(2) cos(omega_i'z + b_i), omega_i ~ N(0, I), b_i uniform
    over a circle, drawn once by `feature_seed`: then f is bounded in mean square by weight_std^2 wherever the stream
    goes. Gaussian weights on lags make some streams explode, which then dominate squared errors: choose weight_std
    below about 0.3 there, or few points.

    Bayes is a linear regression on the features, which are known once the past is: exact for both.

    >>> task = Autoregressive(points=3, order=1, features="linear")
    >>> print(task.features_of(jnp.array([1.0, 2.0, 3.0]))[:, 0])
    [0. 1. 2.]
    """

    lesson = "The stream is its own regression problem: inputs are past outputs, and ridge on lags is still Bayes."

    points: int = setting(32, "values in a stream", at_least=1)
    order: int = setting(2, "how many values the next one depends on", at_least=1)
    features: Literal["linear", "random"] = setting("random", "what the weights act on")
    feature_count: int = setting(16, "number of random features", at_least=1)
    feature_seed: int = setting(0, "draws the random features", at_least=0, at_most=2**32 - 1)
    noise_std: float = setting(0.5, "standard deviation of the noise on every value", above=0)
    weight_std: float = setting(1.0, "root of the expected sum of squared weights", above=0)

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "conjugate Gaussian on features of the past")

    @property
    def each_std(self) -> Array:
        """Standard deviation of one weight."""
        return self.weight_std / jnp.sqrt(self.order if self.features == "linear" else self.feature_count)

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "F"]:
        count = self.order if self.features == "linear" else self.feature_count
        return self.each_std * jax.random.normal(key, (count,))

    def sample_prompt(self, latent: Float[Array, "F"], key: PRNGKeyArray) -> Prompt:
        noise = jax.vmap(lambda t: jax.random.normal(jax.random.fold_in(key, t)))(jnp.arange(self.points))

        def step(lags, e):
            y = jnp.sum(latent * self._phi(lags[None])[0]) + self.noise_std * e
            return jnp.concatenate([y[None], lags[:-1]]), y

        ys = jax.lax.scan(step, jnp.zeros(self.order), noise)[1]
        return Prompt(jnp.zeros((self.points, 0)), ys, latent)

    def features_of(self, ys: Float[Array, "P"]) -> Float[Array, "P F"]:
        """phi of the values before every position."""
        padded = jnp.concatenate([jnp.zeros(self.order, ys.dtype), ys])
        lags = [padded[self.order - lag : self.order - lag + ys.shape[0]] for lag in range(1, self.order + 1)]
        return self._phi(jnp.stack(lags, -1))

    def posterior(self, prompt: Prompt) -> LinearPosterior:
        """Of the weights, before every value."""
        return linear_filter(self.features_of(prompt.ys), prompt.ys, self.each_std, self.noise_std)

    def bayes(self, prompt: Prompt) -> Prediction:
        posterior = self.posterior(prompt)
        return Prediction(mean=posterior.mean, variance=posterior.variance + self.noise_std**2)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        posterior = self.posterior(prompt)
        variance = posterior.variance + self.noise_std**2
        return log_normal(prompt.ys, posterior.mean, variance, jnp.zeros(prompt.points))

    def oracle(self, prompt: Prompt) -> Prediction:
        """E[y_t | w, the past] and its variance."""
        mean = jnp.matmul(self.features_of(prompt.ys), prompt.latent, precision=HIGHEST)
        return Prediction(mean=mean, variance=jnp.broadcast_to(jnp.square(self.noise_std), mean.shape))

    def _phi(self, lags: Float[Array, "P q"]) -> Float[Array, "P F"]:
        if self.features == "linear":
            return lags
        first, second = jax.random.split(jax.random.key(self.feature_seed))
        omega = jax.random.normal(first, (self.feature_count, self.order))
        phase = jax.random.uniform(second, (1, self.feature_count), maxval=2 * jnp.pi)
        return jnp.sqrt(2.0) * jnp.cos(jnp.matmul(lags, omega.T, precision=HIGHEST) + phase)
