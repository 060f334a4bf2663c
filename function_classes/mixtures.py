"""Exact averaging over finitely many components, each with its own exact predictor (Panwar et al. 2023, section 4).

    p(y_k | x_<=k, y_<k) = sum_m w_m(k) p_m(y_k | x_<=k, y_<k)
    log w_m(k) = log pi_m + sum_{j<k} log p_m(y_j | x_<=j, y_<j) + sum_{j<=k} log p_m(x_j) - constant

so that weights before position k have seen the examples before k alone (and x_k, where inputs carry evidence). Arrays
are (M, P): M components, P positions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from function_classes.base import Prediction
from function_classes.posteriors import NOISELESS_FLOOR, linear_filter, log_normal

# A component that contradicts the data keeps this log likelihood for every contradiction, in place of -inf: where all
# contradict, those that do least go on.
_IMPOSSIBLE = -1e30

# Rounding of a residue y - w'x in float32, squared, as a share of the variance of w'x.
_ROUNDING = 1e-12


class Components(NamedTuple):
    """What every component says before y_k is seen, and what it said of y_k: log p_m(y_k | x_<=k, y_<k), in nats."""

    mean: Float[Array, "M P"]
    variance: Float[Array, "M P"]
    log_predictive: Float[Array, "M P"]


class GaussianMixture(NamedTuple):
    """A law of weight vectors: component m has probability exp(log_probs_m) and is N(means_m, diag(stds_m^2))."""

    log_probs: Float[Array, "M"]
    means: Float[Array, "M D"]
    stds: Float[Array, "M D"]

    def second_moment(self) -> Float[Array, "D D"]:
        """E[w w']."""
        probs = jnp.exp(self.log_probs)
        mean = jnp.einsum("m,mi,mj->ij", probs, self.means, self.means, precision=jax.lax.Precision.HIGHEST)
        return mean + jnp.diag(jnp.sum(probs[:, None] * self.stds**2, 0))


def running_log_weights(
    log_prior: Float[Array, "M"],
    log_predictive: Float[Array, "M P"],
    log_inputs: Float[Array, "M P"] | None = None,
) -> Float[Array, "M P"]:
    """log w_m(k), normalized over m at every k, from one pass over the positions.

    Normalizing at every step keeps the leading weights near 0 in log, where float32 is finest, however long the prompt.
    """
    inputs = jnp.zeros_like(log_predictive) if log_inputs is None else log_inputs

    def step(before, now):
        outputs, inputs = (jnp.maximum(a, _IMPOSSIBLE) for a in now)
        # What all components say alike of an input must not round away what tells them apart.
        weights = jax.nn.log_softmax(before + (inputs - jnp.max(inputs)))
        return jax.nn.log_softmax(weights + outputs), weights

    start = jax.nn.log_softmax(log_prior)
    return jax.lax.scan(step, start, (log_predictive.T, inputs.T))[1].T


def mixed_moments(
    log_weights: Float[Array, "M *p"], means: Float[Array, "M *py"], variances: Float[Array, "M *py"]
) -> Prediction:
    """Mean and variance of the mixture: sum w m, and sum w (v + (m - mean)^2). Outputs y may have axes of their own."""
    weights = _over(jnp.exp(log_weights), means)
    mean = jnp.sum(weights * means, 0)
    return Prediction(mean=mean, variance=jnp.sum(weights * (variances + (means - mean[None]) ** 2), 0))


def mixed_log_probs(log_weights: Float[Array, "M *p"], log_probs: Float[Array, "M *py"]) -> Prediction:
    """Log probabilities of the mixture of laws of symbols or signs."""
    return Prediction(log_probs=logsumexp(_over(log_weights, log_probs) + log_probs, axis=0))


def _over(weights: Float[Array, "M *p"], values: Float[Array, "M *py"]) -> Float[Array, "..."]:
    return weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))


def mixed_log_predictive(log_weights: Float[Array, "M P"], log_predictive: Float[Array, "M P"]) -> Float[Array, "P"]:
    """log sum_m w_m p_m(y_k): the density of the mixture itself, never that of a Gaussian with its moments."""
    return logsumexp(log_weights + jnp.maximum(log_predictive, _IMPOSSIBLE), axis=0)


def gaussian_components(
    prior: GaussianMixture, xs: Float[Array, "P D"], ys: Float[Array, "P"], noise_std: Float[Array, ""] | float
) -> Components:
    """One linear-Gaussian posterior per component, by the square-root filter. Cost O(M P D^2).

    Log predictives keep the variance above 1e-6 of the component's prior predictive x'Sx; means need no floor.
    """

    def one(mean: Float[Array, "D"], std: Float[Array, "D"]) -> Components:
        expected = jnp.matmul(xs, mean, precision=jax.lax.Precision.HIGHEST)
        around = linear_filter(xs, ys - expected, std, noise_std)
        predicted, variance = around.mean + expected, around.variance + noise_std**2
        prior_variance = jnp.sum((xs * std[None, :]) ** 2, -1)
        return Components(predicted, variance, log_normal(ys, predicted, variance, prior_variance))

    return jax.vmap(one)(prior.means, prior.stds)


def point_components(
    weights: Float[Array, "M D"],
    xs: Float[Array, "P D"],
    ys: Float[Array, "P"],
    noise_std: Float[Array, ""] | float,
    prior_variance: Float[Array, "P"],
) -> Components:
    """Known weight vectors: w_m'x and the noise. Cost O(M P D).

    Without noise, log predictives have variance 1e-6 `prior_variance` (that of y over all components): a declared
    floor, on which the posterior depends. With noise they have the noise's, down to the rounding of residues.
    """
    mean = jnp.matmul(weights, xs.T, precision=jax.lax.Precision.HIGHEST)
    noise = jnp.square(jnp.asarray(noise_std, jnp.float32)) * jnp.ones(ys.shape[0])
    scored = jnp.where(noise > 0, jnp.maximum(noise, _ROUNDING * prior_variance), NOISELESS_FLOOR * prior_variance)
    scored = jnp.where(scored > 0, scored, 1.0)
    logs = -0.5 * (jnp.log(2 * jnp.pi * scored)[None] + (ys[None] - mean) ** 2 / scored[None])
    return Components(mean, jnp.broadcast_to(noise[None], mean.shape), logs)
