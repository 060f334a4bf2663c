"""Diagonal state spaces, one for every channel: S4D (Gu, Gupta, Goel, Re 2022) and DSS (Gupta, Gu, Berant 2022)."""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from function_classes.fields import Problem, setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.convolution import EXACT, causal_convolution
from icl.models.mixers.fork import Fork
from icl.models.mixers.recurrence import Recurrence
from icl.models.mixers.state_space import hippo_spectrum, powers, times
from icl.models.parts import Linear, beside, initial_std, precise

# Lags whose exponentials are computed one by one.
STRIDE = 16


class StateSpaceConfig(MixerConfig):
    """The range that step sizes start in, log-uniform, one for every channel."""

    forks = True
    least_step: float = setting(1e-3, "smallest step at the start", above=0)
    most_step: float = setting(0.1, "largest step at the start", above=0)

    def problems(self):
        if self.most_step < self.least_step:
            yield Problem("most_step", f"must be at least least_step = {self.least_step:g}, got {self.most_step:g}")

    def log_steps(self, shape: tuple[int, ...], key: PRNGKeyArray) -> Float[Array, "*n"]:
        low, high = math.log(self.least_step), math.log(self.most_step)
        return jax.random.uniform(key, shape, minval=low, maxval=high)


@MixerConfig.registry.add("s4d", papers=("gu-2022",))
class S4D(StateSpaceConfig):
    """y_t = 2 Re(c' s_t) + d u_t, s_t = exp(step lambda) s_{t-1} + u_t, in every channel; then W gelu(y) + b.

    c' = c (exp(step lambda) - 1) / lambda (zero-order hold, input vector 1). lambda = -exp(p) + i q, `modes` of them
    for each channel, starts at -1/2 + i pi n (lin) or -1/2 + i (N / pi)(N / (2n + 1) - 1), N = 2 modes (inv). The
    parallel form is a convolution with kernel K_l = 2 Re(sum_n c'_n exp(l step lambda_n)), exactly causal up to 256
    tokens.
    """

    cost = "T^2 E"
    expected = "averaging, recency"
    modes: int = setting(16, "complex states per channel, each with its conjugate", at_least=1)
    spectrum: Literal["lin", "inv"] = setting("lin", "where the frequencies start")

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        n = np.arange(self.modes)
        size = 2 * self.modes
        frequencies = np.pi * n if self.spectrum == "lin" else size / np.pi * (size / (2 * n + 1) - 1)
        steps, rest = jax.random.split(key)
        spectrum = -0.5 + 1j * frequencies
        return DiagonalStateSpace(place, spectrum, self.log_steps((place.width,), steps), 2.0, key=rest)


@MixerConfig.registry.add("dss", papers=("gupta-2022",))
class DSS(StateSpaceConfig):
    """`s4d` whose lambda start at the spectrum of HiPPO-LegS, and of whose states only Re(c' s_t) is read, without
    conjugates: DSS-exp.

    The variant with a softmax over the kernel divides by a sum over the length of the sequence, so its outputs change
    when the prompt goes on; it is no causal map and is left out.
    """

    cost = "T^2 E"
    expected = "averaging, recency"
    modes: int = setting(32, "complex states per channel", at_least=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        steps, rest = jax.random.split(key)
        spectrum = hippo_spectrum(self.modes)
        return DiagonalStateSpace(place, spectrum, self.log_steps((place.width,), steps), 1.0, key=rest)


class DiagonalStateSpace(Recurrence):
    """E independent state spaces of N modes; `doubled` is 2 where every mode stands for a conjugate pair."""

    exact_length = EXACT
    log_decay: Float[Array, "E N"]
    frequency: Float[Array, "E N"]
    log_step: Float[Array, "E"]
    real: Float[Array, "E N"]
    imaginary: Float[Array, "E N"]
    skip: Float[Array, "E"]
    output: Linear
    doubled: float = eqx.field(static=True)

    def __init__(
        self,
        place: Place,
        spectrum: Complex[np.ndarray, "N"],
        log_step: Float[Array, "E"],
        doubled: float,
        *,
        key: PRNGKeyArray,
    ):
        weight, skip, output = jax.random.split(key, 3)
        shape = place.width, len(spectrum)
        self.log_decay = jnp.broadcast_to(jnp.asarray(np.log(-np.real(spectrum))), shape)
        self.frequency = jnp.broadcast_to(jnp.asarray(np.imag(spectrum)), shape)
        self.log_step = log_step
        self.real, self.imaginary = math.sqrt(0.5) * jax.random.normal(weight, (2, *shape))
        self.skip = jax.random.normal(skip, (place.width,))
        self.output = Linear(place.width, place.width, initial_std(place.init, place.width, place.depth), key=output)
        self.doubled = doubled

    def discrete(self) -> tuple[Complex[Array, "E N"], Complex[Array, "E N"]]:
        """step lambda, and c'."""
        rate = jax.lax.complex(-jnp.exp(precise(self.log_decay)), precise(self.frequency))
        log = times(jnp.exp(precise(self.log_step))[:, None], rate)
        weight = jax.lax.complex(precise(self.real), precise(self.imaginary))
        return log, weight * jnp.expm1(log) / rate

    def kernel(self, length: int) -> Float[Array, "T E"]:
        """`doubled` Re(sum_n c'_n exp(l log_n)): exponentials of STRIDE lags, those of every STRIDE-th lag, and their
        products. Which two make a lag does not depend on the length."""
        log, weight = self.discrete()
        low, high = powers(log, STRIDE), weight[None] * powers(STRIDE * log, -(-length // STRIDE))
        pairs = (high.real, low.real), (high.imag, low.imag)
        real, imaginary = (jnp.einsum("aen,ben->abe", *pair, precision=jax.lax.Precision.HIGHEST) for pair in pairs)
        return self.doubled * (real - imaginary).reshape(-1, log.shape[0])[:length]

    def inputs(self, entered: Float[Array, "*B T E"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        return entered

    def parallel(self, parts: Float[Array, "T E"]) -> Float[Array, "T E"]:
        return causal_convolution(self.kernel(parts.shape[0]).astype(parts.dtype), parts)

    def forked(self, parts: Float[Array, "T E"], fork: Fork) -> Float[Array, "T E"]:
        return causal_convolution(self.kernel(fork.trunk + 1).astype(parts.dtype), parts, fork)

    def start(self) -> tuple[Float[Array, "E N"], Float[Array, "E N"]]:
        return jnp.zeros_like(precise(self.real)), jnp.zeros_like(precise(self.real))

    def advance(self, state, part):
        log, weight = self.discrete()
        factor = jnp.exp(log)
        real = factor.real * state[0] - factor.imag * state[1] + part[:, None].astype(state[0].dtype)
        imaginary = factor.real * state[1] + factor.imag * state[0]
        out = self.doubled * jnp.sum(weight.real * real - weight.imag * imaginary, -1)
        return (real, imaginary), out.astype(part.dtype)

    def leave(self, outs: Float[Array, "*B T E"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        return self.output(jax.nn.gelu(outs + beside(self.skip, x) * x))
