"""Classifiers of vectors against float64 twins (scikit-learn, SciPy), and what they say where little was seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from function_classes import Prompt, Signs, Symbols, get
from icl import references
from icl.programs import predict
from icl.references.discriminant import Discriminant

POINTS, DIM = 14, 3


def inputs(labels):
    """Generic, separable, dependent columns, duplicates, one label alone, zero inputs; labels 0..labels-1."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(6, POINTS, DIM))
    ys = rng.integers(0, labels, size=(6, POINTS))
    ys[1] = np.argmax(xs[1, :, :labels], 1)
    xs[2, :, 2] = xs[2, :, 0]
    xs[3, 1::2] = xs[3, ::2]
    ys[4] = 1
    xs[5, :4] = 0.0
    return xs.astype(np.float32).astype(float), ys


def discriminate(x, y, query, labels, shrinkage, round_):
    """Straight from the formulas."""
    counts = np.bincount(y, minlength=labels)
    everything = x.mean(0) if len(y) else np.zeros(DIM)
    means = np.array([x[y == c].mean(0) if counts[c] else everything for c in range(labels)])
    within = (x - means[y]).T @ (x - means[y]) if len(y) else np.zeros((DIM, DIM))
    within = np.trace(within) / DIM * np.eye(DIM) if round_ else within
    inverse = np.linalg.inv((within + shrinkage * np.eye(DIM)) / (len(y) + shrinkage))
    gaps = query - means
    return log_softmax(np.log(counts + 1.0) - 0.5 * np.einsum("cd,de,ce->c", gaps, inverse, gaps))


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("round_", [False, True])
def test_discriminants_follow_their_formula(labels, round_):
    xs, ys = inputs(labels)
    space = Signs() if labels == 2 else Symbols(3)
    shown = jnp.asarray(2 * ys - 1.0, jnp.float32) if labels == 2 else jnp.asarray(ys)
    member = Discriminant(jnp.float32(1.0), jnp.float32(0.3), space, round_)
    found = np.asarray(predict(member, Prompt(jnp.asarray(xs, jnp.float32), shown)).log_probs)
    for n in range(6):
        wanted = [discriminate(xs[n, :k], ys[n, :k], xs[n, k], labels, 0.3, round_) for k in range(POINTS)]
        np.testing.assert_allclose(found[n], wanted, rtol=1e-3, atol=1e-3)


def test_little_shrinkage_is_the_discriminant_of_scikit_learn():
    rng = np.random.default_rng(6)
    xs, ys = rng.normal(size=(13, DIM)), np.arange(13) % 3
    twin = LinearDiscriminantAnalysis(solver="lsqr").fit(xs[:12], ys[:12])
    member = Discriminant(jnp.float32(1e-6), jnp.float32(1e-4), Symbols(3), False)
    found = member(Prompt(jnp.asarray(xs, jnp.float32), jnp.asarray(ys))).log_probs[12]
    np.testing.assert_allclose(np.exp(found), twin.predict_proba(xs[12:])[0], rtol=1e-3)


def test_what_is_left_between_them_is_shrinkage():
    """Twelve examples in eight dimensions, where the scatter is nearly singular: ten times less, ten times nearer."""
    rng, gaps = np.random.default_rng(0), {}
    xs, ys = rng.normal(size=(13, 8)).astype(np.float32), np.arange(13) % 3
    twin = LinearDiscriminantAnalysis(solver="lsqr").fit(xs[:12].astype(float), ys[:12])
    wanted = twin.predict_proba(xs[12:].astype(float))[0]
    for shrinkage in (1e-2, 1e-3, 1e-4):
        member = Discriminant(jnp.float32(1e-6), jnp.float32(shrinkage), Symbols(3), False)
        found = np.exp(member(Prompt(jnp.asarray(xs), jnp.asarray(ys))).log_probs[12])
        gaps[shrinkage] = np.max(np.abs(found - wanted)) / shrinkage
    assert gaps[1e-4] > 0
    assert max(gaps.values()) < 2 * min(gaps.values())


def test_the_likeliest_label_is_that_of_the_nearest_mean_where_counts_are_equal():
    rng = np.random.default_rng(4)
    xs = rng.normal(size=(40, 9, 2))
    ys = np.tile(np.arange(9) % 2, (40, 1))
    batch = Prompt(jnp.asarray(xs, jnp.float32), jnp.asarray(2.0 * ys - 1, jnp.float32))
    member = Discriminant(jnp.float32(1.0), jnp.float32(1.0), Signs(), True)
    said = np.asarray(predict(member, batch).log_probs)[:, 8].argmax(1)
    means = np.stack([xs[:, c:8:2].mean(1) for c in range(2)], 1)
    np.testing.assert_array_equal(said, np.linalg.norm(xs[:, None, 8] - means, axis=-1).argmin(1))


def test_nothing_seen_says_nothing():
    xs, ys = inputs(2)
    batch = Prompt(jnp.asarray(xs, jnp.float32), jnp.asarray(2 * ys - 1.0, jnp.float32))
    for predictor in (
        references.get("logistic-regression"),
        Discriminant(jnp.float32(1.0), jnp.float32(1.0), Signs(), False),
    ):
        np.testing.assert_allclose(predict(predictor, batch).log_probs[:, 0], np.log(0.5), rtol=1e-6)


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_logistic_regression_against_scikit_learn_and_scipy(penalty):
    xs, ys = inputs(2)
    batch = Prompt(jnp.asarray(xs, jnp.float32), jnp.asarray(2 * ys - 1.0, jnp.float32))
    reference = references.get("logistic-regression", penalty=penalty)
    found = np.asarray(jax.jit(jax.vmap(reference.weights))(batch), float)
    for n in range(6):
        for k in (1, 3, 8, 13):
            x, sign = xs[n, :k], 2 * ys[n, :k] - 1

            def objective(w, x=x, sign=sign):
                margins = sign * (x @ w)
                return np.logaddexp(0, -margins).sum() + penalty / 2 * w @ w, penalty * w - (expit(-margins) * sign) @ x

            best = minimize(objective, np.zeros(DIM), jac=True, method="BFGS", options={"gtol": 1e-9})
            np.testing.assert_allclose(found[n, k], best.x, rtol=2e-3, atol=2e-3)
            if len(set(sign)) == 2:
                twin = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, sign)
                np.testing.assert_allclose(found[n, k], twin.coef_[0], rtol=5e-3, atol=5e-3)


def shifted(kind):
    """Inputs (N, P, D) and signs: noisy labels, separable ones, inputs of scale 30, around 100, shown twice."""
    rng = np.random.default_rng(0)
    xs, w = rng.normal(size=(4, 24, 5)), rng.normal(size=(4, 1, 5))
    scores = np.sum(xs * w, -1)
    signs = np.where(rng.random(scores.shape) < expit(1.5 * scores), 1.0, -1.0)
    if "separable" in kind:
        signs = np.where(scores > 0, 1.0, -1.0)
    if "twice" in kind:
        xs[:, 1::2] = xs[:, ::2]
    xs = 30 * xs if "scale 30" in kind else xs + 100 if "around 100" in kind else xs
    return xs.astype(np.float32), signs


@pytest.mark.parametrize(
    "kind", ["noisy", "scale 30", "around 100", "separable", "separable, scale 30", "separable, around 100", "twice"]
)
def test_logistic_regression_converges_over_its_whole_family(kind):
    """Probabilities within 1e-3 of scikit-learn's at the least, a middle and the largest penalty of identification."""
    xs, signs = shifted(kind)
    batch = Prompt(jnp.asarray(xs), jnp.asarray(signs, jnp.float32))
    values = references.get("logistic-regression").family_values(get("linear-classification"))
    for penalty in (values[0], values[6], values[-1]):
        found = np.exp(predict(references.get("logistic-regression", penalty=penalty), batch).log_probs[..., 1])
        for n in range(4):
            for k in (3, 12, 19, 23):
                x, y = xs[n, :k].astype(float), signs[n, :k]
                if len(set(y)) == 2:
                    twin = LogisticRegression(
                        C=1 / penalty, fit_intercept=False, solver="newton-cholesky", max_iter=1000, tol=1e-9
                    ).fit(x, y)
                    wanted = expit(twin.coef_[0] @ xs[n, k].astype(float))
                    assert abs(found[n, k] - wanted) < 1e-3, (penalty, n, k)


def test_an_intercept_is_a_constant_input():
    xs, ys = inputs(2)
    shown = jnp.asarray(2 * ys[0] - 1.0, jnp.float32)
    wide = jnp.asarray(np.c_[xs[0], np.ones(POINTS)], jnp.float32)
    with_one = references.get("logistic-regression", intercept=True)(Prompt(jnp.asarray(xs[0], jnp.float32), shown))
    by_hand = references.get("logistic-regression")(Prompt(wide, shown))
    np.testing.assert_allclose(with_one.log_probs, by_hand.log_probs, rtol=1e-6)


def test_it_keeps_finite_where_classes_are_separable_and_the_penalty_small():
    rng = np.random.default_rng(1)
    xs = jnp.asarray(50 * rng.normal(size=(30, 2)), jnp.float32)
    prompt = Prompt(xs, jnp.where(xs[:, 0] > 0, 1.0, -1.0))
    log_probs = np.asarray(jax.jit(references.get("logistic-regression", penalty=1e-4).__call__)(prompt).log_probs)
    assert np.all(np.isfinite(log_probs))
    assert np.mean(log_probs[10:].argmax(1) == (np.asarray(xs)[10:, 0] > 0)) > 0.9
