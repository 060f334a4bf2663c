"""Gated linear attention: every key channel forgets at a rate the token chooses (Yang et al. 2023, GLA)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.fast_weights import FastWeights, FastWeightsConfig
from icl.models.parts import Linear, initial_std

# Decays are sigmoid(...)^(1 / TEMPER): near 1 at the start.
TEMPER = 16


@MixerConfig.registry.add("gated-linear-attention", papers=("yang-2023b",))
class GatedLinearAttention(FastWeightsConfig):
    """S_t = S_{t-1} Diag(a_t) + v_t k_t', o_t = S_t q_t / sqrt(K) with a_t = sigmoid(W_2 W_1 x_t + b)^(1/16), W_1 of
    rank `rank`; RMS norm per head, silu gate. Deviation: keys are as wide as values (the paper's are half).

    The parallel form is the recurrence: the form by products divides by running products of decays, which vanish.
    """

    cost = "T E^2 / H, one token after the other"
    expected = "averaging, recency"
    rank: int = setting(16, "rank of the map to the decays", at_least=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return GatedLinearMixer(place, self.rank, key=key)


class GatedLinearMixer(FastWeights):
    """With the two maps to the decays."""

    down: Linear
    up: Linear

    def __init__(self, place: Place, rank: int, *, key: PRNGKeyArray):
        rest, down, up = jax.random.split(key, 3)
        super().__init__(place, normalized=True, gated=True, key=rest)
        self.down = Linear(place.width, rank, initial_std(place.init, place.width), bias=False, key=down)
        self.up = Linear(rank, place.width, initial_std(place.init, rank), key=up)

    def inputs(self, entered: Float[Array, "*B T C"], x: Float[Array, "*B T E"]):
        query, key, value = self.split(entered)
        decay = jnp.exp(jax.nn.log_sigmoid(self.up(self.down(x))) / TEMPER).reshape(query.shape)
        return query * self.size**-0.5, key, value, decay

    def advance(self, state, part):
        query, key, value, decay = part
        state = state * decay[:, None, :] + value[:, :, None] * key[:, None, :]
        return state, jnp.einsum("hvk,hk->hv", state, query)
