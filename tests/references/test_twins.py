"""References against float64 twins on ordinary and degenerate prompts, their identities and their invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SkRidge
from sklearn.neighbors import KNeighborsRegressor

from function_classes import Prompt
from icl import references
from icl.programs import predict

DIM, POINTS = 3, 9


def prompts():
    """Generic, duplicated, rank-deficient, zero rows, constant labels; noisy and noiseless."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(6, POINTS, DIM))
    ys = xs @ np.array([1.0, -2.0, 0.5]) + rng.normal(size=(6, POINTS)) * 0.3
    ys[1] = xs[1] @ np.array([0.3, 1.0, -1.0])
    xs[2, 1::2] = xs[2, ::2][: POINTS // 2]
    xs[3, :, 2] = xs[3, :, 0] + xs[3, :, 1]
    xs[4, :3] = 0.0
    ys[5] = 2.0
    return xs.astype(np.float32).astype(float), ys.astype(np.float32).astype(float)


XS, YS = prompts()
BATCH = Prompt(jnp.asarray(XS, jnp.float32), jnp.asarray(YS, jnp.float32))


def linear(solve):
    def one(xs, ys):
        return [float(np.dot(solve(xs[:k], ys[:k]), xs[k])) if k else 0.0 for k in range(POINTS)]

    return one


def descend(steps, rate):
    def solve(x, y):
        w = np.zeros(DIM)
        for _ in range(steps):
            w = w - rate * x.T @ (x @ w - y) / len(y)
        return w

    return solve


def one_pass(rate):
    def solve(x, y):
        w = np.zeros(DIM)
        for row, label in zip(x, y, strict=True):
            w = w + rate * row * (label - w @ row)
        return w

    return solve


def newton(iterations, penalty):
    def solve(x, y):
        system = x.T @ x + penalty * np.eye(DIM)
        inverse = system / max(np.linalg.norm(system, 2), 1e-30) ** 2
        for _ in range(iterations):
            inverse = 2 * inverse - inverse @ system @ inverse
        return inverse @ x.T @ y

    return solve


def neighbors(number, weight):
    def one(xs, ys):
        found = [0.0]
        for k in range(1, POINTS):
            model = KNeighborsRegressor(min(number, k), weights=weight, algorithm="brute")
            found.append(float(model.fit(xs[:k], ys[:k]).predict(xs[k : k + 1])[0]))
        return found

    return one


def inverse_power(exponent):
    def weight(distances):
        with np.errstate(divide="ignore"):
            powers = distances**-exponent
        infinite = np.isinf(powers)
        return np.where(infinite.any(1, keepdims=True), infinite, powers)

    return weight


TWINS = [
    ("null", {}, lambda xs, ys: [0.0] * POINTS),
    ("averaging", {}, linear(lambda x, y: x.T @ y / len(y))),
    ("least-squares", {}, linear(lambda x, y: np.linalg.lstsq(x, y, rcond=1e-5)[0])),
    ("ridge", {"penalty": 0.0}, linear(lambda x, y: np.linalg.lstsq(x, y, rcond=1e-5)[0])),
    ("ridge", {"penalty": 0.37}, linear(lambda x, y: np.linalg.solve(x.T @ x + 0.37 * np.eye(DIM), x.T @ y))),
    ("ridge", {"penalty": 2.0}, linear(lambda x, y: SkRidge(2.0, fit_intercept=False).fit(x, y).coef_)),
    ("gradient-descent", {"steps": 1, "rate": 0.4}, linear(descend(1, 0.4))),
    ("gradient-descent", {"steps": 7, "rate": 0.11}, linear(descend(7, 0.11))),
    ("stochastic-gradient", {"rate": 0.09}, linear(one_pass(0.09))),
    ("newton", {"iterations": 0, "penalty": 0.3}, linear(newton(0, 0.3))),
    ("newton", {"iterations": 3}, linear(newton(3, 0.0))),
    ("newton", {"iterations": 7, "penalty": 0.2}, linear(newton(7, 0.2))),
    ("nearest-neighbors", {"neighbors": 1}, neighbors(1, "uniform")),
    ("nearest-neighbors", {"neighbors": 4}, neighbors(4, "uniform")),
    ("nearest-neighbors", {"weights": "distance", "exponent": 1.0}, neighbors(3, "distance")),
    ("nearest-neighbors", {"weights": "distance", "exponent": 2.0}, neighbors(3, inverse_power(2.0))),
]


@pytest.mark.parametrize(("name", "fields", "twin"), TWINS)
def test_twin(name, fields, twin):
    rows = [i for i in range(6) if not (name == "nearest-neighbors" and i in (2, 4))]
    means = np.asarray(predict(references.get(name, **fields), BATCH).mean)[rows]
    wanted = np.array([twin(XS[i], YS[i]) for i in rows])
    np.testing.assert_allclose(means, wanted, rtol=3e-3, atol=3e-3 * np.abs(wanted).max() / 10)


@pytest.mark.parametrize("fields", [fields for name, fields, _ in TWINS if name == "nearest-neighbors"])
def test_neighbors_among_duplicates_and_zero_rows(fields):
    """A stable order of the distances: examples at the same place are as near, so the first shown count."""
    number, exponent = fields.get("neighbors", 3), fields.get("exponent")
    means = np.asarray(predict(references.get("nearest-neighbors", **fields), BATCH).mean)
    for i in (2, 4):
        for k in range(1, POINTS):
            distances = np.linalg.norm(XS[i, :k] - XS[i, k], axis=1)
            nearest = np.argsort(distances, kind="stable")[:number]
            weights = np.ones(len(nearest))
            if exponent is not None:
                least = distances[nearest].min()
                weights = (distances[nearest] == 0.0) * 1.0 if least == 0 else (least / distances[nearest]) ** exponent
            assert means[i, k] == pytest.approx(weights @ YS[i][nearest] / weights.sum(), rel=1e-4, abs=1e-5), (i, k)


def test_ties_go_to_the_example_shown_first():
    xs = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    prompt = Prompt(xs, jnp.array([1.0, 10.0, 100.0, 0.0]))
    for number, wanted in ((1, 1.0), (2, 5.5), (3, 37.0)):
        assert float(references.get("nearest-neighbors", neighbors=number)(prompt).mean[3]) == wanted


def test_examples_at_distance_zero_count_alone():
    xs = jnp.array([[1.0], [1.0], [2.0], [1.0]])
    prompt = Prompt(xs, jnp.array([1.0, 4.0, 100.0, 0.0]))
    for exponent in (1.0, 2.0):
        knn = references.get("nearest-neighbors", weights="distance", exponent=exponent)
        assert float(knn(prompt).mean[3]) == 2.5


def test_averaging_is_one_step_with_rate_one():
    step = predict(references.get("gradient-descent", steps=1, rate=1.0), BATCH).mean
    np.testing.assert_allclose(step, predict(references.get("averaging"), BATCH).mean, rtol=1e-6, atol=1e-6)


def test_many_steps_reach_least_squares_and_all_start_at_zero():
    long = predict(references.get("gradient-descent", steps=4000, rate=0.2), BATCH).mean[0, -3:]
    np.testing.assert_allclose(long, predict(references.get("least-squares"), BATCH).mean[0, -3:], rtol=1e-4)
    for name, fields, _ in TWINS:
        assert np.all(np.asarray(predict(references.get(name, **fields), BATCH).mean)[:, 0] == 0)


def test_ridge_in_float32_keeps_to_float64_at_a_small_penalty():
    rng = np.random.default_rng(1)
    xs = rng.normal(size=(16, 41, 20))
    ys = np.einsum("npd,nd->np", xs, rng.normal(size=(16, 20))) + 0.5 * rng.normal(size=(16, 41))
    batch = Prompt(jnp.asarray(xs, jnp.float32), jnp.asarray(ys, jnp.float32))
    weights = np.asarray(jax.jit(jax.vmap(references.get("ridge", penalty=1e-3).weights))(batch))
    for k in (1, 10, 19, 20, 21, 40):
        x, y = xs[:, :k], ys[:, :k]
        gram = np.swapaxes(x, 1, 2) @ x + 1e-3 * np.eye(20)
        exact = np.linalg.solve(gram, np.einsum("nkd,nk->nd", x, y)[..., None])[..., 0]
        error = np.abs(weights[:, k] - exact).max(1) / np.abs(exact).max(1)
        assert np.median(error) < 1e-3, k


ORDER_FREE = ("averaging", "least-squares", "ridge", "gradient-descent", "newton", "nearest-neighbors")
FIELDS = {"gradient-descent": {"steps": 3, "rate": 0.2}, "stochastic-gradient": {"rate": 0.1}}
RUN = {name: jax.jit(references.get(name, **FIELDS.get(name, {}))) for name in (*ORDER_FREE, "stochastic-gradient")}


def sampled(seed):
    rng = np.random.default_rng(seed)
    xs, ys = rng.normal(size=(6, DIM)), rng.normal(size=6)
    return rng, xs, ys


def last(name, xs, ys):
    return float(RUN[name](Prompt(jnp.asarray(xs, jnp.float32), jnp.asarray(ys, jnp.float32))).mean[-1])


def close(a, b, scale):
    assert abs(a - b) < 2e-3 * (scale + abs(a) + abs(b))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_order_of_examples_does_not_matter(seed):
    rng, xs, ys = sampled(seed)
    order = np.r_[rng.permutation(5), 5]
    for name in ORDER_FREE:
        close(last(name, xs, ys), last(name, xs[order], ys[order]), np.abs(ys).max())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100.0))
def test_rotations_and_the_unit_of_y_pass_through(seed, unit):
    rng, xs, ys = sampled(seed)
    rotation = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    for name in RUN:
        at = last(name, xs, ys)
        close(at, last(name, xs @ rotation, ys), np.abs(ys).max())
        close(unit * at, last(name, xs, unit * ys), unit * np.abs(ys).max())
