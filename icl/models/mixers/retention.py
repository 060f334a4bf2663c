"""Retention: linear attention that forgets at a fixed rate for every head (Sun et al. 2023)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.fast_weights import FastWeights, FastWeightsConfig, by_head
from icl.models.mixers.order import distances, rotate
from icl.models.mixers.recurrence import token_sum


@MixerConfig.registry.add("retention", papers=("sun-2023",))
class Retention(FastWeightsConfig):
    """S_t = g S_{t-1} + v_t k_t', o_t = S_t q_t / sqrt(K) with g = 1 - 2^(-5 - h) for head h, RMS norm and silu gate.

    Queries and keys are rotated by their place (`rotate`), so scores depend on distances. Parallel: O = (Q K' . D) V
    with D_ts = g^(t - s). Deviations: RMS norm without a mean in place of group norm; values as wide as keys.
    """

    cost = "T^2 E"
    expected = "averaging, recency, associative recall"

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return RetentionMixer(place, key=key)


class RetentionMixer(FastWeights):
    """The state counts the tokens for the rotation."""

    def __init__(self, place: Place, *, key: PRNGKeyArray):
        super().__init__(place, normalized=True, gated=True, key=key)

    @property
    def rates(self) -> Float[np.ndarray, "H"]:
        return 1 - 2.0 ** (-5 - np.arange(self.heads))

    def inputs(self, entered, x):
        query, key, value = self.split(entered)
        return query * self.size**-0.5, key, value

    def parallel(self, parts):
        query, key, value = (by_head(a) for a in parts)
        length = query.shape[1]
        places = jnp.arange(length)
        kept = jnp.asarray(self.rates[:, None, None] ** distances(length)[None], query.dtype)
        query, key = (rotate(a, places[None]) for a in (query, key))
        return by_head(token_sum(jnp.matmul(query, jnp.swapaxes(key, -1, -2)) * kept, value))

    def start(self):
        return super().start(), jnp.zeros((), jnp.int32)

    def advance(self, state, part):
        memory, place = state
        query, key, value = part
        query, key = (rotate(a, place[None]) for a in (query, key))
        memory = jnp.asarray(self.rates, memory.dtype)[:, None, None] * memory + value[:, :, None] * key[:, None, :]
        return (memory, place + 1), jnp.einsum("hvk,hk->hv", memory, query)
