"""Linear-Gaussian posteriors of every prefix by orthogonal rotations in float32, accurate at any scale and penalty.

The rows seen so far have an orthonormal basis Q, found one row at a time by Gram and Schmidt's process, run twice; in
its coordinates c = Q'x they are kept as a triangle R and a vector z,

    R'R = sum_{i<k} c_i c_i' + (noise / prior)^2 I,   R'z = sum_{i<k} c_i y_i,   starting from R = (noise / prior) I,

and a new row is rotated into them (Givens). No square of an input is ever subtracted from another, as in recursions
for a covariance, so errors are those of a slightly changed input, about 1e-7 of its size, and what was badly
conditioned before leaves no trace. With prediction c'R^-1 z and variance |o|^2 prior^2 + noise^2 |R^-T c|^2, o the part
of x outside the basis, both limits are reached: noise 0 is min-norm least squares.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

HIGHEST = jax.lax.Precision.HIGHEST

# A part outside the basis below this share of its row, times sqrt(dim), is rounding of a row that was seen.
ROUNDING = 1e-6


class LinearPosterior(NamedTuple):
    """Before seeing y_k: predictive mean and variance of w'x_k, and the posterior mean of w where it was asked for."""

    mean: Float[Array, "P"]
    variance: Float[Array, "P"]
    weights: Any = None


class Basis(NamedTuple):
    """Orthonormal rows, the first `rank` of them in use."""

    rows: Float[Array, "K D"]
    rank: Int[Array, ""]


class Place(NamedTuple):
    """Where a row is: its coordinates in the basis, the length of its part outside, which coordinate that opens."""

    inside: Float[Array, "K"]
    outside: Float[Array, ""]
    opens: Bool[Array, "K"]


def rotate_filter(
    xs: Float[Array, "P D"],
    ys: Float[Array, "P"],
    prior_std: Float[Array, "*D"] | float,
    noise_std: Float[Array, ""] | float,
    weights: bool = False,
) -> LinearPosterior:
    """w ~ N(0, prior_std^2 I), y = w'x + N(0, noise_std^2); noise 0 is min-norm least squares, also of labels that no w
    fits. Cost O(P D^2)."""
    points, dim = xs.shape
    size = min(points, dim)
    prior = jnp.broadcast_to(jnp.asarray(prior_std, jnp.float32), (dim,))
    noise = jnp.asarray(noise_std, jnp.float32)

    def step(carry: tuple[Basis, Array, Array], example: tuple[Array, Array]):
        basis, triangle, moments = carry
        x, y = example
        after, where = place(basis, x * prior)
        mean, inside = _solve(triangle, moments, where.inside, noise)
        found = (
            prior * jnp.matmul(back_substitute(triangle, moments), basis.rows, precision=HIGHEST) if weights else None
        )
        row = where.inside + jnp.where(where.opens, where.outside, 0.0)
        now = LinearPosterior(mean, inside + where.outside**2, found)
        return (after, *rotate(triangle, moments, row, y)), now

    start = empty_basis(size, dim), noise * jnp.eye(size), jnp.zeros(size)
    return jax.lax.scan(step, start, (xs, ys))[1]


def empty_basis(size: int, dim: int) -> Basis:
    return Basis(jnp.zeros((size, dim)), jnp.int32(0))


def place(basis: Basis, x: Float[Array, "D"]) -> tuple[Basis, Place]:
    """A row's place in the basis, and the basis with it."""
    scale = _power_of_two(jnp.max(jnp.abs(x)))
    x = x / scale
    first = jnp.matmul(basis.rows, x, precision=HIGHEST)
    outside = x - jnp.matmul(first, basis.rows, precision=HIGHEST)
    second = jnp.matmul(basis.rows, outside, precision=HIGHEST)
    outside = outside - jnp.matmul(second, basis.rows, precision=HIGHEST)
    square = jnp.sum(outside**2)
    new = square > ROUNDING**2 * x.shape[0] * jnp.sum(x**2)
    length = jnp.sqrt(jnp.where(new, square, 1.0))
    opens = (jnp.arange(basis.rows.shape[0]) == basis.rank) & new
    rows = jnp.where(opens[:, None], (outside / length)[None, :], basis.rows)
    found = Place((first + second) * scale, jnp.where(new, length, 0.0) * scale, opens)
    return Basis(rows, basis.rank + new.astype(jnp.int32)), found


def _solve(
    triangle: Float[Array, "K K"], moments: Float[Array, "K"], c: Float[Array, "K"], noise: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """c'R^-1 z and noise^2 |R^-T c|^2; coordinates that nothing was seen of count for nothing."""

    def stage(carry: tuple[Array, Array, Array], now: tuple[Array, Array, Array]):
        left, mean, square = carry
        row, moment, j = now
        share = jnp.where(row[j] > 0, left[j] / jnp.where(row[j] > 0, row[j], 1.0), 0.0)
        return (left - share * row, mean + share * moment, square + (noise * share) ** 2), None

    start = c, jnp.zeros(()), jnp.zeros(())
    return jax.lax.scan(stage, start, (triangle, moments, jnp.arange(c.shape[0])))[0][1:]


def back_substitute(triangle: Float[Array, "K K"], moments: Float[Array, "K"]) -> Float[Array, "K"]:
    """R^-1 z, 0 where nothing was seen."""
    size = moments.shape[0]
    slots = jnp.arange(size)

    def stage(found: Array, now: tuple[Array, Array, Array]):
        row, moment, j = now
        rest = moment - jnp.sum(row * found)
        value = jnp.where(row[j] > 0, rest / jnp.where(row[j] > 0, row[j], 1.0), 0.0)
        return jnp.where(slots == j, value, found), None

    return jax.lax.scan(stage, jnp.zeros(size), (triangle, moments, slots), reverse=True)[0]


def divide(rows: Float[Array, "N K"], triangle: Float[Array, "K K"]) -> Float[Array, "N K"]:
    """rows R^-1, for a triangle without 0 on its diagonal. Column by column: where LAPACK has threads, a small system
    costs it more than a tenfold."""

    def stage(left: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        row, j = now
        share = left[:, j] / row[j]
        return left - share[:, None] * row[None, :], share

    return jax.lax.scan(stage, rows, (triangle, jnp.arange(triangle.shape[0])))[1].T


def rotate(
    triangle: Float[Array, "K K"], moments: Float[Array, "K"], row: Float[Array, "K"], y: Float[Array, ""]
) -> tuple[Float[Array, "K K"], Float[Array, "K"]]:
    """Triangle and moments with one more row, each coordinate of it turned into the diagonal."""

    def stage(carry: tuple[Array, Array], now: tuple[Array, Array, Array]):
        left, label = carry
        row, moment, j = now
        largest = jnp.maximum(row[j], jnp.abs(left[j]))
        some = largest > 0
        a, b = (jnp.where(some, v, 1.0) / jnp.where(some, largest, 1.0) for v in (row[j], left[j]))
        length = jnp.sqrt(a**2 + b**2)
        cosine, sine = jnp.where(some, a / length, 1.0), jnp.where(some, b / length, 0.0)
        turned = cosine * row + sine * left, cosine * moment + sine * label
        return (cosine * left - sine * row, cosine * label - sine * moment), turned

    return jax.lax.scan(stage, (row, y), (triangle, moments, jnp.arange(row.shape[0])))[1]


def _power_of_two(value: Float[Array, ""]) -> Float[Array, ""]:
    """The power of two at or below a positive value, by which division is exact; 1 for 0."""
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(value), jnp.int32) & jnp.int32(0x7F800000)
    power = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return jnp.where(power > 0, power, 1.0)
