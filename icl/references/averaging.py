"""Averaging: the mean of y_i x_i as weights, one step of gradient descent from 0 with rate 1 (Garg et al. 2022)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Prompt
from icl.references.base import LinearReference, Reference


@Reference.registry.add("averaging", papers=("garg-2022",))
class Averaging(LinearReference):
    """w_k = (1/k) sum_{i<k} x_i y_i; 0 at k = 0. For x, w ~ N(0, I) without noise E(error^2)/dim = (dim + 1)/k."""

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(),)

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
        return before(xs * ys[:, None]) / counts(prompt.points)[:, None]


def before(values: Float[Array, "P *v"]) -> Float[Array, "P *v"]:
    """Sums over the rows strictly before each."""
    sums = jnp.cumsum(values, 0)
    return jnp.concatenate([jnp.zeros_like(sums[:1]), sums[:-1]])


def counts(points: int) -> Float[Array, "P"]:
    """k, and 1 in place of 0."""
    return jnp.maximum(jnp.arange(points, dtype=jnp.float32), 1.0)
