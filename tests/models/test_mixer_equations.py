"""Mixers against their equations, written once more in NumPy from the papers, in float64.

Forms that agree with each other may share a wrong formula, so what is compared here reads nothing but weights.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

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


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    """By tanh."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def heads(x):
    """(T, E) to (T, H, K)."""
    return x.reshape(T, H, -1)


def split(m):
    """Queries, keys and values of a mixer with one projection for them."""
    return [heads(a) for a in np.split(linear(m.projection, X), 3, -1)]


def rms(m, x):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-5) * m.norm.scale


def test_lstm_and_gru_are_the_cells_of_equinox():
    for name, kind in (("lstm", eqx.nn.LSTMCell), ("gru", eqx.nn.GRUCell)):
        m, outs = run(name, hidden=5)
        biases = {"bias": m.token.bias + m.hidden.bias}
        if name == "gru":
            # Inside n the reset gate multiplies a bias too.
            last = np.arange(15) >= 10
            biases = {"bias": m.token.bias + np.where(last, 0, m.hidden.bias), "bias_n": m.hidden.bias[last]}
        weights = {"weight_ih": m.token.weight.T, "weight_hh": m.hidden.weight.T, **biases}
        with jax.enable_x64(True):
            cell = kind(E, 5, key=jax.random.key(0))
            given = [jnp.asarray(a) for a in weights.values()]
            cell = eqx.tree_at(lambda c, names=tuple(weights): [getattr(c, one) for one in names], cell, given)
            state = (jnp.zeros(5), jnp.zeros(5)) if name == "lstm" else jnp.zeros(5)
            step = eqx.filter_jit(cell)
            hidden = []
            for row in X:
                state = step(jnp.asarray(row), state)
                hidden.append(np.asarray(state[0] if name == "lstm" else state))
        close(outs, linear(m.output, np.array(hidden)))


def test_mamba():
    """Algorithm 2 of Gu and Dao 2023 between the maps of their block: A by zero-order hold, B by Euler's step."""
    m, outs = run("mamba", states=3, window=3)
    u, z = np.split(linear(m.into, X), 2, -1)
    u = silu(convolved(m.short.weight, u) + m.short.bias)
    rank = m.step_up.weight.shape[0]
    low, b, c = np.split(linear(m.select, u), (rank, rank + 3), -1)
    step = np.log1p(np.exp(linear(m.step_up, low)))
    a, h, reads = -np.exp(m.log_rate), np.zeros((2 * E, 3)), []
    for t in range(T):
        h = np.exp(step[t][:, None] * a) * h + step[t][:, None] * b[t][None] * u[t][:, None]
        reads.append(h @ c[t] + m.skip * u[t])
    close(outs, linear(m.output, np.array(reads) * silu(z)))


def held(a, b):
    """Zero-order hold of s' = A s + B u for one unit of time, by the matrix exponential of both."""
    n, inputs = b.shape
    both = expm(np.block([[a, b], [np.zeros((inputs, n + inputs))]]))
    return both[:n, :n], both[:n, n:]


def driven(a, b, c, u):
    """The real part of C s_t, s_t = A s_{t-1} + B u_t."""
    s, outs = np.zeros(len(a), complex), []
    for row in u:
        s = a @ s + b @ row
        outs.append((c @ s).real)
    return np.array(outs)


@pytest.mark.parametrize("member", ["s4d", "dss"])
def test_diagonal_state_spaces_are_continuous_ones_held_for_a_step(member):
    """s' = A s + u, y = C s for every channel; with S4D's conjugates the system is real."""
    m, outs = run(member, modes=3)
    mixed = np.zeros((T, E))
    for e in range(E):
        rate, weight = -np.exp(m.log_decay[e]) + 1j * m.frequency[e], m.real[e] + 1j * m.imaginary[e]
        if member == "s4d":
            rate, weight = (np.concatenate([a, a.conj()]) for a in (rate, weight))
        step = np.exp(m.log_step[e])
        system = held(step * np.diag(rate), step * np.ones((len(rate), 1)))
        mixed[:, e] = driven(*system, weight[None], X[:, e : e + 1])[:, 0]
    close(outs, linear(m.output, gelu(mixed + m.skip * X)))


def test_s5_is_one_continuous_system_held_for_a_step():
    m, outs = run("s5", states=3)
    conjugates = lambda a, axis: np.concatenate([a, a.conj()], axis)  # noqa: E731
    rate = conjugates(-np.exp(m.log_decay) + 1j * m.frequency, 0)
    b = conjugates((m.input_real + 1j * m.input_imaginary).T, 0)
    c = conjugates((m.output_real + 1j * m.output_imaginary).T, 1)
    step = np.tile(np.exp(m.log_step), 2)[:, None]
    mixed = driven(*held(step * np.diag(rate), step * b), c, X)
    close(outs, linear(m.output, gelu(mixed + m.skip * X)))


def test_lru():
    """Equations 4 to 7 of Orvieto et al. 2023."""
    m, outs = run("lru", states=3)
    rate = np.exp(-np.exp(m.log_decay) + 1j * np.exp(m.log_angle))
    b, c = (m.input_real + 1j * m.input_imaginary).T, (m.output_real + 1j * m.output_imaginary).T
    mixed = driven(np.diag(rate), np.exp(m.log_gain)[:, None] * b, c, X)
    close(outs, linear(m.output, gelu(mixed + m.skip * X)))


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


def test_base_conv_multiplies_a_convolution_and_a_map():
    m, outs = run("base-conv")
    close(outs, linear(m.output, convolved(m.filters, X) * linear(m.gate, X)))


def test_maps_between_places():
    """The MLP of MLP-Mixer, and gMLP's gate with a spatial bias of 1."""
    m, outs = run("mlp-mixer")
    first, second = (np.tril(w)[:T, :T] for w in (m.first, m.second))
    close(outs, second @ gelu(first @ X + m.bias[:T, None]) + m.shift[:T, None])
    m, outs = run("gmlp")
    a, b = np.split(gelu(linear(m.into, X)), 2, -1)
    b = (b - b.mean(-1, keepdims=True)) / np.sqrt(b.var(-1, keepdims=True) + 1e-5) * m.norm.scale + m.norm.shift
    close(outs, linear(m.output, a * (np.tril(m.between)[:T, :T] @ b + 1)))
