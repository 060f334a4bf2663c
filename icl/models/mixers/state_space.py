"""Linear state spaces with diagonal complex dynamics: s_t = exp(step lambda) s_{t-1} + u_t, y_t = 2 Re(c s_t) + d u_t.

What S4D, DSS, S5 and the LRU share. Complex numbers are pairs of real arrays where they are parameters, because
optimizers treat a complex leaf differently, and in the recurrence, because complex scans compile slowly on a CPU.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from icl.models.mixers.convolution import EXACT, toeplitz
from icl.models.mixers.fork import Fork, after
from icl.models.mixers.recurrence import Recurrence
from icl.models.parts import Linear, affine, beside


def powers(log: Complex[Array, "*n"], length: int) -> Complex[Array, "L *n"]:
    """exp(l log) for l = 0..length-1."""
    steps = jnp.arange(length, dtype=log.real.dtype).reshape(length, *(1 for _ in log.shape))
    return jnp.exp(times(steps, log[None]))


def times(factor: Float[Array, "*n"], z: Complex[Array, "*m"]) -> Complex[Array, "..."]:
    """A real multiple of a complex number, without promotion."""
    return jax.lax.complex(factor * z.real, factor * z.imag)


def hippo_spectrum(states: int) -> Complex[np.ndarray, "N"]:
    """The eigenvalues with positive imaginary part of the normal part of HiPPO-LegS of size 2N: -1/2 + i omega.

    A_nk = -sqrt((2n + 1)(2k + 1)) below the diagonal and -(n + 1) on it; A + p p' with p_n = sqrt(n + 1/2) is normal.
    """
    return hippo(states)[0]


def hippo(states: int) -> tuple[Complex[np.ndarray, "N"], Complex[np.ndarray, "M N"]]:
    """These eigenvalues and their eigenvectors, as columns of length 2N."""
    n = np.arange(2 * states)
    lower = np.sqrt((2 * n[:, None] + 1) * (2 * n[None, :] + 1))
    matrix = np.diag(n + 1.0) * -1 - np.tril(lower, -1)
    normal = matrix + np.sqrt(n + 0.5)[:, None] * np.sqrt(n + 0.5)[None, :]
    # normal + I / 2 is skew, so i times it is Hermitian: its eigenvalues are real, and exact to rounding.
    values, vectors = np.linalg.eigh(-1j * (normal + 0.5 * np.eye(2 * states)))
    upper = values > 0
    return -0.5 + 1j * values[upper], vectors[:, upper]


def diagonal_states(
    log: Complex[Array, "N"], real: Float[Array, "T N"], imaginary: Float[Array, "T N"]
) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
    """s_t = exp(log) s_{t-1} + u_t for complex u, all at once: O(T^2 N) up to 256 tokens, by blocks of them beyond."""
    parts, before = [], (jnp.zeros_like(real[0]), jnp.zeros_like(real[0]))
    for first in range(0, real.shape[0], EXACT):
        block = slice(first, first + EXACT)
        re, im = real[block], imaginary[block]
        taps = powers(log, re.shape[0] + 1)
        a, b = (toeplitz(t[:-1]).astype(re.dtype) for t in (taps.real, taps.imag))
        left, right = (t[1:].astype(re.dtype) for t in (taps.real, taps.imag))
        states_re = product(a, re) - product(b, im) + left * before[0][None] - right * before[1][None]
        states_im = product(a, im) + product(b, re) + left * before[1][None] + right * before[0][None]
        before = states_re[-1], states_im[-1]
        parts.append((states_re, states_im))
    return jnp.concatenate([p[0] for p in parts]), jnp.concatenate([p[1] for p in parts])


def product(taps: Float[Array, "T T N"], u: Float[Array, "T N"]) -> Float[Array, "T N"]:
    return jnp.einsum("tsn,sn->tn", taps, u)


class ComplexStates(Recurrence):
    """One state space that reads and writes all channels: s_t = exp(log) s_{t-1} + gain B u_t, y_t = `doubled` Re(C
    s_t) + d u_t; W gelu(y) + b. B and C are pairs of real matrices; subclasses say what log and gain are."""

    input_real: Float[Array, "E N"]
    input_imaginary: Float[Array, "E N"]
    output_real: Float[Array, "N E"]
    output_imaginary: Float[Array, "N E"]
    skip: Float[Array, "E"]
    output: Linear
    doubled: ClassVar[float] = 1.0

    @property
    def log(self) -> Complex[Array, "N"]:
        """log of what multiplies the state at every token."""
        raise NotImplementedError

    @property
    def gain(self) -> Complex[Array, "N"]:
        """What multiplies B u."""
        raise NotImplementedError

    def inputs(self, entered: Float[Array, "*B T E"], x: Float[Array, "*B T E"]):
        real, imaginary = (affine(entered, weight, None) for weight in (self.input_real, self.input_imaginary))
        a, b = beside(self.gain.real, real), beside(self.gain.imag, real)
        return a * real - b * imaginary, a * imaginary + b * real

    def parallel(self, parts):
        return diagonal_states(self.log, *parts)

    def forked(self, parts, fork: Fork):
        trunk, leaves = fork.split(parts)
        states = self.parallel(trunk)
        before = jax.tree.map(lambda all, first: after(all, first, fork), states, self.start())
        others = jax.vmap(self.advance)(before, leaves)[1]
        return jax.tree.map(lambda *both: jnp.concatenate(both), states, others)

    def start(self) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
        zeros = jnp.zeros_like(self.output_real[:, 0])
        return zeros, zeros

    def advance(self, state, part):
        factor = jnp.exp(self.log)
        a, b = factor.real.astype(part[0].dtype), factor.imag.astype(part[0].dtype)
        state = a * state[0] - b * state[1] + part[0], a * state[1] + b * state[0] + part[1]
        return state, state

    def leave(self, outs, x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        read = affine(outs[0], self.output_real, None) - affine(outs[1], self.output_imaginary, None)
        return self.output(jax.nn.gelu(self.doubled * read + beside(self.skip, x) * x))
