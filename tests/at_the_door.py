"""Every public door: what was given, what is expected, how to get there, in one sentence and not about our insides."""

import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import icl
import probes
from function_classes import NotAvailable, Prediction, Prompt, get
from icl.config import Config
from icl.training.session import expand

KEY = jax.random.key(0)
TASK = get("linear-regression", dim=3, points=5)
STREAM = get("markov", points=6)
PROMPT = TASK.sample(KEY)
BATCH = TASK.batch(KEY, 4)
RIDGE = icl.references.get("ridge", penalty=0.25)
TINY = {"depth": 1, "width": 8, "heads": 2, "points": 4, "dim": 2, "steps": 2, "batch": 4, "validation_prompts": 4}
CONFIG = Config.create("linear-regression", **TINY)


class Net(eqx.Module):
    weight: jax.Array

    def __call__(self, prompt):
        return Prediction(mean=prompt.xs @ self.weight)


class Empty(eqx.Module):
    def __call__(self, prompt):
        return Prediction(mean=prompt.xs[:, 0])


def bare(prompt):
    return prompt.xs[:, 0]


def short(prompt):
    return Prediction(mean=prompt.xs[:2, 0])


def broken(prompt):
    return prompt.nothing


def half(dtype):
    return Prompt(PROMPT.xs.astype(dtype), PROMPT.ys.astype(dtype))


def evaluate(predictor, task=TASK, **more):
    return icl.evaluate({"mine": predictor}, task, **{"key": KEY, "prompts": 16, **more})


def identify(predictor, task=TASK, **more):
    return icl.identify(predictor, task, **{"key": KEY, "prompts": 16, **more})


def distance(predictor, task=TASK, **more):
    return icl.distance(predictor, task.bayes, task, **{"key": KEY, "prompts": 16, **more})


def probe(predictor, task=TASK, **more):
    return probes.get("implicit-weights")(predictor, task=task, **{"key": KEY, "prompts": 16, **more})


DOORS = [evaluate, identify, distance, probe]
PREDICTORS = [
    (bare, "returned an array of shape (5,)", "return Prediction(mean=...)"),
    (short, "mean of shape (2,)", "(5,)"),
    (broken, "AttributeError", "'nothing'"),
    (TASK, "a function class", "linear-regression.bayes"),
    ("ridge", "the text 'ridge'", "icl.references.get('ridge')"),
    (3, "expected a predictor", "got int"),
    (Net(jnp.full(3, jnp.nan)), "weight is NaN", "train it anew"),
    (Net, "the class Net", "make one"),
    (CONFIG, "a configuration", "icl.train"),
    (get("linear-regression", dim=2, points=5).bayes, "reads x 2 numbers", "3 numbers"),
    (STREAM.bayes, "reads x nothing (a stream)", "3 numbers"),
    (lambda prompt, key: prompt, "TypeError", "one prompt"),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("predictor", "given", "way"), PREDICTORS)
def test_what_is_no_predictor_here(door, predictor, given, way):
    with pytest.raises(NotAvailable) as error:
        door(predictor)
    said = str(error.value)
    assert given in said, said
    assert way in said or "predictor" in said, said
    assert "\n" not in said


NUMBERS = [
    ({"prompts": 0}, "prompts: expected a whole number of at least"),
    ({"prompts": -3}, "got -3"),
    ({"prompts": 2.5}, "got 2.5"),
    ({"prompts": True}, "got True"),
    ({"prompts": "64"}, "got '64'"),
    ({"key": 2}, "key: expected a random key, got 2; write jax.random.key(2)"),
    ({"key": jax.random.split(KEY, 3)}, "3 keys"),
    ({"key": None}, "got None"),
    ({"key": jnp.float32(3.0)}, "key: expected a random key"),
    ({"task": "linear-regression"}, "function_classes.get('linear-regression')"),
    ({"task": type(TASK)}, "task: expected a function class such as"),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("changes", "words"), NUMBERS)
def test_what_is_no_number_key_or_class(door, changes, words):
    if door is distance and "task" in changes:
        door = lambda a, task: icl.distance(a, RIDGE, task, key=KEY)  # noqa: E731
    with pytest.raises(NotAvailable) as error:
        door(RIDGE, **changes)
    assert words in str(error.value), str(error.value)


@pytest.mark.parametrize(
    ("predictors", "words"),
    [
        (RIDGE, "{'name': predictor}"),
        ({}, "at least one predictor"),
        ([RIDGE], "{'name': predictor}"),
        ({3: RIDGE}, "names are texts, got 3"),
        ({"a": []}, "a: expected a predictor or several seeds of one, got none"),
    ],
)
def test_evaluate_takes_predictors_by_name(predictors, words):
    with pytest.raises(NotAvailable) as error:
        icl.evaluate(predictors, TASK, key=KEY, prompts=16)
    assert words in str(error.value), str(error.value)


PROMPTS = [
    (BATCH, "a batch of 4 prompts", "jax.vmap"),
    (half(jnp.float16), "float16", "astype"),
    (half(jnp.complex64), "complex64", "float32"),
    (Prompt(PROMPT.xs.tolist(), PROMPT.ys.tolist()), "list", "jax.numpy.asarray"),
    (PROMPT.xs, "expected a Prompt", "(5, 3)"),
    ((PROMPT.xs, PROMPT.ys), "expected a Prompt, got tuple", "Prompt(xs, ys)"),
    (STREAM.sample(KEY), "", ""),
    (Prompt(PROMPT.xs[:3], PROMPT.ys), "3 inputs and 5 outputs", ""),
]


@pytest.mark.parametrize(("prompt", "given", "way"), PROMPTS)
@pytest.mark.parametrize("predictor", [TASK.bayes, RIDGE, TASK.log_predictive, icl.references.get("nearest-neighbors")])
def test_what_is_no_prompt_here(predictor, prompt, given, way):
    with pytest.raises(NotAvailable) as error:
        predictor(prompt)
    assert given in str(error.value), str(error.value)
    assert way in str(error.value), str(error.value)


def test_the_prompt_of_another_class():
    other = get("linear-regression", dim=2, points=5).sample(KEY)
    for predictor, words in (
        (TASK.bayes, "prompt: linear-regression reads x of 3 numbers, and this prompt has xs of shape (5, 2)"),
        (STREAM.bayes, "markov reads a stream without inputs"),
        (TASK.oracle, "3 numbers"),
    ):
        with pytest.raises(NotAvailable) as error:
            predictor(other)
        assert words in str(error.value), str(error.value)
    with pytest.raises(NotAvailable, match="knows the task"):
        TASK.oracle(PROMPT.hide())
    longer = get("linear-regression", dim=3, points=9).sample(KEY)
    assert TASK.bayes(longer).mean.shape == (9,)
    assert jax.vmap(TASK.bayes)(BATCH).mean.shape == (4, 5)
    shown = Prompt(np.asarray(PROMPT.xs, np.float64), np.asarray(PROMPT.ys, np.float64))
    np.testing.assert_array_equal(TASK.bayes(shown).mean, TASK.bayes(PROMPT).mean)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TASK.sample(0), "key: expected a random key, got 0; write jax.random.key(0)"),
        (lambda: TASK.batch(0, 4), "jax.random.key(0)"),
        (lambda: TASK.batch(KEY, 0), "n: expected a whole number of at least 1, got 0"),
        (lambda: TASK.batch(KEY, 2.5), "got 2.5"),
        (lambda: TASK.batch(4, KEY), "expected a random key, got 4"),
        (lambda: icl.predict_at(bare, PROMPT, 2, PROMPT.xs), "returned an array"),
        (lambda: icl.predict_at(RIDGE, PROMPT, 7, PROMPT.xs), "k: expected a position from 0 to 4, got 7"),
        (lambda: icl.predict_at(RIDGE, PROMPT, -1, PROMPT.xs), "got -1"),
        (lambda: icl.predict_at(RIDGE, PROMPT, 2, PROMPT.xs[0]), "xs: expected inputs of shape (N, 3), got (3,)"),
        (lambda: icl.predict_at(RIDGE, BATCH, 2, PROMPT.xs), "a batch of 4 prompts"),
        (lambda: icl.predict_at("ridge", PROMPT, 2, PROMPT.xs), "the text 'ridge'"),
        (lambda: icl.load(3), "load: expected a text or a path"),
        (lambda: icl.train("linear-regression"), "Config.create('linear-regression')"),
        (lambda: icl.train(TASK), "icl.train(task=...)"),
        (lambda: icl.train(task="linear-regression"), "function_classes.get('linear-regression')"),
        (lambda: icl.train(task=TASK, model=Empty()), "no parameters"),
        (lambda: icl.train(task=TASK, model=Net), "the class Net; make one"),
        (lambda: icl.train(task=TASK, model=Net(jnp.full(3, jnp.nan))), "weight has NaN"),
        (lambda: icl.train(task=TASK, model=Net(jnp.zeros(2))), "TypeError"),
        (lambda: icl.train(task=TASK, model=bare), "expected an eqx.Module"),
        (lambda: icl.sweep("linear-regression", {"seed": 1}), "Config.create"),
        (lambda: icl.sweep(CONFIG, [1, 2]), "grid: expected paths and their values"),
        (lambda: icl.sweep(CONFIG, {"seed": []}), "seed: no values"),
        (lambda: icl.identify(RIDGE, key=KEY), "task: missing"),
        (lambda: probes.get("implicit-weights")("ridge", key=KEY), "task=..."),
    ],
)
def test_other_doors(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the words are checked below)
        call()
    assert type(error.value).__name__ in ("NotAvailable", "ConfigError")
    assert words in str(error.value), str(error.value)
    assert not list(tmp_path.iterdir())


def test_what_is_obvious_is_taken(tmp_path, monkeypatch):
    """A run where a predictor is expected, a path to load, one value in a sweep."""
    monkeypatch.chdir(tmp_path)
    (run,) = icl.sweep(CONFIG, {"seed": 3})
    assert run.seed == 3
    assert [c.seed for c in expand(CONFIG, {"seed": np.arange(2), "training.optimizer": "adam"})] == [0, 1]
    assert [c.rate for c in expand(CONFIG, {"training.learning_rate": 1e-3, "optimizer": {"name": "adam"}})] == [1e-3]
    assert icl.load(pathlib.Path(run.path)).identity == icl.load(run).identity == run.identity
    assert icl.load(pathlib.Path(run.path.name), tmp_path / "runs").identity == run.identity
    table = icl.evaluate({"run": run, "seeds": [run, run]}, run.task, key=KEY, prompts=16)
    model = icl.evaluate({"run": run.model}, run.task, key=KEY, prompts=16)
    assert table.where(predictor="run")["value"].tolist() == model["value"].tolist()
    assert icl.distance(run, run.model, run.task, key=KEY, prompts=16).value == 0
    assert icl.identify(run, key=KEY, prompts=16).nearest
    prompt = run.task.sample(KEY)
    at = icl.predict_at(run, prompt, 2, prompt.xs.tolist())
    np.testing.assert_allclose(at.mean, icl.predict_at(run.model, prompt, 2, prompt.xs).mean)


def test_checks_cost_nothing_in_compiled_code():
    traces = []

    class Counted(eqx.Module):
        weight: jax.Array

        def __call__(self, prompt):
            traces.append(prompt)
            return Prediction(mean=prompt.xs @ self.weight)

    evaluate(Counted(jnp.zeros(3)))
    assert len(traces) == 2  # once for its shapes, once to compile
