"""RWKV: a decaying average of values with exponential weights of keys (Peng et al. 2023, version 4)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.recurrence import Recurrence
from icl.models.parts import Linear, initial_std


@MixerConfig.registry.add("rwkv", papers=("peng-2023",))
class RWKV(MixerConfig):
    """wkv_t = (sum_{s<t} e^{-(t-1-s) w + k_s} v_s + e^{u + k_t} v_t) / (the same without v), every channel for itself;
    y_t = W (sigmoid(r_t) wkv_t).

    r, k and v are maps of mu x_t + (1 - mu) x_{t-1}, with a mu of their own; w = exp(decay) > 0. Weights are kept
    relative to the largest. The parallel form is the recurrence.
    """

    cost = "T E^2, one token after the other"
    expected = "averaging, recency"
    forks = True

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return RWKVMixer(place, key=key)


class RWKVMixer(Recurrence):
    """The state: the token before, the largest exponent, and both sums relative to it."""

    mix: Float[Array, "R E"]
    receptance: Linear
    key: Linear
    value: Linear
    decay: Float[Array, "E"]
    bonus: Float[Array, "E"]
    output: Linear

    def __init__(self, place: Place, *, key: PRNGKeyArray):
        receptance, own, value, output = jax.random.split(key, 4)
        width, std = place.width, initial_std(place.init, place.width)
        self.mix = jnp.full((3, width), 0.5)
        self.receptance, self.key, self.value = (
            Linear(width, width, std, bias=False, key=k) for k in (receptance, own, value)
        )
        # From slow to fast channels, as the paper has: w between e^-6 and e^1.
        self.decay = jnp.linspace(-6.0, 1.0, width)
        self.bonus = jnp.full(width, 0.5)
        self.output = Linear(width, width, initial_std(place.init, width, place.depth), bias=False, key=output)

    def inputs(self, entered: Float[Array, "*B T E"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        return entered

    def start(self):
        zeros = jnp.zeros_like(self.decay)
        return zeros, jnp.full_like(zeros, -jnp.inf), zeros, zeros

    def advance(self, state, part):
        before, largest, total, weighted = state
        mixed = self.mix * part[None] + (1 - self.mix) * before[None]
        gate = jax.nn.sigmoid(self.receptance(mixed[:1])[0])
        key, value = self.key(mixed[1:2])[0], self.value(mixed[2:])[0]

        def add(largest: Array, exponent: Array) -> tuple[Array, Array, Array]:
            """Both sums, whose weights are relative to e^largest, with e^exponent of the value added."""
            top = jnp.maximum(largest, exponent)
            old, new = jnp.exp(largest - top), jnp.exp(exponent - top)
            return top, old * total + new, old * weighted + new * value

        _, weights, values = add(largest, self.bonus + key)
        # The next token sees this one without the bonus, and all before decayed once more.
        return (part, *add(largest - jnp.exp(self.decay), key)), gate * values / weights

    def leave(self, outs: Float[Array, "*B T E"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        return self.output(outs)
