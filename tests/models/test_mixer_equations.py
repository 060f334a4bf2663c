"""Mixers against their equations, written once more in NumPy from the papers, in float64.

Forms that agree with each other may share a wrong formula, so what is compared here reads nothing but weights.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from icl.models.mixers import Mixer, MixerConfig
from icl.models.mixers.base import Place

# Prompts are shorter than what the mixer can hold.
T, LONGEST, E, H = 7, 9, 8, 2
PLACE = Place(width=E, heads=H, depth=1, length=LONGEST)
X = np.random.default_rng(0).normal(size=(T, E))


def run(name: str, **fields) -> tuple[Mixer, np.ndarray]:
    """A mixer whose weights all differ from what they start at, as NumPy arrays, and its outputs on `X`."""
    with jax.enable_x64(True):
        mixer = MixerConfig.registry.get(name, **fields).make(PLACE, key=jax.random.key(0))
        rng = np.random.default_rng(1)
        noise = lambda a: jnp.asarray(np.asarray(a, float) + 0.3 * rng.normal(size=a.shape))  # noqa: E731
        mixer = jax.tree.map(lambda a: noise(a) if eqx.is_inexact_array(a) else a, mixer)
        outs = np.asarray(jax.jit(lambda m, x: m(x))(mixer, jnp.asarray(X)))
    assert outs.dtype == float
    return jax.tree.map(np.asarray, mixer), outs


def close(found, wanted, share=1e-11):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=share * np.abs(wanted).max())


def linear(module, x):
    return x @ module.weight + (0 if module.bias is None else module.bias)


def convolved(taps, x):
    """y_t = sum over s <= t of taps[t - s] x_s, every channel for itself."""
    return np.array([sum(taps[t - s] * x[s] for s in range(max(0, t - len(taps) + 1), t + 1)) for t in range(len(x))])


def test_hyena_gates_before_every_convolution():
    """HyenaOperator.forward of the authors: v = v x_i; v = fftconv(v, k_i) + bias_i v for the gates but the last, which
    multiplies what comes out."""
    for order in (2, 3):
        m, outs = run("hyena", order=order, hidden=4, codes=5)
        v, *gates = np.split(convolved(m.short, linear(m.projection, X)), order + 1, -1)
        t = np.arange(T)[:, None] / LONGEST
        code = np.concatenate([t, *(f(2 * np.pi * b * t) for f in (np.cos, np.sin) for b in (1, 2))], 1)
        first, second, last = m.layers
        taps = linear(last, np.sin(10 * linear(second, np.sin(10 * linear(first, code)))))
        taps = taps * np.exp(-np.exp(m.log_decay) * t) / np.sqrt(LONGEST)
        for i, gate in enumerate(gates[:-1]):
            v = gate * v
            v = convolved(taps[:, i * E : (i + 1) * E], v) + m.skip[i] * v
        close(outs, linear(m.output, gates[-1] * v))
