"""Kernel smoothing and kernel ridge against float64 twins, their limits, and the Bayes predictor they can be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

import function_classes as fc
from function_classes import Prompt
from icl import references
from icl.identification import best_member
from icl.programs import predict

POINTS, DIM = 9, 3


def prompts():
    """Generic, duplicated, and with an input far from all others."""
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(3, POINTS, DIM)), rng.normal(size=(3, POINTS))
    xs[1, 1::2] = xs[1, :-1:2]
    xs[2, 5] = 300.0
    return xs.astype(np.float32).astype(float), ys.astype(np.float32).astype(float)


XS, YS = prompts()
BATCH = Prompt(jnp.asarray(XS, jnp.float32), jnp.asarray(YS, jnp.float32))


def smooth(bandwidth):
    def one(x, y, query):
        logs = -((x - query) ** 2).sum(1) / (2 * bandwidth**2)
        shares = np.exp(logs - logs.max())
        return shares @ y / shares.sum()

    return one


def ridge(lengthscale, penalty):
    def one(x, y, query):
        model = KernelRidge(alpha=penalty, kernel="rbf", gamma=1 / (2 * lengthscale**2))
        return model.fit(x, y).predict(query[None])[0]

    return one


TWINS = [
    ("kernel-smoother", {"bandwidth": 0.7}, smooth(0.7)),
    ("kernel-smoother", {"bandwidth": 0.05}, smooth(0.05)),
    ("kernel-ridge", {"lengthscale": 1.3, "penalty": 0.2}, ridge(1.3, 0.2)),
    ("kernel-ridge", {"lengthscale": 0.4, "penalty": 0.01}, ridge(0.4, 0.01)),
]


@pytest.mark.parametrize(("name", "fields", "twin"), TWINS)
def test_twin(name, fields, twin):
    means = np.asarray(predict(references.get(name, **fields), BATCH).mean)
    assert np.all(means[:, 0] == 0)
    for n in range(3):
        wanted = [twin(XS[n, :k], YS[n, :k], XS[n, k]) for k in range(1, POINTS)]
        np.testing.assert_allclose(means[n, 1:], wanted, rtol=2e-3, atol=2e-4)


def test_the_bandwidth_runs_from_the_nearest_neighbor_to_the_mean():
    narrow = predict(references.get("kernel-smoother", bandwidth=0.01), BATCH).mean[0]
    np.testing.assert_allclose(narrow, predict(references.get("nearest-neighbors", neighbors=1), BATCH).mean[0])
    wide = predict(references.get("kernel-smoother", bandwidth=1e4), BATCH).mean[0]
    np.testing.assert_allclose(wide[1:], np.cumsum(YS[0])[:-1] / np.arange(1, POINTS), rtol=1e-4)


def test_inputs_of_one_length_make_it_softmax_attention():
    xs = XS[0] / np.linalg.norm(XS[0], axis=1, keepdims=True)
    prompt = Prompt(jnp.asarray(xs, jnp.float32), BATCH.ys[0])
    scores = xs[:-1] @ xs[-1] / 0.5**2
    shares = np.exp(scores - scores.max())
    found = references.get("kernel-smoother", bandwidth=0.5)(prompt).mean[-1]
    assert float(found) == pytest.approx(shares @ YS[0, :-1] / shares.sum(), rel=1e-4)


GP = fc.get("gaussian-process", points=10, noise_std=0.2, scale=1.5, lengthscale=0.8)


def test_kernel_ridge_is_bayes_at_the_numbers_of_the_process():
    family = references.Reference.registry.find("kernel-ridge")
    batch = GP.batch(jax.random.key(0), 8).hide()
    bayes = predict(GP.bayes, batch).mean
    np.testing.assert_allclose(predict(family.example(GP), batch).mean, bayes, rtol=1e-3, atol=1e-4)


def test_calibration_finds_the_lengthscale_of_the_process():
    member = references.get("kernel-ridge", lengthscale="class", penalty=(0.2 / 1.5) ** 2).calibrate(
        GP, jax.random.key(1)
    )
    assert member.found["lengthscale"] == pytest.approx(0.8, rel=0.05)


def test_the_best_bandwidth_is_better_than_its_neighbors():
    best = references.get("kernel-smoother", bandwidth="class").calibrate(GP, jax.random.key(1), 256)
    batch = GP.batch(jax.random.key(2), 512).hide()
    bayes = np.asarray(predict(GP.bayes, batch).mean)

    def loss(bandwidth):
        means = predict(references.get("kernel-smoother", bandwidth=bandwidth), batch).mean
        return np.mean((np.asarray(means) - bayes) ** 2)

    found = best.found["bandwidth"]
    assert loss(found) < min(loss(found / 1.6), loss(found * 1.6))


def test_identification_recovers_the_bandwidth_of_a_smoother():
    subject = references.get("kernel-smoother", bandwidth=0.5)
    fitted = best_member(subject, GP, references.get("kernel-smoother"), key=jax.random.key(3), prompts=64)
    assert fitted.fit.parameter.value == pytest.approx(0.5, rel=0.02)
    assert fitted.fit.label.startswith("kernel smoother with bandwidth 0.5")
