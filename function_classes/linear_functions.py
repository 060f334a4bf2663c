"""What classes of linear functions share: y = w'x + noise_std e, and Bayes for every finite mixture of Gaussian priors.

With w ~ sum_m pi_m N(mu_m, diag(s_m^2)) the posterior is the same mixture of conditioned Gaussians, weighted by the
evidence of each (Panwar et al. 2023): dense, sparse, sign and pooled weights differ only in their components.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, NotAvailable, Prediction, Prompt
from function_classes.fields import Problem, setting
from function_classes.mixtures import (
    Components,
    GaussianMixture,
    gaussian_components,
    mixed_log_predictive,
    mixed_moments,
    running_log_weights,
)
from function_classes.problems import amount
from function_classes.vectors import NoisyNumbers, VectorInputs


class Member(NamedTuple):
    """A task with the component it was drawn from."""

    index: Int[Array, ""]
    weights: Float[Array, "D"]


class WeightPosterior(NoisyNumbers):
    """Bayes where y = w'x + noise_std e and w comes from a finite mixture of Gaussians with diagonal covariances."""

    def prior(self) -> GaussianMixture:
        """The law of w."""
        raise NotImplementedError

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "finite mixture of Gaussian posteriors; noiseless evidence has a floor of 1e-6")

    def components(self, prompt: Prompt) -> Components:
        """Every component's own predictions, (M, P)."""
        return gaussian_components(self.prior(), prompt.xs, prompt.ys, self.noise_std)

    def posterior(self, prompt: Prompt) -> tuple[Float[Array, "M P"], Components]:
        """log P(component m | x_<k, y_<k), and the components. Raises NotAvailable where they are too many."""
        if self.bayes_kind.kind == "none":
            raise NotAvailable(f"{self.name} has no Bayes predictor: {self.bayes_kind.detail}")
        components = self.components(prompt)
        return running_log_weights(self.prior().log_probs, components.log_predictive), components

    def component_posterior(self, prompt: Prompt) -> Float[Array, "P M"]:
        """P(component m | x_<k, y_<k) at every k."""
        return jnp.exp(self.posterior(prompt)[0]).T

    def bayes(self, prompt: Prompt) -> Prediction:
        log_weights, components = self.posterior(prompt)
        return mixed_moments(log_weights, components.mean, components.variance)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        log_weights, components = self.posterior(prompt)
        return mixed_log_predictive(log_weights, components.log_predictive)


class LinearFunctions(VectorInputs, NoisyNumbers):
    """y = w'x + noise_std e with e ~ N(0, 1) and x from `inputs`; subclasses say how w is drawn.

    A latent is the vector w, or has it as `weights`.
    """

    noise_std: float = setting(0.5, "standard deviation of the label noise, in the unit of y", at_least=0)

    @property
    def mean_square(self) -> Float[Array, ""]:
        """E[f(x)^2] = tr(E[ww'] E[xx'])."""
        return jnp.sum(self.weight_square() * self.input_square())

    def weight_square(self) -> Float[Array, "D D"]:
        """E[ww']."""
        raise NotImplementedError

    def input_square(self) -> Float[Array, "D D"]:
        """E[xx']."""
        mean, variance = self.inputs.moments(self.dim)
        return jnp.diag(variance) + mean[:, None] * mean[None, :]

    def weights(self, latent: Any) -> Float[Array, "D"]:
        return getattr(latent, "weights", latent)

    def evaluate(self, latent: Any, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        return jnp.matmul(xs, self.weights(latent), precision=jax.lax.Precision.HIGHEST)


class MixtureOfWeights(LinearFunctions, WeightPosterior):
    """Linear functions whose weights come from a finite mixture of Gaussians with diagonal covariances."""

    def weight_square(self) -> Float[Array, "D D"]:
        return self.prior().second_moment()

    def sample_latent(self, key: PRNGKeyArray) -> Member:
        prior, (which, noise) = self.prior(), jax.random.split(key)
        index = jax.random.categorical(which, prior.log_probs).astype(jnp.int32)
        return Member(index, prior.means[index] + prior.stds[index] * jax.random.normal(noise, (self.dim,)))


def too_many(count: int, what: str, most: int) -> str:
    """Why components are not enumerated; empty where they are."""
    return f"{amount(count)} {what} are not enumerated, at most {most}" if count > most else ""


def improper(probabilities: tuple[float, ...], count: int, field: str = "probabilities") -> list[Problem]:
    """What is wrong with probabilities of `count` components; none given means equal ones."""
    if not probabilities:
        return []
    if len(probabilities) != count:
        return [Problem(field, f"needs one for each of {count} components, got {len(probabilities)}; none means equal")]
    if abs(sum(probabilities) - 1) > 1e-6:
        return [Problem(field, f"must sum to 1, got {sum(probabilities):g}")]
    return []


def log_probabilities(probabilities: tuple[float, ...], count: int) -> Float[Array, "M"]:
    """Their logarithms; none given means equal ones."""
    return jnp.log(jnp.asarray(probabilities, jnp.float32) if probabilities else jnp.ones(count) / count)
