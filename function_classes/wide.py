"""Double precision inside programs of single precision, where a formula needs more digits than its answer has."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

R = TypeVar("R")


def in_float64(function: Callable[..., R]) -> Callable[..., R]:
    """The function computed in float64: its arguments, arrays of numbers, are widened, and its results are float32.
    Traces, batches and differentiates as any other, whatever `jax_enable_x64` says, if its products are `product`."""

    @functools.wraps(function)
    def wide(*args: Any) -> R:
        narrow = [jnp.asarray(value, jnp.float32) for value in args]
        with jax.enable_x64(True):
            found = function(*(jax.lax.convert_element_type(value, jnp.float64) for value in narrow))
            return jax.tree.map(lambda value: jax.lax.convert_element_type(value, jnp.float32), found)

    return wide


def product(matrix: Float[Array, "N D"], vector: Float[Array, "D"]) -> Float[Array, "N"]:
    """matrix @ vector in the type that both have. That of `jnp` names its type, and where JAX derives it, outside of
    the function, float64 would be cut to float32."""
    return jax.lax.dot_general(matrix, vector, (((1,), (0,)), ((), ())), precision=jax.lax.Precision.HIGHEST)
