"""A triangle R with R'R = sum_i c_i c_i' + penalty I, one row more at a time, by orthogonal rotations.

A new row is rotated into the triangle (Givens). No square of an input is ever subtracted from another, so errors are
those of a slightly changed input, and what was badly conditioned before leaves no trace.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


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
