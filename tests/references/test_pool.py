"""Learners with a pool: the tables of Pathak et al., the limits of the smoothed pool, and what EM finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.base import BayesKind
from icl import references
from icl.programs import predict
from icl.references.em_mixture import SoftWeights, fit
from icl.references.pool import HardChoice, Pool, SoftChoice

LINEAR = type(fc.get("linear-regression"))


class Mixture(LINEAR):
    """Five unit vectors, one per prompt."""

    dim: int = 6
    points: int = 10
    noise_std: float = 0.3

    @property
    def bayes_kind(self):
        return BayesKind("quadrature", "that of linear regression, which does not know the pool: not to be used")

    def candidates(self):
        draws = jax.random.normal(jax.random.key(5), (5, self.dim))
        return 1.5 * draws / jnp.linalg.norm(draws, axis=1, keepdims=True)

    def sample_latent(self, key):
        return self.candidates()[jax.random.randint(key, (), 0, 5)]


TASK = Mixture()


def unit_pools(m, dim, pools, prompts, points, noise):
    """Prompts of many pools in float64: pools of unit vectors, xs, ys."""
    rng = np.random.default_rng(0)
    ws = rng.normal(size=(pools, m, dim))
    ws /= np.linalg.norm(ws, axis=2, keepdims=True)
    xs = rng.normal(size=(pools, prompts, points, dim))
    chosen = ws[np.arange(pools)[:, None], rng.integers(0, m, size=(pools, prompts))]
    ys = np.einsum("apkd,apd->apk", xs, chosen) + noise * rng.normal(size=(pools, prompts, points))
    return ws, xs, ys


@pytest.mark.parametrize(
    ("m", "dim", "noise", "table"),
    [(5, 20, 0.1, {1: (0.206, 0.321), 2: (0.037, 0.049)}), (20, 32, 0.5, {1: (1.089, 1.837), 4: (0.589, 0.751)})],
)
def test_errors_of_the_soft_and_the_hard_choice(m, dim, noise, table):
    """Pathak et al.'s setting: mean squared errors with noise, averaged over pools (posterior mean | argmin)."""
    ws, xs, ys = unit_pools(m, dim, 200, 100, 5, noise)

    @jax.jit
    def errors(w, x, y):
        pool = Pool(w, jnp.full(m, -jnp.log(float(m))), jnp.float32(noise))
        means = [jax.vmap(learner.means)(Prompt(x, y)) for learner in (SoftWeights(pool), HardChoice(pool))]
        return jnp.stack([jnp.mean((mean - y) ** 2, 0) for mean in means])

    parts = [[jnp.asarray(a, jnp.float32) for a in one] for one in zip(ws, xs, ys, strict=True)]
    found = np.array([errors(*one) for one in parts], float)
    # The table is a mean over as many pools of its own, hence the root of 2.
    spread = 4 * np.sqrt(2) * found.std(0) / np.sqrt(len(found))
    for k, wanted in table.items():
        assert np.all(np.abs(found.mean(0)[:, k] - wanted) < spread[:, k]), k
        assert np.all(spread[:, k] < 0.6 * np.array(wanted)), "too few pools to say anything"


def settled(name, **fields):
    return references.get(name, **fields).calibrate(TASK, jax.random.key(2))


BATCH = TASK.batch(jax.random.key(0), 12).hide()
XS, YS = (np.asarray(a, float) for a in (BATCH.xs, BATCH.ys))
WS = np.asarray(TASK.candidates(), float)


def test_the_hard_choice_shares_ties():
    found = np.asarray(jax.jit(jax.vmap(settled("pool-argmin").weights))(BATCH))
    np.testing.assert_allclose(found[:, 0], np.tile(WS.mean(0), (12, 1)), atol=1e-6)
    for n in range(12):
        for k in range(1, 10):
            best = np.square(YS[n, :k, None] - XS[n, :k] @ WS.T).sum(0).argmin()
            np.testing.assert_allclose(found[n, k], WS[best], atol=1e-6)


@pytest.mark.parametrize("width", [0.02, 0.4, 3.0])
def test_the_smoothed_pool_is_a_mixture_of_posteriors(width):
    found = np.asarray(jax.jit(jax.vmap(settled("smoothed-pool", width=width).weights))(BATCH))
    for n in range(4):
        for k in range(10):
            x, y = XS[n, :k], YS[n, :k]
            covariance = width**2 * x @ x.T + 0.3**2 * np.eye(k)
            gaps = y[None] - WS @ x.T
            solved = np.linalg.solve(covariance, gaps.T)
            logs = -0.5 * (gaps.T * solved).sum(0)
            shares = np.exp(logs - logs.max())
            wanted = shares / shares.sum() @ (WS + width**2 * (x.T @ solved).T)
            np.testing.assert_allclose(found[n, k], wanted, atol=2e-4)


def test_the_smoothed_pool_between_its_limits():
    soft = SoftWeights(settled("pool-argmin").pool)
    narrow = predict(settled("smoothed-pool", width=1e-4), BATCH).mean
    np.testing.assert_allclose(narrow, predict(soft, BATCH).mean, atol=2e-3)
    flat = Pool(jnp.zeros((5, 6)), jnp.full(5, -jnp.log(5.0)), jnp.float32(0.3))
    ridge = predict(references.get("ridge", penalty=0.09 / 0.25), BATCH).mean
    np.testing.assert_allclose(predict(SoftChoice(flat, jnp.float32(0.5)), BATCH).mean, ridge, atol=1e-4)


def test_without_noise_the_smoothed_pool_interpolates_and_stays_finite():
    noiseless = Mixture(noise_std=0.0)
    batch = noiseless.batch(jax.random.key(1), 8).hide()
    member = references.get("smoothed-pool", width=0.5).calibrate(noiseless, jax.random.key(2))
    w = np.asarray(jax.jit(jax.vmap(member.weights))(batch))
    gap = np.einsum("npd,nd->np", np.asarray(batch.xs), w[:, 5]) - np.asarray(batch.ys)
    assert np.abs(gap[:, :5]).max() < 1e-3


def test_the_best_width_where_tasks_are_the_pool_is_the_least():
    member = references.get("smoothed-pool", width="class").calibrate(TASK, jax.random.key(2), 128)
    assert member.found["width"] < 0.03


def test_em_finds_the_pool_the_noise_and_the_probabilities():
    member = references.Reference.registry.find("em-mixture").example(TASK)
    assert member.label == "em-mixture (5 components)"
    found = member.calibrate(TASK, jax.random.key(3)).pool
    gaps = np.linalg.norm(WS[:, None] - np.asarray(found.candidates)[None], axis=2)
    assert sorted(gaps.argmin(1)) == [0, 1, 2, 3, 4]
    # 512 prompts of 10 points: about 1,000 labels per component, standard error .3 sqrt(6 / 1000) of the vector.
    assert gaps.min(1).max() < 3 * 0.3 * (6 / 1000) ** 0.5
    assert float(found.noise_std) == pytest.approx(0.3, rel=0.05)
    np.testing.assert_allclose(np.exp(found.log_probs), 0.2, atol=4 * (0.2 * 0.8 / 512) ** 0.5)
    soft = SoftWeights(settled("pool-argmin").pool)
    batch = TASK.batch(jax.random.key(9), 256).hide()
    gap = np.asarray(predict(SoftWeights(found), batch).mean) - np.asarray(predict(soft, batch).mean)
    assert np.square(gap).mean() < 0.02


def test_em_never_loses_likelihood_and_survives_no_noise():
    rng = np.random.default_rng(1)
    xs = rng.normal(size=(60, 4, 2))
    ys = np.einsum("npd,nd->np", xs, np.array([[2.0, 0.0], [0.0, -1.0]])[rng.integers(0, 2, 60)])
    found = fit(xs, ys, 2, 4, 0)
    assert found.noise_std < 1e-3
    np.testing.assert_allclose(found.weights[np.argsort(-found.weights[:, 0])], [[2, 0], [0, -1]], atol=1e-3)
    assert fit(xs, ys, 2, 1, 3).log_likelihood <= fit(xs, ys, 2, 8, 3).log_likelihood


def test_they_say_why_not_elsewhere():
    reasons = references.explain(fc.get("linear-regression"))
    assert "finite pool" in reasons["pool-argmin"]
    assert "finite pool" in reasons["smoothed-pool"]
    with pytest.raises(fc.NotAvailable, match="calibrate"):
        references.get("pool-argmin")(jax.tree.map(lambda a: a[0], BATCH))
