"""How attention knows the distance of two tokens: rotary codes, ALiBi, and learned biases."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from icl.models.parts import frequencies, wide

Order = Literal["none", "rotary", "alibi", "relative"]


def rotate(x: Float[Array, "*n K"], places: Int[Array, "*m"]) -> Float[Array, "*n K"]:
    """Pairs of channels (i, i + K/2) turned by place times 10000^(-2i / K) radians: products of two rotated vectors
    depend on the difference of their places (Su et al. 2021). `places` broadcasts against the leading axes of x; an odd
    last channel stays."""
    half = x.shape[-1] // 2
    dtype = wide(x.dtype)
    speeds = jnp.asarray(frequencies(2 * half), dtype)
    angle = places[..., None].astype(dtype) * speeds.reshape((1,) * places.ndim + (-1,))
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos, rest], -1)


def slopes(heads: int) -> Float[np.ndarray, "H"]:
    """2^(-8 (h + 1) / H) for head h (Press, Smith, Lewis 2021)."""
    return 2.0 ** (-8 * np.arange(1, heads + 1) / heads)


def distances(length: int) -> Int[np.ndarray, "T T"]:
    """t - s, and 0 for later s."""
    places = np.arange(length)
    return np.maximum(places[:, None] - places[None, :], 0)


def alibi(heads: int, length: int) -> Float[np.ndarray, "H T T"]:
    """What is added to scores: minus the distance, times the slope of the head."""
    return -slopes(heads)[:, None, None] * distances(length)[None]


def learned_bias(table: Float[Array, "H L"], length: int) -> Float[Array, "H T T"]:
    """A learned number for every head and distance; distances beyond the table share its last one."""
    return table[:, np.minimum(distances(length), table.shape[1] - 1)]
