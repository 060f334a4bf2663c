"""Posteriors of linear-Gaussian models, one example at a time: causal by construction, and exact to single precision.

Bayes predictors, ridge and least squares are one recursion in double precision. Factoring the whole prompt at once
would let one bad future row turn earlier predictions into NaN.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.wide import in_float64, product

HIGHEST = jax.lax.Precision.HIGHEST

# Noiseless observations have a degenerate density once the posterior has collapsed; log predictives (never means) use
# at least this share of the prior predictive variance.
NOISELESS_FLOOR = 1e-6

# A part outside the rows seen so far, below this share of its row times sqrt(dim), is rounding of a row that was seen.
ROUNDING = 1e-6


class LinearPosterior(NamedTuple):
    """Before seeing y_k: predictive mean and variance of w'x_k, and the posterior mean of w."""

    mean: Float[Array, "P"]
    variance: Float[Array, "P"]
    weights: Float[Array, "P D"]


@in_float64
def linear_filter(
    xs: Float[Array, "P D"],
    ys: Float[Array, "P"],
    prior_std: Float[Array, "*D"] | float,
    noise_std: Float[Array, ""] | float,
) -> LinearPosterior:
    """w ~ N(0, prior_std^2 I), y = w'x + N(0, noise_std^2). A vector prior_std has one standard deviation per weight.

    The mean is ridge with penalty noise_std^2 / prior_std^2; with noise_std = 0 it is min-norm least squares, also of
    labels that no w fits. Greville's method, which has the limit, with a penalty: of inputs in units of prior_std, Q
    projects on the span of those seen, and C is the inverse of X'X + l I on that span, l = noise_std^2. With

        s = C x,   o = x - Q x,   h = 1 + x's,   d = l h + |o|^2,   g = (l s + o) / d

        w += g (y - w'x),   Q += o o' / |o|^2,   C -= g s' + s o' / d - h o o' / (d |o|^2)

    and g = s / h, C -= g s' where o = 0. The variance of w'x is l x's + |o|^2. Nothing is divided by l, and no square
    is subtracted from another.

    Range: for inputs of scale 1e-4 to 1e4 and any noise_std, repeated inputs and labels that no w fits, means are
    within 1e-7 of the largest |y| or |mean| of exact arithmetic, variances within 1e-7 of themselves. Cost O(P D^2).
    """
    dim = xs.shape[-1]
    prior = jnp.broadcast_to(jnp.asarray(prior_std, xs.dtype), (dim,))
    noise = jnp.square(jnp.asarray(noise_std, xs.dtype))

    def step(carry: tuple[Array, Array, Array], example: tuple[Array, Array]):
        w, projector, inverse = carry
        x, y = example
        outside = outside_of(projector, x)
        size = jnp.sum(outside**2)
        new = size > 0
        unit = outside / jnp.where(new, size, 1.0)
        seen = product(inverse, x)
        inside = jnp.sum(x * seen)
        above = 1 + inside
        total = jnp.where(new, noise * above + size, above)
        gain = (jnp.where(new, noise, 1.0) * seen + outside) / total
        mean = jnp.sum(w * x)
        opened = jnp.where(new, above / total, 0.0) * unit - seen / total
        after = (
            w + gain * (y - mean),
            projector + unit[:, None] * outside[None, :],
            inverse - gain[:, None] * seen[None, :] + opened[:, None] * outside[None, :],
        )
        return after, LinearPosterior(mean, noise * inside + size, w * prior)

    start = jnp.zeros(dim), jnp.zeros((dim, dim)), jnp.zeros((dim, dim))
    return jax.lax.scan(step, start, (xs * prior[None, :], ys))[1]


def outside_of(projector: Float[Array, "D D"], x: Float[Array, "D"]) -> Float[Array, "D"]:
    """The part of x outside the span that this matrix projects on; 0 where it is rounding of x."""
    outside = x - product(projector, x)
    new = jnp.sum(outside**2) > ROUNDING**2 * x.shape[0] * jnp.sum(x**2)
    return jnp.where(new, outside, 0.0 * outside)


def least_squares_filter(xs: Float[Array, "P D"], ys: Float[Array, "P"]) -> LinearPosterior:
    """Min-norm least squares w = X^+ y for every prefix; variance is 0.

    A row is dependent on those before where less than 1e-6 sqrt(dim) of it is outside their span: rounding of x itself.
    """
    found = linear_filter(xs, ys, 1.0, 0.0)
    return found._replace(variance=jnp.zeros_like(found.variance))


@in_float64
def new_directions(xs: Float[Array, "P D"]) -> Float[Array, "P D"]:
    """Orthonormal rows: of every input the part outside the span of those before it, 0 where it is in there as
    `linear_filter` sees it."""

    def step(projector: Array, x: Array) -> tuple[Array, Array]:
        outside = outside_of(projector, x)
        size = jnp.sum(outside**2)
        unit = outside / jnp.sqrt(jnp.where(size > 0, size, 1.0))
        return projector + unit[:, None] * unit[None, :], unit

    return jax.lax.scan(step, jnp.zeros((xs.shape[-1],) * 2), xs)[1]


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
