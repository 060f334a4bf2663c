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
from icl.models.mixers.fast_weights import FastWeights, FastWeightsConfig, by_head, decays, unit
from icl.models.mixers.recurrence import token_sum
from icl.models.parts import Linear, initial_std


@MixerConfig.registry.add("deltanet", papers=("schlag-2021", "yang-2024"))
class DeltaNet(FastWeightsConfig):
    """Unit queries and keys from silu of a short convolution, b_t = sigmoid(w'x_t) in (0, 1), or (0, 2) where
    `negative` lets the eigenvalue 1 - b of a step be negative; RMS norm per head, no gate on the output."""

    cost = "T^2 E"
    expected = "averaging, recency, associative recall"
    window: int = setting(4, "tokens that the short convolution reads", at_least=1)
    negative: bool = setting(False, "b in (0, 2): a step may overshoot")

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return DeltaMixer(place, self.window, 2.0 if self.negative else 1.0, gated=False, key=key)


@MixerConfig.registry.add("gated-deltanet", papers=("yang-2024b",))
class GatedDeltaNet(FastWeightsConfig):
    """`deltanet` that also forgets: a_t = exp(-exp(A) softplus(w'x_t + b)) for every head, and a silu gate on the
    output."""

    cost = "T^2 E"
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

    def inputs(self, entered: Float[Array, "T C"], x: Float[Array, "T E"]):
        query, key, value = self.split(entered)
        rate, *forget = jnp.split(self.rates(x), 2 if self.log_rate is not None else 1, -1)
        write = self.largest * jax.nn.sigmoid(rate)
        if self.log_rate is None:
            keep = jnp.zeros_like(write)
        else:
            # Softplus starts near .05, so that a head keeps half of a memory for 1 to 14 tokens.
            keep = -jnp.exp(self.log_rate)[None] * jax.nn.softplus(forget[0] - 3.0)
        return unit(query), unit(key), value, write, keep

    def parallel(self, parts):
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
) -> Float[Array, "H T V"]:
    """All reads at once. With G_ts = prod_{s < r <= t} a_r the written values U solve

        (I + tril(Diag(b) (G . K K'), -1)) U = Diag(b) V,     O = tril(G . Q K') U

    `keep` is log a, `write` is b. Cost O(T^2 (K + V)) for each head."""
    kept = decays(keep)
    length = query.shape[1]
    between = jnp.matmul(key, jnp.swapaxes(key, -1, -2)) * kept * write[:, :, None]
    below = jnp.tril(jnp.ones((length, length), bool), -1)[None]
    system = jnp.where(below, between, 0) + jnp.eye(length, dtype=key.dtype)[None]
    right = write[:, :, None] * value
    solved = solve_triangular(system, right, lower=True, unit_diagonal=True)
    return token_sum(jnp.matmul(query, jnp.swapaxes(key, -1, -2)) * kept, solved)
