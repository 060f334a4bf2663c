"""Where the weights of mixers start, as their papers say."""

import jax
import numpy as np
import pytest

from icl.models.mixers import Mixer, MixerConfig
from icl.models.mixers.base import Place

E = 6


def start(name: str, width: int = E, length: int = 9, **fields) -> Mixer:
    """A mixer at its start, its weights as float64 NumPy arrays."""
    place = Place(width=width, heads=2, depth=1, length=length)
    mixer = MixerConfig.registry.get(name, **fields).make(place, key=jax.random.key(0))
    return jax.tree.map(lambda a: np.asarray(a, float), mixer)


def uniform(values, low, high):
    """Inside the bounds and close to both, with mean and variance of the uniform law within four standard errors."""
    values, count = np.asarray(values), np.size(values)
    assert low - 1e-5 * abs(low) <= values.min()
    assert values.max() <= high + 1e-5 * abs(high)
    scaled = (values - low) / (high - low)
    assert max(scaled.min(), 1 - scaled.max()) < 10 / count
    assert abs(scaled.mean() - 1 / 2) < 4 * (1 / 12 / count) ** 0.5
    assert abs(scaled.var() - 1 / 12) < 4 * (1 / 180 / count) ** 0.5


def test_cells_turn_their_state_and_lstm_remembers():
    """U'U = 1 for every gate; of the biases that of the forget gate is 1, the second of i, f, g, o."""
    for name, gates in (("lstm", 4), ("gru", 3)):
        m = start(name, hidden=5)
        for square in np.split(m.hidden.weight, gates, 1):
            np.testing.assert_allclose(square.T @ square, np.eye(5), atol=1e-6)
        wanted = np.zeros((gates, 5))
        wanted[1] = name == "lstm"
        np.testing.assert_array_equal(m.token.bias + m.hidden.bias, wanted.ravel())


def hippo(size):
    """The eigenvalues in the upper half plane of A + p p', A of HiPPO-LegS (Gu et al. 2022, equation 5)."""
    matrix = np.zeros((size, size))
    for n in range(size):
        for k in range(n):
            matrix[n, k] = -np.sqrt((2 * n + 1) * (2 * k + 1))
        matrix[n, n] = -(n + 1)
    p = np.sqrt(np.arange(size) + 0.5)
    values = np.linalg.eigvals(matrix + np.outer(p, p))
    return values[values.imag > 0]


def by_frequency(values):
    return values[np.argsort(values.imag)]


def test_spectra_of_state_spaces():
    """S4D-Lin: -1/2 + i pi n; S4D-Inv: -1/2 + i (N / pi) (N / (2n + 1) - 1); DSS and S5: the normal part of HiPPO."""
    n, size = np.arange(5), 10
    wanted = {
        "lin": -0.5 + 1j * np.pi * n,
        "inv": -0.5 + 1j * size / np.pi * (size / (2 * n + 1) - 1),
    }
    found = {kind: start("s4d", modes=5, spectrum=kind) for kind in wanted}
    wanted |= {"dss": hippo(size), "s5": hippo(size)}
    found |= {"dss": start("dss", modes=5), "s5": start("s5", states=5)}
    for kind, m in found.items():
        rates = -np.exp(m.log_decay) + 1j * m.frequency
        for row in rates if rates.ndim == 2 else rates[None]:
            np.testing.assert_allclose(by_frequency(row), by_frequency(wanted[kind]), rtol=1e-5)


def test_s5_starts_with_real_maps_in_the_eigenvectors():
    """B = V^-1 B_0 and C = C_0 V: with V unitary, rows of B and columns of C have the variance of B_0 and C_0, 1 /
    fan-in."""
    m = start("s5", width=64, states=32)
    for real, imaginary, fan_in in ((m.input_real, m.input_imaginary, 64), (m.output_real, m.output_imaginary, 64)):
        assert abs(np.mean(real**2 + imaginary**2) * fan_in - 1) < 0.1


@pytest.mark.parametrize("member", ["s4d", "dss", "s5"])
def test_steps_are_log_uniform_between_a_thousandth_and_a_tenth(member):
    sizes = {"states": 200} if member == "s5" else {"width": 200, "modes": 1}
    uniform(start(member, **sizes).log_step, np.log(1e-3), np.log(0.1))


def test_mamba():
    """A = -1..-N in every channel, softplus(b) log-uniform in [.001, .1], d = 1."""
    m = start("mamba", width=100, states=5, expand=20)
    np.testing.assert_allclose(-np.exp(m.log_rate), -np.tile(np.arange(1, 6), (2000, 1)), rtol=1e-6)
    uniform(np.log(np.log1p(np.exp(m.step_up.bias))), np.log(1e-3), np.log(0.1))
    assert np.all(m.skip == 1)


def test_lru_is_uniform_on_a_ring_and_keeps_the_size_of_its_state():
    """lambda by area on .9 <= |lambda| <= .999, gamma = sqrt(1 - |lambda|^2)."""
    m = start("lru", states=400)
    squares = np.exp(-2 * np.exp(m.log_decay))
    uniform(squares, 0.9**2, 0.999**2)
    uniform(np.exp(m.log_angle), 0, 2 * np.pi)
    np.testing.assert_allclose(np.exp(m.log_gain), np.sqrt(1 - squares), rtol=1e-3)


def test_decays():
    """Hyena's filters are down to .01 after .3 to 1.5 of the longest length, RWKV's w are e^-6 to e, the rates of gated
    DeltaNet 1 to 16."""
    times = np.log(100) / np.exp(start("hyena", order=3).log_decay)
    np.testing.assert_allclose(times[[0, E - 1, E, -1]], [1.5, 0.3, 1.5, 0.3], rtol=1e-5)
    np.testing.assert_allclose(start("rwkv").decay, np.linspace(-6, 1, E), rtol=1e-6)
    np.testing.assert_allclose(np.exp(start("gated-deltanet").log_rate), [1, 16], rtol=1e-6)


def test_maps_between_places():
    """Sums over places start with the size of one token: rows t of MLP-Mixer's with variance 1 / (t + 1), filters of
    base-conv with 1 / length; gMLP's gate starts as 1."""
    length = 200
    m = start("mlp-mixer", length=length)
    for weights, share in ((m.first, 1.0), (m.second, 0.5)):
        sums = np.sum(np.tril(weights) ** 2, 1)
        assert abs(np.mean(sums[100:]) - share) < 0.1 * share
        assert abs(np.mean(sums[:100]) - share) < 0.2 * share
    assert abs(np.mean(np.sum(start("base-conv", width=20, length=length).filters ** 2, 0)) - 1) < 0.1
    assert np.abs(start("gmlp", length=length).between).max() < 0.01
