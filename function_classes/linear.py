"""Linear functions of Gaussian weights: the class of Garg et al. 2022 and Akyurek et al. 2022, with label noise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.linear_functions import LinearFunctions
from function_classes.mixtures import GaussianMixture
from function_classes.posteriors import LinearPosterior, linear_filter, log_normal


@FunctionClass.registry.add("linear-regression", papers=("garg-2022", "akyurek-2022", "raventos-2023"))
class LinearRegression(LinearFunctions):
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

    weight_std: float = setting(1.0, "standard deviation of every weight", above=0)
    weight_mean: float = setting(0.0, "mean of every weight")

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "conjugate Gaussian")

    def prior(self) -> GaussianMixture:
        """The law of w, as one component."""
        ones = jnp.ones((1, self.dim))
        return GaussianMixture(jnp.zeros(1), self.weight_mean * ones, self.weight_std * ones)

    def weight_square(self) -> Float[Array, "D D"]:
        return self.prior().second_moment()

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "D"]:
        return self.weight_mean + self.weight_std * jax.random.normal(key, (self.dim,))

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
