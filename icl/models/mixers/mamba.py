"""Mamba: a diagonal state space whose step, input and output vectors depend on the token (Gu and Dao 2023)."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.recurrence import Recurrence, ShortConvolution
from icl.models.parts import Linear, initial_std, precise, uniform_linear

# Decay rates below this let the state grow without bound in float32.
_LEAST_RATE = 1e-4
_LEAST_STEP, _MOST_STEP = 1e-3, 0.1


@MixerConfig.registry.add("mamba", papers=("gu-2023",))
class Mamba(MixerConfig):
    """h_t = exp(D_t A) h_{t-1} + D_t B_t u_t, y_t = C_t h_t + d u_t; output W (y_t silu(z_t)) (S6).

    (u, z) = W_in x with `expand` times the width, u through a short convolution; D_t = softplus(W_D W_r u + b) of rank
    ceil(width / 16), B_t and C_t linear in u; A = -exp(a), a starting at log(1..states). b starts where softplus gives
    steps log-uniform in [.001, .1]. A is kept below -1e-4. The parallel form is the recurrence.
    """

    cost = "T E N, one token after the other"
    expected = "averaging, recency, associative recall"
    forks = True
    states: int = setting(16, "states per channel", at_least=1)
    expand: int = setting(2, "channels per unit of width", at_least=1)
    window: int = setting(4, "tokens that the short convolution reads", at_least=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return MambaMixer(place, self.states, self.expand * place.width, self.window, key=key)


class MambaMixer(Recurrence):
    """The selective state space between its input and output maps."""

    into: Linear
    short: ShortConvolution
    select: Linear
    step_up: Linear
    log_rate: Float[Array, "C N"]
    skip: Float[Array, "C"]
    output: Linear

    def __init__(self, place: Place, states: int, channels: int, window: int, *, key: PRNGKeyArray):
        into, short, select, up, steps, output = jax.random.split(key, 6)
        rank = math.ceil(place.width / 16)
        std = initial_std(place.init, place.width)
        self.into = Linear(place.width, 2 * channels, std, bias=False, key=into)
        self.short = ShortConvolution(channels, window, key=short)
        self.select = Linear(channels, rank + 2 * states, initial_std(place.init, channels), bias=False, key=select)
        low, high = math.log(_LEAST_STEP), math.log(_MOST_STEP)
        first = jnp.exp(jax.random.uniform(steps, (channels,), minval=low, maxval=high))
        bias = jnp.log(jnp.expm1(first))
        self.step_up = eqx.tree_at(lambda m: m.bias, uniform_linear(rank, channels, key=up), bias)
        self.log_rate = jnp.broadcast_to(jnp.log(jnp.arange(1.0, states + 1)), (channels, states))
        self.skip = jnp.ones(channels)
        out_std = initial_std(place.init, channels, place.depth)
        self.output = Linear(channels, place.width, out_std, bias=False, key=output)

    @property
    def convolution(self) -> ShortConvolution:
        return self.short

    def enter(self, x: Float[Array, "*B T E"]) -> Float[Array, "*B T C"]:
        return jnp.split(self.into(x), 2, -1)[0]

    def inputs(self, entered: Float[Array, "*B T C"], x: Float[Array, "*B T E"]):
        rank, states = self.step_up.weight.shape[0], self.log_rate.shape[1]
        chosen = self.select(entered)
        low, into, out = jnp.split(chosen, (rank, rank + states), -1)
        step = jax.nn.softplus(self.step_up(low))
        return entered, step, into, out

    def start(self) -> Float[Array, "N C"]:
        return jnp.zeros_like(precise(self.log_rate.T))

    def advance(self, state, part):
        # Channels come last: then what a token gives every channel lies in memory as the state does.
        u, step, into, out = (precise(a) for a in part)
        rate = -jnp.maximum(jnp.exp(precise(self.log_rate.T)), _LEAST_RATE)
        state = jnp.exp(step[None] * rate) * state + (step * u)[None] * into[:, None]
        read = jnp.sum(state * out[:, None], 0)
        return state, (read + precise(self.skip) * u).astype(part[0].dtype)

    def leave(self, outs: Float[Array, "*B T C"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        gate = jnp.split(self.into(x), 2, -1)[1]
        return self.output(outs * jax.nn.silu(gate))
