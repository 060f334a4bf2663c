"""Posteriors of linear-Gaussian models, one example at a time: causal by construction and accurate in float32.

Bayes predictors and ridge share the square-root (Potter) filter where noise is no small number, and rotations where it
is; least squares uses those. Factoring the whole prompt at once would let one bad future row turn earlier predictions
into NaN.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.rotations import HIGHEST, LinearPosterior, rotate_filter

# Noiseless observations have a degenerate density once the posterior has collapsed; log predictives (never means) use
# at least this share of the prior predictive variance.
NOISELESS_FLOOR = 1e-6

# Largest |prior_std x| / noise_std at which Potter's update is used: beyond, its error grows with this number's square.
BENIGN = 64.0


def linear_filter(
    xs: Float[Array, "P D"],
    ys: Float[Array, "P"],
    prior_std: Float[Array, "*D"] | float,
    noise_std: Float[Array, ""] | float,
    weights: bool = False,
) -> LinearPosterior:
    """w ~ N(0, prior_std^2 I), y = w'x + N(0, noise_std^2). A vector prior_std has one standard deviation per weight.
    With `weights` the posterior mean of w is there too: few ask for it, and compiling it takes as long again.

    The mean is ridge with penalty noise_std^2 / prior_std^2; with noise_std = 0 it is min-norm least squares. While no
    |prior_std x| so far exceeds `BENIGN` noise_std, by Potter's update; from there on by rotations, which take four
    times as long (`function_classes.rotations`). A batch without such a prompt does not wait for them.

    Range: for inputs of scale 1e-4 to 1e4, noise_std 0 or from 1e-6 to 1 of prior_std times that scale, repeated inputs
    and labels that no w fits, means are within 2e-4 of the largest |y| of exact arithmetic, mostly within 1e-6, and
    variances within 1e-4 of themselves: what a change of x by 1e-7 of its size may do. A noise_std below 1e-7 |y| is
    less than the rounding of y and of the mean, and then only the variance is right in its own size.
    Derivatives are those of the rotations. Cost O(P D^2).
    """
    dim = xs.shape[-1]
    prior = jnp.broadcast_to(jnp.asarray(prior_std, jnp.float32), (dim,))
    model = xs.astype(jnp.float32), ys, prior, jnp.asarray(noise_std, jnp.float32)
    return LinearPosterior(*_filter(weights, *model))


def _part(posterior: LinearPosterior, weights: bool) -> tuple[Array, ...]:
    return tuple(posterior) if weights else (posterior.mean, posterior.variance)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _filter(
    weights: bool,
    xs: Float[Array, "P D"],
    ys: Float[Array, "P"],
    prior: Float[Array, "D"],
    noise: Float[Array, ""],
) -> tuple[Array, ...]:
    easy = _part(potter_filter(xs, ys, prior, noise), weights)
    sizes = jnp.sqrt(jnp.sum(jnp.square(xs * prior[None, :]), -1))
    hard = ~(jax.lax.cummax(sizes) <= BENIGN * noise)

    # A loop of at most one turn: in a batch it turns only if some prompt needs it, where a condition would be computed
    # for all.
    def turn(state: tuple[Array, tuple[Array, ...]]) -> tuple[Array, tuple[Array, ...]]:
        # What does not change in a loop is computed before it, whether it turns or not; what the state masks does.
        exact = rotate_filter(jnp.where(state[0], xs, 0.0), ys, prior, noise, weights)
        return jnp.bool_(False), _part(exact, weights)

    exact = jax.lax.while_loop(lambda state: state[0], turn, (jnp.any(hard), easy))[1]
    return jax.tree.map(lambda a, b: jnp.where(hard.reshape(-1, *[1] * (a.ndim - 1)), a, b), exact, easy)


@_filter.defjvp
def _filter_jvp(
    weights: bool, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    exact = jax.jvp(lambda *model: _part(rotate_filter(*model, weights=weights), weights), primals, tangents)[1]
    return _filter(weights, *primals), exact


def potter_filter(
    xs: Float[Array, "P D"], ys: Float[Array, "P"], prior: Float[Array, "D"], noise_std: Float[Array, ""]
) -> LinearPosterior:
    """Potter's square-root update, with errors of about 1e-7 (|prior x| / noise)^2 of the largest mean:

    S S' = posterior covariance, S_0 = prior I;   v = S'x,   q = v'v + s^2 (variance of y)
    w += S v (y - w'x) / q;   S -= S v v' / (q + sqrt(s^2 q))
    """
    noise = jnp.square(noise_std)

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

    return jax.lax.scan(step, (jnp.zeros_like(prior), jnp.diag(prior)), (xs, ys))[1]


def least_squares_filter(xs: Float[Array, "P D"], ys: Float[Array, "P"], weights: bool = False) -> LinearPosterior:
    """Min-norm least squares w = X^+ y for every prefix, by rotations; variance is 0.

    A row is dependent on those before where less than 1e-6 sqrt(dim) of it is outside their span: rounding of x itself.
    """
    found = rotate_filter(xs.astype(jnp.float32), ys, 1.0, 0.0, weights)
    return LinearPosterior(found.mean, jnp.zeros_like(found.mean), found.weights)


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
