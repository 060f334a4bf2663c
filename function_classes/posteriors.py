"""Posteriors of linear-Gaussian models, one example at a time: causal by construction and accurate in float32.

Bayes predictors and ridge share the square-root (Potter) filter; least squares uses Greville's projector. Factoring
the whole prompt at once would let one bad future row turn earlier predictions into NaN.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Noiseless observations have a degenerate density once the posterior has collapsed; log predictives (never means) use
# at least this share of the prior predictive variance.
NOISELESS_FLOOR = 1e-6

HIGHEST = jax.lax.Precision.HIGHEST


class LinearPosterior(NamedTuple):
    """Before seeing y_k: predictive mean and variance of w'x_k, and the posterior mean of w."""

    mean: Float[Array, "P"]
    variance: Float[Array, "P"]
    weights: Float[Array, "P D"]


def linear_filter(
    xs: Float[Array, "P D"],
    ys: Float[Array, "P"],
    prior_std: Float[Array, "*D"] | float,
    noise_std: Float[Array, ""] | float,
) -> LinearPosterior:
    """w ~ N(0, prior_std^2 I), y = w'x + N(0, noise_std^2), by Potter's square-root update. A vector prior_std has one
    standard deviation per weight.

        S S' = posterior covariance, S_0 = prior_std I;   v = S'x,   q = v'v + s^2 (variance of y)
        w += S v (y - w'x) / q;   S -= S v v' / (q + sqrt(s^2 q))

    The mean is ridge with penalty noise_std^2 / prior_std^2; with noise_std = 0 it is the min-norm solution, for labels
    that are exactly linear (others contradict the model: use `least_squares_filter`).
    Cost O(P D^2). Float32 error stays below 1e-3 of the largest weight for penalties down to 1e-3 of the input scale.
    """
    dim = xs.shape[-1]
    noise = jnp.square(jnp.asarray(noise_std, jnp.float32))

    def step(carry, example):
        weights, root = carry
        x, y = example
        v = jnp.matmul(x, root, precision=HIGHEST)
        variance = jnp.sum(v * v)
        total = variance + noise
        inverse = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 0)
        direction = jnp.matmul(root, v, precision=HIGHEST)
        mean = jnp.sum(weights * x)
        shrink = inverse / (1 + jnp.sqrt(noise * inverse))
        updated = weights + inverse * direction * (y - mean), root - shrink * direction[:, None] * v[None, :]
        return updated, LinearPosterior(mean, variance, weights)

    start = jnp.zeros(dim), jnp.diag(jnp.broadcast_to(jnp.asarray(prior_std, xs.dtype), (dim,)))
    return jax.lax.scan(step, start, (xs, ys))[1]


def least_squares_filter(xs: Float[Array, "P D"], ys: Float[Array, "P"]) -> LinearPosterior:
    """Min-norm least squares w = X^+ y for every prefix by Greville's method; variance is 0.

    A new row's component c outside the row space enlarges the space (w += c (y - w'x) / |c|^2); a row inside it
    updates the inverse of X'X on the space, as recursive least squares does. c is projected twice, and counts as zero
    below 1e-3 |x| (squared: 1e-6).
    """
    dim = xs.shape[-1]

    def step(carry, example):
        weights, projector, inverse = carry
        x, y = example
        mean = jnp.sum(weights * x)
        outside = x - jnp.matmul(projector, x, precision=HIGHEST)
        outside = outside - jnp.matmul(projector, outside, precision=HIGHEST)
        size, scale = jnp.sum(outside**2), jnp.sum(x**2)
        new = size > 1e-6 * scale
        seen = jnp.matmul(inverse, x, precision=HIGHEST)
        leverage = 1 + jnp.sum(x * seen)
        direction = outside / jnp.where(new, size, 1)
        gain = jnp.where(new, direction, seen / jnp.where(new, 1, leverage))
        grown = projector + direction[:, None] * outside[None, :]
        # (X'X)^+ after an independent row: sum of the old one seen through (I - gain x') and gain gain'.
        rest = inverse - gain[:, None] * seen[None, :]
        independent = rest - (rest @ x)[:, None] * gain[None, :] + gain[:, None] * gain[None, :]
        dependent = inverse - gain[:, None] * seen[None, :]
        carry = (
            weights + gain * (y - mean),
            jnp.where(new, grown, projector),
            jnp.where(new, independent, dependent),
        )
        return carry, LinearPosterior(mean, jnp.zeros(()), weights)

    start = jnp.zeros(dim), jnp.zeros((dim, dim)), jnp.zeros((dim, dim))
    return jax.lax.scan(step, start, (xs, ys))[1]


def log_normal(
    ys: Float[Array, "*n"],
    mean: Float[Array, "*n"],
    variance: Float[Array, "*n"],
    prior_variance: Float[Array, "*n"],
) -> Float[Array, "*n"]:
    """log N(y; mean, variance) in nats, with the variance kept above `NOISELESS_FLOOR` of the prior predictive's. Where
    both are 0 (x = 0, say) nothing can be learned, and the density is that of variance 1."""
    variance = jnp.maximum(variance, NOISELESS_FLOOR * prior_variance)
    variance = jnp.where(variance > 0, variance, 1.0)
    return -0.5 * (jnp.log(2 * jnp.pi * variance) + jnp.square(ys - mean) / variance)
