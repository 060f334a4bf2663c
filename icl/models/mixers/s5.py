"""S5: one diagonal state space that reads and writes all channels (Smith, Warrington, Linderman 2023)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.s4d import StateSpaceConfig
from icl.models.mixers.state_space import ComplexStates, hippo, times
from icl.models.parts import Linear, initial_std, precise


@MixerConfig.registry.add("s5", papers=("smith-2022",))
class S5(StateSpaceConfig):
    """s_t = exp(step lambda) s_{t-1} + (exp(step lambda) - 1) / lambda B u_t, y_t = 2 Re(C s_t) + d u_t; W gelu(y) + b.

    `states` complex numbers, each with a conjugate. lambda starts at the spectrum of HiPPO-LegS, B and C in its
    eigenvectors: B = V^-1 B_0, C = C_0 V with B_0 and C_0 of variance 1 / fan-in; one step for every state.
    """

    cost = "T^2 N + T E N"
    expected = "averaging, recency"
    states: int = setting(32, "complex states, each with its conjugate", at_least=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        steps, rest = jax.random.split(key)
        return S5Mixer(place, self.states, self.log_steps((self.states,), steps), key=rest)


class S5Mixer(ComplexStates):
    """lambda and the steps as logarithms."""

    log_decay: Float[Array, "N"]
    frequency: Float[Array, "N"]
    log_step: Float[Array, "N"]
    doubled = 2.0

    def __init__(self, place: Place, states: int, log_step: Float[Array, "N"], *, key: PRNGKeyArray):
        enter, read, skip, output = jax.random.split(key, 4)
        values, vectors = hippo(states)
        real, imaginary = (jnp.asarray(a) for a in (np.real(vectors), np.imag(vectors)))
        enters = jax.random.normal(enter, (2 * states, place.width)) / math.sqrt(place.width)
        reads = jax.random.normal(read, (place.width, 2 * states)) / math.sqrt(2 * states)
        self.log_decay = jnp.asarray(np.log(-np.real(values)))
        self.frequency = jnp.asarray(np.imag(values))
        self.log_step = log_step
        # The eigenvectors of a normal matrix are orthonormal, so V^-1 is the conjugate transpose.
        self.input_real, self.input_imaginary = enters.T @ real, -(enters.T @ imaginary)
        self.output_real, self.output_imaginary = (reads @ real).T, (reads @ imaginary).T
        self.skip = jax.random.normal(skip, (place.width,))
        self.output = Linear(place.width, place.width, initial_std(place.init, place.width, place.depth), key=output)

    @property
    def rate(self) -> Complex[Array, "N"]:
        """lambda."""
        return jax.lax.complex(-jnp.exp(precise(self.log_decay)), precise(self.frequency))

    @property
    def log(self) -> Complex[Array, "N"]:
        return times(jnp.exp(precise(self.log_step)), self.rate)

    @property
    def gain(self) -> Complex[Array, "N"]:
        return jnp.expm1(self.log) / self.rate
