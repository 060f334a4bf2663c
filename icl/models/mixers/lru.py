"""The linear recurrent unit (Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De 2023)."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from function_classes.fields import Problem, setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.recurrence import Recurrence
from icl.models.mixers.state_space import diagonal_states, precise
from icl.models.parts import Linear, initial_std


@MixerConfig.registry.add("lru", papers=("orvieto-2023",))
class LRU(MixerConfig):
    """s_t = lambda s_{t-1} + gamma B u_t, y_t = Re(C s_t) + d u_t; W gelu(y) + b.

    lambda = exp(-exp(nu) + i exp(theta)) starts uniform on the ring least <= |lambda| <= most, gamma = sqrt(1 -
    |lambda|^2), which keeps the state's size; B and C are complex with entries of variance 1 / fan-in.
    """

    cost = "T^2 N + T E N"
    expected = "averaging, recency"
    states: int = setting(64, "complex states", at_least=1)
    least: float = setting(0.9, "smallest |lambda| at the start", at_least=0, below=1)
    most: float = setting(0.999, "largest |lambda| at the start", above=0, below=1)

    def problems(self):
        if self.most < self.least:
            yield Problem("most", f"must be at least least = {self.least:g}, got {self.most:g}")

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return LRUMixer(place, self.states, self.least, self.most, key=key)


class LRUMixer(Recurrence):
    """B and C as real and imaginary parts."""

    log_decay: Float[Array, "N"]
    log_angle: Float[Array, "N"]
    log_gain: Float[Array, "N"]
    input_real: Float[Array, "E N"]
    input_imaginary: Float[Array, "E N"]
    output_real: Float[Array, "N E"]
    output_imaginary: Float[Array, "N E"]
    skip: Float[Array, "E"]
    output: Linear

    def __init__(self, place: Place, states: int, least: float, most: float, *, key: PRNGKeyArray):
        ring, angle, enter, read, skip, output = jax.random.split(key, 6)
        squares = jax.random.uniform(ring, (states,), minval=least**2, maxval=most**2)
        self.log_decay = jnp.log(-0.5 * jnp.log(squares))
        self.log_angle = jnp.log(jax.random.uniform(angle, (states,), minval=1e-3, maxval=2 * math.pi))
        self.log_gain = 0.5 * jnp.log1p(-squares)
        width = place.width
        self.input_real, self.input_imaginary = jax.random.normal(enter, (2, width, states)) / math.sqrt(2 * width)
        self.output_real, self.output_imaginary = jax.random.normal(read, (2, states, width)) / math.sqrt(states)
        self.skip = jax.random.normal(skip, (width,))
        self.output = Linear(width, width, initial_std(place.init, width, place.depth), key=output)

    @property
    def log(self) -> Complex[Array, "N"]:
        """log lambda."""
        return jax.lax.complex(-jnp.exp(precise(self.log_decay)), jnp.exp(precise(self.log_angle)))

    def inputs(self, entered, x):
        gain = jnp.exp(self.log_gain)[None]
        return gain * (entered @ self.input_real), gain * (entered @ self.input_imaginary)

    def parallel(self, parts):
        return diagonal_states(self.log, *parts)

    def start(self) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
        zeros = jnp.zeros_like(self.output_real[:, 0])
        return zeros, zeros

    def advance(self, state, part):
        factor = jnp.exp(self.log)
        a, b = factor.real.astype(part[0].dtype), factor.imag.astype(part[0].dtype)
        state = a * state[0] - b * state[1] + part[0], a * state[1] + b * state[0] + part[1]
        return state, state

    def leave(self, outs, x: Float[Array, "T E"]) -> Float[Array, "T E"]:
        read = outs[0] @ self.output_real - outs[1] @ self.output_imaginary
        return self.output(jax.nn.gelu(read + self.skip[None] * x))
