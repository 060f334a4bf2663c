"""Evaluation against its own definition in float64 NumPy, and what must not depend on how it is carried out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
import icl.errors
from function_classes import FunctionClass, NotAvailable, Prediction, Prompt, Signs, Symbols, get
from function_classes.base import BayesKind
from function_classes.spaces import Real
from icl import references
from icl.errors import errors
from icl.evaluation import Oracle, distance, evaluate

TASK = get("linear-regression", dim=3, points=5, noise_std=0.7)
KEY = jax.random.key(4)
N = 96


class Categories(FunctionClass):
    """Bits x, targets y in {0, 1, 2}: two steps per example, the second always repeats the first. Half are scored."""

    points: int = 4

    @property
    def x_space(self):
        return Signs((2,))

    @property
    def y_space(self):
        return Symbols(3)

    @property
    def steps(self):
        return 2

    @property
    def bayes_kind(self):
        return BayesKind("exact", "the law is known")

    def sample_latent(self, key):
        return jnp.zeros(())

    def sample_prompt(self, latent, key):
        first, second = jax.random.split(key)
        ys = jax.random.categorical(first, jnp.log(jnp.array([0.5, 0.3, 0.2])), shape=(self.points,))
        xs = jax.random.rademacher(second, (self.points, 2), jnp.float32)
        return Prompt(xs, jnp.stack([ys, ys], 1), latent, None, (jnp.arange(self.points) % 2).astype(jnp.float32))

    def bayes(self, prompt):
        start = jnp.broadcast_to(jnp.log(jnp.array([0.5, 0.3, 0.2])), (self.points, 3))
        return Prediction(log_probs=jnp.stack([start, jnp.log(jax.nn.one_hot(prompt.ys[:, 0], 3))], 1))


class Unknown(FunctionClass):
    """Vector outputs, targets other than what is shown, no Bayes predictor."""

    points: int = 3

    @property
    def x_space(self):
        return Real((2,))

    @property
    def y_space(self):
        return Real((2,))

    def sample_latent(self, key):
        return jax.random.normal(key, (2,))

    def sample_prompt(self, latent, key):
        xs = jax.random.normal(key, (self.points, 2))
        return Prompt(xs, xs + latent[None, :], latent, 2 * xs)


@pytest.fixture(scope="module")
def table():
    predictors = {"ridge": references.get("ridge", penalty=0.1), "bayes": TASK.bayes, "oracle": Oracle(TASK)}
    return evaluate(predictors, TASK, key=KEY, prompts=N, normalization="raw")


@pytest.fixture(scope="module")
def twin():
    batch = TASK.batch(KEY, N)
    xs, ys = (np.asarray(a, np.float64) for a in (batch.xs, batch.ys))

    def ridge(penalty):
        means = np.zeros((N, 5))
        for n in range(N):
            for k in range(1, 5):
                x, y = xs[n, :k], ys[n, :k]
                means[n, k] = xs[n, k] @ np.linalg.solve(x.T @ x + penalty * np.eye(3), x.T @ y)
        return means

    return {"xs": xs, "ys": ys, "w": np.asarray(batch.latent), "ridge": ridge(0.1), "bayes": ridge(0.49)}


def values(table, predictor, metric):
    chosen = table.where(predictor=predictor, metric=metric, seed=-1)
    assert chosen["position"].tolist() == [0, 1, 2, 3, 4, -1]
    return chosen.value


def test_squared_metrics_by_definition(table, twin):
    error = (twin["ridge"] - twin["ys"]) ** 2
    null = (twin["ys"] ** 2).mean(0)
    wanted = {
        "squared_error": error.mean(0),
        "clipped_squared_error": np.minimum(error, 10 * null).mean(0),
        "median_squared_error": np.median(error, 0),
        "distance": ((twin["ridge"] - twin["bayes"]) ** 2).mean(0),
        "excess": (error - (twin["bayes"] - twin["ys"]) ** 2).mean(0),
    }
    for metric, curve in wanted.items():
        np.testing.assert_allclose(values(table, "ridge", metric), [*curve, curve.mean()], rtol=2e-3, atol=2e-4)


def test_clipping_cuts_and_the_median_does_not_follow_outliers():
    def wild(prompt):
        first = jnp.abs(prompt.xs[0, 0]) > 1.5
        return Prediction(mean=jnp.full(prompt.ys.shape, jnp.where(first, 1e6, 0.0)))

    result = evaluate({"wild": wild, "null": references.get("null")}, TASK, key=KEY, prompts=N, normalization="raw")
    at = {m: result.where(predictor="wild", metric=m, position=2).value[0] for m in set(result["metric"])}
    null = result.where(predictor="null", metric="squared_error", position=2).value[0]
    assert at["squared_error"] > 1e9
    assert null / 2 < at["clipped_squared_error"] <= 10 * null
    assert at["median_squared_error"] < 3 * null


def test_bayes_has_no_excess_and_its_log_predictive_is_the_nll(table, twin):
    assert np.all(values(table, "bayes", "distance") == 0)
    assert np.all(values(table, "bayes", "excess") == 0)
    assert "nll" not in set(table.where(predictor="ridge")["metric"].tolist())
    batch = TASK.batch(KEY, N)
    nll = -np.asarray(jax.vmap(TASK.log_predictive)(batch)).mean(0)
    np.testing.assert_allclose(values(table, "bayes", "nll"), [*nll, nll.mean()], rtol=1e-4)


def test_only_the_oracle_sees_the_task(table, twin):
    noise = ((np.einsum("npd,nd->np", twin["xs"], twin["w"]) - twin["ys"]) ** 2).mean(0)
    np.testing.assert_allclose(values(table, "oracle", "squared_error")[:5], noise, rtol=1e-3)
    bound = evaluate({"o": TASK.oracle}, TASK, key=KEY, prompts=N, normalization="raw")
    np.testing.assert_allclose(values(bound, "o", "squared_error")[:5], noise, rtol=1e-3)
    seen = []

    def curious(prompt):
        seen.append(prompt.latent)
        return Prediction(mean=jnp.zeros(prompt.ys.shape))

    evaluate({"curious": curious}, TASK, key=KEY, prompts=8)
    assert set(seen) == {None}


def test_normalizations(table):
    ridge = {"r": references.get("ridge", penalty=0.1)}
    raw = values(table, "ridge", "squared_error")
    by_dim = evaluate(ridge, TASK, key=KEY, prompts=N)
    assert set(by_dim["normalization"]) == {"per_dim"}
    np.testing.assert_allclose(values(by_dim, "r", "squared_error"), raw / 3, rtol=1e-6)
    by_null = evaluate(ridge | {"null": references.get("null")}, TASK, key=KEY, prompts=N, normalization="per_null")
    assert values(by_null, "null", "squared_error")[-1] == pytest.approx(1)
    with pytest.raises(ValueError, match="nats"):
        evaluate(ridge, TASK, key=KEY, prompts=8, normalization="nats")


def test_losses_of_tokens_are_per_character():
    """Blocks have two characters each; those of a fitted dictionary as many as tokens have on average."""

    def at(table, metric):
        return table.where(predictor="null", metric=metric, seed=-1).value

    null = {"null": references.get("null")}
    blocks = fc.get("tokenized", points=4, tokenizer={"name": "blocks", "length": 2})
    found = evaluate(null, blocks, key=KEY, prompts=8)
    assert set(found.where(metric="nll")["normalization"]) == {"per_character"}
    # Of four blocks of two bits: log 4 / 2 a character.
    np.testing.assert_allclose(at(found, "nll"), np.log(2), rtol=1e-5)
    np.testing.assert_allclose(at(found, "accuracy"), 1 / 4, rtol=1e-5)
    phrases = fc.get("tokenized", points=4, tokenizer={"name": "lzw", "size": 6}, fit_points=32)
    lengths = np.asarray(phrases.characters(phrases.batch(jax.random.key(9), 4000).ys)).mean(0)
    per_token = evaluate(null, phrases, key=KEY, prompts=8, normalization="nats")
    assert set(per_token.where(metric="nll")["normalization"]) == {"nats"}
    expected = at(per_token, "nll") / np.append(lengths, lengths.mean())
    np.testing.assert_allclose(at(evaluate(null, phrases, key=KEY, prompts=8), "nll"), expected, rtol=0.03)
    with pytest.raises(ValueError, match="per_character needs tokens"):
        evaluate(null, TASK, key=KEY, prompts=8, normalization="per_character")


def test_intervals_are_paired_and_of_the_right_size(table):
    row = table.where(predictor="ridge", metric="squared_error", position=2, seed=-1).rows[0]
    raw = errors({"r": references.get("ridge", penalty=0.1)}, TASK, key=KEY, prompts=N).of("squared_error", "r")
    standard = raw[0, :, 2, 0].std() / N**0.5
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * standard, rel=0.15)
    assert row["low"] < row["value"] < row["high"]
    assert row["n"] == N
    excess = table.where(predictor="ridge", metric="excess", position=2, seed=-1).rows[0]
    assert excess["high"] - excess["low"] < 0.7 * (row["high"] - row["low"])


def test_chunks_change_nothing(monkeypatch):
    ridge = {"r": references.get("ridge", penalty=0.3)}
    whole = errors(ridge, TASK, key=KEY, prompts=N).of("squared_error", "r")
    monkeypatch.setattr(icl.errors, "CHUNK_BYTES", 1)
    assert icl.errors.chunk_size(TASK) == 8
    np.testing.assert_allclose(errors(ridge, TASK, key=KEY, prompts=N).of("squared_error", "r"), whole, rtol=1e-5)


def test_another_number_does_not_trace_again():
    traces = []

    class Counted(eqx.Module):
        scale: float

        def __call__(self, prompt):
            traces.append(1)
            return Prediction(mean=self.scale * prompt.xs[:, 0])

    for scale in (0.5, 0.25):
        evaluate({"c": Counted(scale)}, TASK, key=KEY, prompts=16)
    evaluate({"c": Counted(2.0)}, get("linear-regression", dim=3, points=5, noise_std=0.1), key=KEY, prompts=16)
    assert len(traces) == 3 + 1  # at every door for the shapes it gives, and once to compile


def test_seeds_are_one_predictor_with_wider_intervals():
    class Scaled(eqx.Module):
        scale: jax.Array

        def __call__(self, prompt):
            return Prediction(mean=self.scale * prompt.xs[:, 0])

    group = [Scaled(jnp.float32(s)) for s in (0.0, 1.0, 3.0)]
    result = evaluate({"group": group, "one": group[1]}, TASK, key=KEY, prompts=N).where(metric="squared_error")
    per_seed = [result.where(predictor="group", seed=s, position=1).value[0] for s in range(3)]
    assert per_seed[1] == pytest.approx(result.where(predictor="one", position=1).value[0], rel=1e-5)
    both = result.where(predictor="group", seed=-1, position=1).rows[0]
    assert both["value"] == pytest.approx(np.mean(per_seed), rel=1e-5)
    one = result.where(predictor="group", seed=1, position=1).rows[0]
    assert both["high"] - both["low"] > 2 * (one["high"] - one["low"])


def test_symbols_in_two_steps_with_unscored_positions():
    task = Categories()
    predictors = {"bayes": task.bayes, "null": references.get("null")}
    table = evaluate(predictors, task, key=KEY, prompts=200)
    assert set(table["position"].tolist()) == {1, 3, -1}
    law = np.array([0.5, 0.3, 0.2])
    entropy = -(law * np.log(law)).sum()

    def at(predictor, metric):
        return table.where(predictor=predictor, metric=metric, position=-1).rows[0]

    assert at("bayes", "nll[1]")["value"] == pytest.approx(0, abs=1e-6)
    assert at("bayes", "nll")["low"] < entropy < at("bayes", "nll")["high"]
    assert at("null", "nll")["value"] == pytest.approx(2 * np.log(3), rel=1e-5)
    assert at("null", "accuracy")["value"] == pytest.approx(1 / 3, rel=1e-5)
    assert at("null", "distance[0]")["value"] == pytest.approx(np.log(3) - entropy, rel=1e-5)
    assert at("null", "distance[1]")["value"] == pytest.approx(np.log(3), rel=1e-5)
    assert at("bayes", "accuracy[1]")["value"] == 1


def test_impossible_outcomes_cost_infinity_only_where_they_happen():
    def sure(prompt):
        log_probs = jnp.where(jnp.arange(3) == 0, 0.0, -jnp.inf)
        return Prediction(log_probs=jnp.broadcast_to(log_probs, (*prompt.ys.shape, 3)))

    table = evaluate({"sure": sure, "bayes": Categories().bayes}, Categories(), key=KEY, prompts=50)
    assert np.isposinf(table.where(predictor="sure", metric="nll", position=-1).value[0])
    assert np.all(np.isfinite(table.where(predictor="bayes").value))


def test_targets_and_vector_outputs_without_bayes():
    task = Unknown()
    right = evaluate({"right": lambda p: Prediction(mean=2 * p.xs)}, task, key=KEY, prompts=20)
    assert np.all(right.where(metric="squared_error").value == 0)
    assert "distance" not in set(right["metric"].tolist())
    assert "no Bayes predictor" in str(right)
    null = evaluate({"null": references.get("null")}, task, key=KEY, prompts=20, normalization="raw")
    batch = task.batch(KEY, 20)
    wanted = np.mean(np.sum(np.asarray(2 * batch.xs) ** 2, -1))
    assert null.where(metric="squared_error", position=-1).value[0] == pytest.approx(wanted, rel=1e-5)


def test_a_reference_that_does_not_apply_and_a_wrong_shape_are_refused():
    with pytest.raises(NotAvailable, match="ridge predicts one target"):
        evaluate({"ridge": references.get("ridge")}, Categories(), key=KEY, prompts=8)
    with pytest.raises((NotAvailable, TypeError)):
        evaluate({"task": TASK}, TASK, key=KEY, prompts=8)
    with pytest.raises(ValueError, match="shape"):
        evaluate({"wide": lambda p: Prediction(mean=p.xs)}, TASK, key=KEY, prompts=8)


def test_what_calibration_found_is_stored_and_uses_other_prompts():
    table = evaluate({"best": references.get("ridge", penalty="class")}, TASK, key=KEY, prompts=N)
    assert table.found["best"]["penalty"] == pytest.approx(0.49, rel=0.05)


def test_distance_between_two_predictors(twin):
    found = distance(references.get("ridge", penalty=0.1), TASK.bayes, TASK, key=KEY, prompts=N)
    assert found.value == pytest.approx(((twin["ridge"] - twin["bayes"]) ** 2).mean(), rel=1e-3)
    assert found.low < found.value < found.high
