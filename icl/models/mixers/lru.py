"""The linear recurrent unit (Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De 2023)."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from function_classes.fields import Problem, setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.state_space import ComplexStates
from icl.models.parts import Linear, initial_std, precise


@MixerConfig.registry.add("lru", papers=("orvieto-2023",))
class LRU(MixerConfig):
    """s_t = lambda s_{t-1} + gamma B u_t, y_t = Re(C s_t) + d u_t; W gelu(y) + b.

    lambda = exp(-exp(nu) + i exp(theta)) starts uniform on the ring least <= |lambda| <= most, gamma = sqrt(1 -
    |lambda|^2), which keeps the state's size; B and C are complex with entries of variance 1 / fan-in.
    """

    cost = "T^2 N + T E N"
    expected = "averaging, recency"
    forks = True
    states: int = setting(64, "complex states", at_least=1)
    least: float = setting(0.9, "smallest |lambda| at the start", at_least=0, below=1)
    most: float = setting(0.999, "largest |lambda| at the start", above=0, below=1)

    def problems(self):
        if self.most < self.least:
            yield Problem("most", f"must be at least least = {self.least:g}, got {self.most:g}")

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return LRUMixer(place, self.states, self.least, self.most, key=key)


class LRUMixer(ComplexStates):
    """lambda and gamma as logarithms."""

    log_decay: Float[Array, "N"]
    log_angle: Float[Array, "N"]
    log_gain: Float[Array, "N"]

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

    @property
    def gain(self) -> Complex[Array, "N"]:
        return jax.lax.complex(jnp.exp(precise(self.log_gain)), jnp.zeros_like(precise(self.log_gain)))
