"""Linear maps, normalization, the MLP and codes of positions, shared by every architecture."""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

Init = Literal["gpt2", "fan-in"] | float


def initial_std(init: Init, fan_in: int, residual_depth: int = 0) -> float:
    """Standard deviation of a weight matrix at the start.

    gpt2: .02, and .02 / sqrt(2L) for the 2L projections that write into the residual stream. fan-in: 1 / sqrt(fan_in),
    likewise divided. A number v: sqrt(v / fan_in) / .8796 for every matrix, as von Oswald et al. 2022 scale theirs.
    """
    if isinstance(init, float):
        return math.sqrt(init / fan_in) / 0.8796
    std = 0.02 if init == "gpt2" else 1 / math.sqrt(fan_in)
    return std / math.sqrt(2 * residual_depth) if residual_depth else std


def precise(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """At least float32: sums and exponents over many tokens need more digits than 16 bits have."""
    return x.astype(wide(x.dtype))


def wide(dtype: jnp.dtype) -> jnp.dtype:
    """float64 for itself, float32 for all other floats."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


class Linear(eqx.Module):
    """x W + b. Leading axes are flattened into one, which turns the gradient of W into one matrix product."""

    weight: Float[Array, "I O"]
    bias: Float[Array, "O"] | None

    def __init__(self, inputs: int, outputs: int, std: float, *, bias: bool = True, key: PRNGKeyArray):
        self.weight = std * jax.random.normal(key, (inputs, outputs))
        self.bias = jnp.zeros(outputs) if bias else None

    def __call__(self, x: Float[Array, "*N I"]) -> Float[Array, "*N O"]:
        return affine(x, self.weight, self.bias)


def affine(
    x: Float[Array, "*N I"], weight: Float[Array, "I O"], bias: Float[Array, "O"] | None
) -> Float[Array, "*N O"]:
    flat = x.reshape(-1, x.shape[-1]) @ weight
    flat = flat if bias is None else flat + bias[None, :]
    return flat.reshape(*x.shape[:-1], weight.shape[-1])


def beside(vector: Float[Array, "*n"], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """A vector or matrix with as many leading axes of size 1 as it needs to be added to x along its last axes."""
    return vector.reshape((1,) * (x.ndim - vector.ndim) + vector.shape)


def uniform_linear(inputs: int, outputs: int, *, key: PRNGKeyArray) -> Linear:
    """Weights and biases U[-1/sqrt(fan_in), 1/sqrt(fan_in)], as read-in and read-out have in Garg et al. 2022."""
    bound = 1 / math.sqrt(max(inputs, 1))
    w, b = jax.random.split(key)
    draw = lambda k, shape: jax.random.uniform(k, shape, minval=-bound, maxval=bound)  # noqa: E731
    linear = Linear(inputs, outputs, 0.0, key=key)
    return eqx.tree_at(lambda m: (m.weight, m.bias), linear, (draw(w, (inputs, outputs)), draw(b, (outputs,))))


class LayerNorm(eqx.Module):
    """(x - mean) / sqrt(var + 1e-5) * scale + shift over the last axis, computed in float32, or float64 where x is."""

    scale: Float[Array, "E"]
    shift: Float[Array, "E"]

    def __init__(self, width: int):
        self.scale = jnp.ones(width)
        self.shift = jnp.zeros(width)

    def __call__(self, x: Float[Array, "*N E"]) -> Float[Array, "*N E"]:
        flat = precise(x.reshape(-1, x.shape[-1]))
        centered = flat - jnp.mean(flat, -1, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.mean(centered * centered, -1, keepdims=True) + 1e-5)
        scaled = centered * inverse * precise(self.scale)[None, :] + precise(self.shift)[None, :]
        return scaled.astype(x.dtype).reshape(x.shape)


class MLP(eqx.Module):
    """W_2 h + b_2 with a hidden layer h `ratio` times as wide: act(W_1 x + b_1), or (W_1 x + b_1) * g(W_g x + b_g) with
    g the identity for bilinear, which makes products of channels exact, and silu for swiglu (Shazeer 2020)."""

    up: Linear
    down: Linear
    gate: Linear | None
    activation: str = eqx.field(static=True)

    def __init__(self, width: int, ratio: int, activation: str, depth: int, init: Init, *, key: PRNGKeyArray):
        gated = activation in GATES
        up, down, *gate = jax.random.split(key, 3 if gated else 2)
        self.up = Linear(width, ratio * width, initial_std(init, width), key=up)
        self.down = Linear(ratio * width, width, initial_std(init, ratio * width, depth), key=down)
        self.gate = Linear(width, ratio * width, initial_std(init, width), key=gate[0]) if gated else None
        self.activation = activation

    def __call__(self, x: Float[Array, "*N E"]) -> Float[Array, "*N E"]:
        hidden = self.up(x)
        if self.gate is None:
            return self.down(ACTIVATIONS[self.activation](hidden))
        return self.down(hidden * GATES[self.activation](self.gate(x)))


def sinusoids(ids: Int[Array, "T"] | np.ndarray, size: int, dtype: jnp.dtype) -> Float[Array, "T C"]:
    """Codes of positions t (Vaswani et al. 2017): channels 2i and 2i + 1 are sin and cos of t / 10000^(2i / size).

    `size` is even. For any shift one and the same matrix, a rotation of every pair, maps the code of t to that of t
    plus the shift.
    """
    angles = jnp.asarray(ids, dtype)[:, None] * jnp.asarray(frequencies(size), dtype)[None, :]
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1).reshape(angles.shape[0], size)


def frequencies(size: int) -> Float[np.ndarray, "N"]:
    """Radians per position of every pair of channels."""
    return 10000.0 ** (-np.arange(0, size, 2) / size)


ACTIVATIONS = {"gelu": jax.nn.gelu, "relu": jax.nn.relu}
GATES = {"bilinear": lambda x: x, "swiglu": jax.nn.silu}
