"""Recurrences whose state is a matrix for every head, written with keys and values and read with queries.

S_t = forget(S_{t-1}) + write(k_t, v_t),  o_t = S_t q_t: linear attention and its descendants, "fast weights" (Schlag,
Irie, Schmidhuber 2021). S has rows for values and columns for keys.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl.models.mixers.base import MixerConfig, Place
from icl.models.mixers.recurrence import Recurrence, ShortConvolution
from icl.models.mixers.softmax import refuse_heads
from icl.models.parts import Linear, beside, initial_std
from icl.taps import tap


class FastWeightsConfig(MixerConfig):
    """Heads of size K = width / heads, as attention has."""

    forks = True

    def refuses(self, width: int, heads: int) -> str | None:
        return refuse_heads(width, heads, None)


class RMSNorm(eqx.Module):
    """x / sqrt(mean x^2 + 1e-5) * scale over the last axis."""

    scale: Float[Array, "K"]

    def __init__(self, size: int):
        self.scale = jnp.ones(size)

    def __call__(self, x: Float[Array, "*n K"]) -> Float[Array, "*n K"]:
        root = jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5)
        return x * root * beside(self.scale, x)


class FastWeights(Recurrence):
    """Projections to queries, keys and values, split into heads; after the read-out a norm per head, a gate, a map.

    Parts and outs are (T, H, K). With a `window` queries, keys and values go through a short convolution first.
    """

    projection: Linear
    short: ShortConvolution | None
    norm: RMSNorm | None
    gate: Linear | None
    output: Linear
    heads: int = eqx.field(static=True)

    def __init__(
        self, place: Place, *, window: int = 0, normalized: bool = False, gated: bool = False, key: PRNGKeyArray
    ):
        project, short, gate, output = jax.random.split(key, 4)
        width, std = place.width, initial_std(place.init, place.width)
        self.projection = Linear(width, 3 * width, std, bias=False, key=project)
        self.short = ShortConvolution(3 * width, window, key=short) if window else None
        self.norm = RMSNorm(width // place.heads) if normalized else None
        self.gate = Linear(width, width, std, key=gate) if gated else None
        self.output = Linear(width, width, initial_std(place.init, width, place.depth), bias=False, key=output)
        self.heads = place.heads

    @property
    def convolution(self) -> ShortConvolution | None:
        return self.short

    @property
    def size(self) -> int:
        """K, of a head."""
        return self.output.weight.shape[0] // self.heads

    def enter(self, x: Float[Array, "*B T E"]) -> Float[Array, "*B T C"]:
        return self.projection(x)

    def split(self, entered: Float[Array, "*B T C"]) -> list[Float[Array, "*B T H K"]]:
        """Queries, keys and values."""
        return [a.reshape(*a.shape[:-1], self.heads, -1) for a in jnp.split(entered, 3, -1)]

    def start(self) -> Float[Array, "H K K"]:
        return jnp.zeros((self.heads, self.size, self.size), self.output.weight.dtype)

    def leave(self, outs: Float[Array, "*B T H K"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        mixed = jnp.swapaxes(tap(jnp.swapaxes(outs, -3, -2), "heads"), -3, -2)
        mixed = mixed if self.norm is None else self.norm(mixed)
        mixed = mixed.reshape(*outs.shape[:-2], -1)
        return self.output(mixed if self.gate is None else mixed * jax.nn.silu(self.gate(x)))


def by_head(x: Float[Array, "T H *k"]) -> Float[Array, "H T *k"]:
    """Heads first, for products over tokens; also back."""
    return jnp.swapaxes(x, 0, 1)


def unit(x: Float[Array, "*n K"]) -> Float[Array, "*n K"]:
    """x / |x|, and 0 for 0."""
    square = jnp.sum(x * x, -1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def chunked(x: Float[Array, "H T *k"], size: int) -> Float[Array, "H N C *k"]:
    """N chunks of C = `size` tokens, the last filled with 0."""
    missing = -x.shape[1] % size
    filled = jnp.pad(x, ((0, 0), (0, missing), *((0, 0) for _ in x.shape[2:])))
    return filled.reshape(x.shape[0], -1, size, *x.shape[2:])


def decays(log: Float[Array, "*H T"]) -> Float[Array, "*H T T"]:
    """prod_{s < r <= t} exp(log_r), for s <= t: what is left at t of what was written at s. 1 above the diagonal."""
    total = jnp.cumsum(log, -1)
    return jnp.exp(jnp.minimum(total[..., :, None] - total[..., None, :], 0.0))
