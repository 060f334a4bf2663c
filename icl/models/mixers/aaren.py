"""Attention as a recurrence: a learned query that no token changes (Feng et al. 2024, Aaren)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.fast_weights import FastWeightsConfig, by_head
from icl.models.mixers.recurrence import Recurrence, token_sum
from icl.models.parts import Linear, initial_std


@MixerConfig.registry.add("aaren", papers=("feng-2024",))
class Aaren(FastWeightsConfig):
    """o_t = sum_{s <= t} e^{q'k_s} v_s / sum_{s <= t} e^{q'k_s} with one learned query q for every head.

    The state is the largest score, the sums of weights and of weighted values relative to it. What a token attends to
    does not depend on the token, so it cannot look anything up.
    """

    cost = "T^2 E"
    expected = "averaging"

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return AarenMixer(place, key=key)


class AarenMixer(Recurrence):
    """Parts are scores (T, H) and values (T, H, K)."""

    query: Float[Array, "H K"]
    projection: Linear
    output: Linear
    heads: int = eqx.field(static=True)

    def __init__(self, place: Place, *, key: PRNGKeyArray):
        query, project, output = jax.random.split(key, 3)
        width, size = place.width, place.width // place.heads
        self.query = jax.random.normal(query, (place.heads, size)) * size**-0.5
        self.projection = Linear(width, 2 * width, initial_std(place.init, width), key=project)
        self.output = Linear(width, width, initial_std(place.init, width, place.depth), key=output)
        self.heads = place.heads

    def inputs(self, entered: Float[Array, "*B T E"], x: Float[Array, "*B T E"]):
        key, value = (a.reshape(*a.shape[:-1], self.heads, -1) for a in jnp.split(self.projection(entered), 2, -1))
        return jnp.einsum("...hk,hk->...h", key, self.query), value

    def parallel(self, parts):
        scores, values = by_head(parts[0]), by_head(parts[1])
        largest = jax.lax.cummax(scores, 1)
        weights = jnp.exp(jnp.minimum(scores[:, None, :] - largest[:, :, None], 0))
        total = token_sum(weights, jnp.ones_like(scores)[..., None])
        return by_head(token_sum(weights, values) / total)

    def start(self):
        zeros = jnp.zeros_like(self.query)
        return jnp.full_like(zeros[:, 0], -jnp.inf), zeros[:, 0], zeros

    def advance(self, state, part):
        largest, total, weighted = state
        score, value = part
        top = jnp.maximum(largest, score)
        old, new = jnp.exp(largest - top), jnp.exp(score - top)
        total, weighted = old * total + new, old[:, None] * weighted + new[:, None] * value
        return (top, total, weighted), weighted / total[:, None]

    def leave(self, outs: Float[Array, "*B T H K"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        return self.output(outs.reshape(*outs.shape[:-2], -1))
