"""The delta rule as a memory: DeltaNet (Schlag et al. 2021; Yang et al. 2024) and gated DeltaNet (Yang et al. 2024b).

S_t = a_t S_{t-1} (I - b_t k_t k_t') + b_t v_t k_t', o_t = S_t q_t, a_t = 1 without the gate.

With k_t = x_{t-1}, v_t = y_{t-1}, q_t = x_t and b constant this is the least mean squares rule w += b (y - w'x) x of
Widrow and Hoff; with |k| = 1 and b = 1 it is Kaczmarz' projection.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.fast_weights import FastWeights, FastWeightsConfig, by_head, chunked, decays, unit
from icl.models.parts import Linear, beside, initial_std

# Tokens that one triangular system holds.
CHUNK = 16
# Heads up to this size go token after token: products of smaller matrices cost a CPU more than they save.
SMALL = 32
COST = f"T E^2 / H, one token after the other; above E / H = {SMALL}: T E (E / H + {CHUNK}), {CHUNK} tokens at once"


@MixerConfig.registry.add("deltanet", papers=("schlag-2021", "yang-2024"))
class DeltaNet(FastWeightsConfig):
    """Unit queries and keys from silu of a short convolution, b_t = sigmoid(w'x_t) in (0, 1), or (0, 2) where
    `negative` lets the eigenvalue 1 - b of a step be negative; RMS norm per head, no gate on the output."""

    cost = COST
    expected = "averaging, recency, associative recall"
    window: int = setting(4, "tokens that the short convolution reads", at_least=1)
    negative: bool = setting(False, "b in (0, 2): a step may overshoot")

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return DeltaMixer(place, self.window, 2.0 if self.negative else 1.0, gated=False, key=key)


@MixerConfig.registry.add("gated-deltanet", papers=("yang-2024b",))
class GatedDeltaNet(FastWeightsConfig):
    """`deltanet` that also forgets: a_t = exp(-exp(A) softplus(w'x_t + b - 3)) for every head, and a silu gate on the
    output.

    A starts at the logarithms of numbers evenly spread from 1 to 16 over the heads, b at 0.
    """

    cost = COST
    expected = "averaging, recency, associative recall"
    window: int = setting(4, "tokens that the short convolution reads", at_least=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return DeltaMixer(place, self.window, 1.0, gated=True, key=key)


class DeltaMixer(FastWeights):
    """`rates` gives b_t, and with a gate the argument of a_t too; `log_rate` is A."""

    rates: Linear
    log_rate: Float[Array, "H"] | None
    largest: float = eqx.field(static=True)

    def __init__(self, place: Place, window: int, largest: float, *, gated: bool, key: PRNGKeyArray):
        rest, rates = jax.random.split(key)
        super().__init__(place, window=window, normalized=True, gated=gated, key=rest)
        count = place.heads * (2 if gated else 1)
        self.rates = Linear(place.width, count, initial_std(place.init, place.width), key=rates)
        self.log_rate = jnp.log(jnp.linspace(1.0, 16.0, place.heads)) if gated else None
        self.largest = largest

    def inputs(self, entered: Float[Array, "*B T C"], x: Float[Array, "*B T E"]):
        query, key, value = self.split(entered)
        rate, *forget = jnp.split(self.rates(x), 2 if self.log_rate is not None else 1, -1)
        write = self.largest * jax.nn.sigmoid(rate)
        if self.log_rate is None:
            keep = jnp.zeros_like(write)
        else:
            # Softplus starts near .05, so that a head keeps half of a memory for 1 to 14 tokens.
            keep = -beside(jnp.exp(self.log_rate), write) * jax.nn.softplus(forget[0] - 3.0)
        return unit(query), unit(key), value, write, keep

    def parallel(self, parts):
        if self.size <= SMALL:
            return super().parallel(parts)
        query, key, value, write, keep = (by_head(a) for a in parts)
        return by_head(delta_rule(query, key, value, write, keep))

    def advance(self, state, part):
        query, key, value, write, keep = part
        state = jnp.exp(keep)[:, None, None] * state
        error = value - jnp.einsum("hvk,hk->hv", state, key)
        state = state + write[:, None, None] * error[:, :, None] * key[:, None, :]
        return state, jnp.einsum("hvk,hk->hv", state, query)


def delta_rule(
    query: Float[Array, "H T K"],
    key: Float[Array, "H T K"],
    value: Float[Array, "H T V"],
    write: Float[Array, "H T"],
    keep: Float[Array, "H T"],
    chunk: int = CHUNK,
) -> Float[Array, "H T V"]:
    """All reads, `chunk` tokens C at a time. With g_t = a_1 ... a_t and G_ts = g_t / g_s inside a chunk, and S the
    state before it, the written values U, the reads O and the next state are

        L U = Diag(b) (V - Diag(g) K S'),     L = I + tril(Diag(b) (G . K K'), -1),
        O = Diag(g) Q S' + tril(G . Q K') U,      S <- g_C S + U' Diag(g_C / g) K

    and L^-1 does not know S, so that only products of small matrices go from chunk to chunk. All quotients are exp of
    differences of logarithms that are at most 0. `keep` is log a, `write` is b. Cost O(T (C + V) (K + V)) a head."""
    length, size = query.shape[1], min(chunk, query.shape[1])
    query, key, value, write, keep = (chunked(a, size) for a in (query, key, value, write, keep))
    total = jnp.cumsum(keep, -1)
    kept, factor = decays(keep), jnp.exp(total)[..., None]
    between = jnp.matmul(key, jnp.swapaxes(key, -1, -2)) * kept * write[..., None]
    seen, below = (jnp.tril(jnp.ones((size, size), bool), k)[None, None] for k in (0, -1))
    right = write[..., None] * jnp.concatenate([value, factor * key], -1)
    solved = solve_triangular(jnp.where(below, between, 0), right, lower=True, unit_diagonal=True)
    values, keys = jnp.split(solved, [value.shape[-1]], -1)
    inside = jnp.where(seen, jnp.matmul(query, jnp.swapaxes(key, -1, -2)) * kept, 0)
    last = jnp.exp(total[..., -1:] - total)[..., None] * key
    parts = values, keys, factor * query, inside, last, factor[..., -1:, :]

    def advance(state: Float[Array, "H K V"], part):
        values, keys, query, inside, last, factor = part
        written = values - jnp.matmul(keys, state)
        read = jnp.matmul(query, state) + jnp.matmul(inside, written)
        return factor * state + jnp.matmul(jnp.swapaxes(last, -1, -2), written), read

    start = jnp.zeros((query.shape[0], query.shape[-1], value.shape[-1]), query.dtype)
    reads = jax.lax.scan(advance, start, jax.tree.map(by_head, parts))[1]
    return by_head(reads).reshape(query.shape[0], -1, value.shape[-1])[:, :length]
