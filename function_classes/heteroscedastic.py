"""Linear regression whose noise level is unknown and drawn for every prompt (Liu et al. 2024, uncertainty)."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import Problem, setting
from function_classes.mixtures import Components, mixed_log_predictive, mixed_moments, running_log_weights
from function_classes.noise_laws import InverseGamma, NoiseLaw
from function_classes.posteriors import LinearPosterior, linear_filter
from function_classes.spaces import Real
from function_classes.vectors import VectorInputs


class NoisyTask(NamedTuple):
    """A task: its weights, and the standard deviation of its label noise."""

    weights: Float[Array, "D"]
    noise_std: Float[Array, ""]


class StudentPosterior(NamedTuple):
    """Before y_k is seen it is Student-t with `degrees` of freedom around `mean`, its square scale `square_scale`."""

    degrees: Float[Array, "P"]
    mean: Float[Array, "P"]
    square_scale: Float[Array, "P"]


@FunctionClass.registry.add("heteroscedastic-linear", papers=("liu-2024",))
class HeteroscedasticLinear(VectorInputs):
    """y = w'x + s e with s drawn from `noise` for every prompt; the paper publishes no law of s, ours are choices.

    proportional: w ~ N(0, weight_std^2 s^2 I). With s^2 ~ IG(a, b) everything is conjugate: after k examples
        L = X'X + I / weight_std^2,  a_k = a + k / 2,  b_k = b + sum_{j<k} (y_j - m_j'x_j)^2 / 2 (1 + x_j'L_j^-1 x_j)
        y_k ~ Student-t with 2 a_k degrees around m_k'x_k, square scale (b_k / a_k)(1 + x_k'L_k^-1 x_k)
    independent: w ~ N(0, weight_std^2 I). A mixture of linear regressions over a grid of s, weighted by their
        evidence: exact where the law is itself a grid, otherwise quadrature.

    Prediction has the mean and the variance of y, E[s^2 | seen] + Var(w'x | seen); at k = 0, x: the prior's. Their
    Gaussian is the best of all Gaussians, but `log_predictive` is the density itself, Student-t or mixture.

    >>> task = HeteroscedasticLinear(dim=2, points=1, weight_std=1.0)
    >>> prompt = Prompt(jnp.array([[1.0, 1.0]]), jnp.zeros(1))
    >>> print(task.bayes(prompt).variance)  # E[s^2] (|x|^2 + 1) with E[s^2] = b / (a - 1)
    [0.75]
    """

    lesson = "The noise level of a prompt is learned too: it changes how far Bayes trusts the labels, and its variance."

    dim: int = setting(4, "number of input coordinates", at_least=1)
    weight_std: float = setting(1.0, "standard deviation of every weight (proportional: in units of s)", above=0)
    weights: Literal["proportional", "independent"] = setting("proportional", "whether weights scale with the noise")
    noise: NoiseLaw = setting(InverseGamma(), "law of the noise level s")

    def problems(self):
        yield from super().problems()
        if not self.conjugate:
            for problem in self.noise.grid_problems():
                fix = "; weights=proportional needs no average" if isinstance(self.noise, InverseGamma) else ""
                yield Problem(f"noise.{problem.path}", problem.message + fix)

    @property
    def y_space(self) -> Real:
        return Real()

    @property
    def conjugate(self) -> bool:
        return self.weights == "proportional" and isinstance(self.noise, InverseGamma)

    @property
    def bayes_kind(self) -> BayesKind:
        if self.conjugate:
            return BayesKind("exact", "conjugate: Student-t")
        return self.noise.grid_kind

    @property
    def mean_square(self) -> Float[Array, ""]:
        mean, variance = self.inputs.moments(self.dim)
        scale = self.noise.mean_variance if self.weights == "proportional" else 1.0
        return self.weight_std**2 * scale * jnp.sum(variance + mean**2)

    def sample_latent(self, key: PRNGKeyArray) -> NoisyTask:
        noise, weights = jax.random.split(key)
        std = self.noise.sample(noise)
        scale = std if self.weights == "proportional" else 1.0
        return NoisyTask(self.weight_std * scale * jax.random.normal(weights, (self.dim,)), std)

    def evaluate(self, latent: NoisyTask, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        return jnp.matmul(xs, latent.weights, precision=jax.lax.Precision.HIGHEST)

    def sample_outputs(self, latent: NoisyTask, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P"]:
        return self.evaluate(latent, xs) + latent.noise_std * jax.random.normal(key, xs.shape[:1])

    def student(self, prompt: Prompt) -> StudentPosterior:
        """The conjugate posterior predictive. b grows by standardized residuals, a sum that does not cancel."""
        law = self.noise
        assert isinstance(law, InverseGamma)
        unit = linear_filter(prompt.xs, prompt.ys, self.weight_std, 1.0)
        inflation = 1 + unit.variance

        def step(rate, now):
            y, mean, inflation = now
            return rate + (y - mean) ** 2 / (2 * inflation), rate

        start = jnp.asarray(law.rate, jnp.float32)
        rates = jax.lax.scan(step, start, (prompt.ys, unit.mean, inflation))[1]
        shapes = law.shape + 0.5 * jnp.arange(prompt.points, dtype=jnp.float32)
        return StudentPosterior(2 * shapes, unit.mean, rates / shapes * inflation)

    def levels(self, prompt: Prompt) -> tuple[Float[Array, "M P"], Components]:
        """log P(s = s_m | y_<k), and the linear regression at every noise level of the grid."""
        log_probs, stds = self.noise.grid()

        def one(std: Float[Array, ""]) -> Components:
            prior = self.weight_std * (std if self.weights == "proportional" else 1.0)
            found: LinearPosterior = linear_filter(prompt.xs, prompt.ys, prior, std)
            variance = found.variance + std**2
            logs = -0.5 * (jnp.log(2 * jnp.pi * variance) + (prompt.ys - found.mean) ** 2 / variance)
            return Components(found.mean, variance, logs)

        components = jax.vmap(one)(stds)
        return running_log_weights(log_probs, components.log_predictive), components

    def bayes(self, prompt: Prompt) -> Prediction:
        if not self.conjugate:
            log_weights, components = self.levels(prompt)
            return mixed_moments(log_weights, components.mean, components.variance)
        student = self.student(prompt)
        return Prediction(mean=student.mean, variance=student.square_scale * student.degrees / (student.degrees - 2))

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        if not self.conjugate:
            log_weights, components = self.levels(prompt)
            return mixed_log_predictive(log_weights, components.log_predictive)
        n, mean, square = self.student(prompt)
        tail = 0.5 * (n + 1) * jnp.log1p((prompt.ys - mean) ** 2 / (n * square))
        return gammaln((n + 1) / 2) - gammaln(n / 2) - 0.5 * jnp.log(n * jnp.pi * square) - tail
