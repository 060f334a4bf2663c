"""Power iteration in a loop: the iterates of NumPy, and the angle after as many loops as the eigenvalues say."""

import numpy as np
import pytest

from icl.models.constructions.power_iteration import PowerIteration

N = 4
LOOPS = 60
MODEL = PowerIteration(dim=N)


def spectral(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric matrices (R, N, N) with these eigenvalues (R, N), and their eigenvectors in columns."""
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), N, N)))[0]
    return np.einsum("rij,rj,rkj->rik", vectors, values, vectors), vectors


def test_every_loop_is_a_multiplication_and_a_division_by_the_norm():
    """Of any square matrices, of any size, loop by loop. With v the variance that LayerNorm sees, (|A x| / |A|_F)^2,
    its 1e-5 makes x shorter by d < 1e-5 / v, which adds d (A - I) x to the next A x."""
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(30, N, N)) * 10.0 ** rng.uniform(-3, 3, (30, 1, 1))
    starts = rng.normal(size=(30, N))
    found = MODEL.run(matrices, starts, LOOPS)[:5].astype(float)
    before = np.concatenate([(starts / np.linalg.norm(starts, axis=-1, keepdims=True))[None], found[:-1]])
    products = np.einsum("rij,trj->tri", matrices, before)
    sizes, norms = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (products, found))
    relative = sizes / np.linalg.norm(matrices, axis=(1, 2))[None, :, None]
    shorter = 1e-5 / np.minimum(relative, 1) ** 2
    assert np.all(np.abs(norms - 1) < shorter)
    before = np.concatenate([np.full_like(shorter[:1], 1e-6), shorter[:-1]])
    assert np.all(np.abs(found / norms - products / sizes) < before * (1 + 1 / relative))
    assert np.max(shorter) < 1e-3


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_number_of_loops_is_the_one_of_the_eigenvalues(sign):
    """From an angle of 45 degrees in the plane of two eigenvectors the tangent is exactly (l_2 / l_1)^t. A cosine of
    .9999 is reached after log(1 / eps) / log(l_1 / l_2) loops with eps its tangent, and not one loop before."""
    ratios = np.linspace(1.1, 3.0, 40)
    values = np.stack([sign * 5 * np.ones(40), 5 / ratios, 0.3 / ratios, 0.1 / ratios], 1)
    matrices, vectors = spectral(values, 2)
    found = MODEL.run(matrices, vectors[..., 0] + vectors[..., 1], LOOPS)
    cosines = np.abs(np.einsum("tri,ri->tr", found, vectors[..., 0])) / np.linalg.norm(found, axis=-1)
    needed = np.log(1 / np.tan(np.arccos(0.9999))) / np.log(ratios)
    assert np.min(np.abs(needed - np.round(needed))) > 1e-3
    for run, loops in enumerate(np.ceil(needed).astype(int)):
        assert cosines[loops - 1, run] > 0.9999
        assert cosines[loops - 2, run] < 0.9999


def test_the_principal_component_of_data_from_a_random_start():
    """tan angle_t <= (l_2 / l_1)^t tan angle_0; after 60 loops, with rounding of single precision on top."""
    rng = np.random.default_rng(3)
    data = rng.normal(size=(50, 20, N)) * np.array([2.0, 1.0, 0.7, 0.5])
    matrices, starts = np.einsum("rpi,rpj->rij", data, data), rng.normal(size=(50, N))
    values, vectors = np.linalg.eigh(matrices)
    angles = []
    for x in (starts, MODEL.run(matrices, starts, LOOPS)[-1]):
        along = np.abs(np.einsum("ri,ri->r", x, vectors[..., -1]))
        across = np.linalg.norm(np.einsum("ri,rij->rj", x, vectors[..., :-1]), axis=-1)
        angles.append(across / along)
    assert np.all(angles[1] <= (values[:, -2] / values[:, -1]) ** LOOPS * angles[0] + 1e-5)
    assert np.median(angles[0]) > 0.5


@pytest.mark.parametrize("signs", ["positive", "negative", "both"])
def test_it_stays_at_its_fixed_point_for_a_thousand_loops(signs):
    """Rounding leaves traces in numbers that should be 0; in no direction may a loop let them grow. Only along other
    eigenvectors whose value is near the largest may an angle be left, and it still shrinks."""
    size, runs = 8, 20
    values = np.array([1.0, 0.8, 0.6, 0.5, 0.3, 0.2, 0.1, 0.05])[None] * np.ones((runs, 1))
    values = values * {"positive": 1.0, "negative": -1.0, "both": np.array([1, -1, 1, -1, 1, -1, 1, -1])}[signs]
    vectors = np.linalg.qr(np.random.default_rng(5).normal(size=(runs, size, size)))[0]
    matrices = np.einsum("rij,rj,rkj->rik", vectors, values, vectors)
    starts = np.random.default_rng(6).normal(size=(runs, size))
    found = PowerIteration(dim=size).run(matrices, starts, 1000).astype(float)
    for loop in (200, 500, 1000):
        turned = np.einsum("ri,rij->rj", found[loop - 1], vectors)
        assert np.max(np.linalg.norm(turned[:, 1:], axis=1) / np.abs(turned[:, 0])) < 1e-5, loop
        np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1, atol=1e-4)


def test_refusals():
    starts = np.ones((2, N))
    with pytest.raises(ValueError, match="has no direction"):
        MODEL.tokens(np.zeros((2, N, N)), starts)
    with pytest.raises(ValueError, match=r"needs matrices \(R, 4, 4\)"):
        MODEL.tokens(np.ones((2, 3, 3)), np.ones((2, 3)))
