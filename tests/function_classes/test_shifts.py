"""Shifts: what they do to inputs, noise and tasks; whose Bayes is exact where; what they refuse."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import FunctionClass, shifts
from function_classes.fields import build
from function_classes.plain import dump
from tests.harness import beats_bayes

LINEAR = fc.get("linear-regression", dim=4, points=6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scale-inputs=3", lambda xs: 3 * xs),
        ("mean-shift=-0.5", lambda xs: xs - 0.5),
        ("skewed-inputs", lambda xs: xs * np.sqrt(4 * np.array([1, 1 / 4, 1 / 9, 1 / 16]) / (205 / 144))),
    ],
)
def test_inputs_are_transformed_and_the_function_stays(text, expected):
    shifted = shifts.parse(text).apply(LINEAR)
    plain, prompt = LINEAR.sample(jax.random.key(0)), shifted.sample(jax.random.key(0))
    np.testing.assert_allclose(prompt.xs, expected(np.asarray(plain.xs)), rtol=1e-6)
    noise = plain.ys - LINEAR.evaluate(plain.latent, plain.xs)
    np.testing.assert_allclose(prompt.ys - shifted.evaluate(prompt.latent, prompt.xs), noise, atol=1e-5)


def test_skewed_inputs_keep_their_norm():
    """E|x|^2 = dim, and the first eigenvalue is 4 times the second."""
    task = fc.get("linear-regression", dim=20, points=8)
    xs = np.asarray(shifts.parse("skewed-inputs").apply(task).batch(jax.random.key(1), 4000).xs, np.float64)
    second = (xs**2).mean((0, 1))
    assert abs(second.sum() / 20 - 1) < 0.03
    assert abs(second[0] / second[1] - 4) < 0.2


def test_noise_and_task_are_fields():
    assert shifts.parse("label-noise=2").apply(LINEAR) == fc.get("linear-regression", dim=4, points=6, noise_std=2)
    assert shifts.parse("scale-task=3").apply(LINEAR).weight_std == 3
    assert shifts.parse("scale-task=3").apply(dataclasses.replace(LINEAR, weight_mean=0.5)).weight_mean == 1.5
    assert shifts.parse("scale-task=3").apply(fc.get("gaussian-process", scale=0.5)).scale == 1.5


@pytest.mark.parametrize(
    ("text", "name", "fields"),
    [
        ("input-density=0.7", "parity", {"plus": 0.7}),
        ("input-density=0.2", "cellular-automaton", {"density": 0.2}),
        ("literal-density=0.6", "conjunction", {"literal": 0.6}),
        ("forced-inputs", "disjunction", {"forced": 0.0}),
        ("randomized-labels=0.3", "parity", {"base": "parity", "rate": 0.3}),
    ],
)
def test_laws_of_discrete_prompts_are_fields(text, name, fields):
    plain = fc.get(name, points=9)
    changed = "randomized-labels" if "rate" in fields else name
    base = {"base": plain} if "base" in fields else {}
    assert shifts.parse(text).apply(plain) == fc.get(changed, points=9, **fields | base)


def test_a_shifted_mixture_is_the_mixture_of_its_shifted_classes():
    """Also inside a wrapper; a weight_mean is scaled in the classes that have one."""
    around, sparse = fc.get("linear-regression", dim=8, weight_mean=0.5), fc.get("sparse-linear")
    mixture = fc.get("mixture", points=7, classes=(around, sparse))
    for text in ("scale-task=3", "label-noise=0.7", "scale-inputs=2"):
        shift = shifts.parse(text)
        assert shift.apply(mixture) == fc.get("mixture", points=7, classes=(shift.apply(around), shift.apply(sparse)))
    scaled = shifts.parse("scale-task=3").apply(fc.get("randomized-labels", points=7, base=mixture)).base.classes
    assert [(one.weight_std, getattr(one, "weight_mean", None)) for one in scaled] == [(3.0, 1.5), (3.0, None)]


def test_a_wrapper_stays_around_the_changed_class():
    wrapped = fc.get("randomized-labels", base="conjunction", points=9)
    changed = shifts.parse("literal-density=0.6").apply(wrapped)
    assert (changed.name, changed.base.literal, changed.points) == ("randomized-labels", 0.6, 9)


def test_shuffled_prompts_are_the_same_examples_in_all_orders():
    """Every position goes everywhere equally often, with its inputs, its target and its weight."""
    plain = fc.get("randomized-labels", base="sliding-window", points=4)
    task = shifts.parse("shuffled-order").apply(plain)
    prompts = task.batch(jax.random.key(5), 6000)
    made = jax.vmap(lambda i: _unshuffled(plain, task, jax.random.fold_in(jax.random.key(5), i)))(jnp.arange(6000))
    # Compiled on their own, the same numbers may be rounded otherwise.
    place = np.abs(np.asarray(prompts.ys)[:, :, None] - np.asarray(made.ys)[:, None, :]).argmin(2)
    counts = np.stack([(place == k).mean(0) for k in range(4)])
    np.testing.assert_allclose(counts, 0.25, atol=5 * np.sqrt(0.25 * 0.75 / 6000))
    for name in ("xs", "targets"):
        moved = np.stack([a[p] for a, p in zip(np.asarray(getattr(made, name)), place, strict=True)])
        np.testing.assert_allclose(moved, getattr(prompts, name), rtol=1e-5, atol=1e-6)


def _unshuffled(plain, task, key):
    """What `sample` made before it was shuffled."""
    latent, prompt = jax.random.split(key)
    return plain.sample_prompt(task.sample_latent(latent), jax.random.split(prompt)[0])


def test_shifts_compose_and_stay_exact():
    """Noise reaches the class under shifted inputs, and inputs may be shifted twice."""
    task = LINEAR
    for text in ("scale-inputs=2", "mean-shift=1", "label-noise=0"):
        task = shifts.parse(text).apply(task)
    prompt = task.sample(jax.random.key(2))
    np.testing.assert_allclose(prompt.xs, 2 * LINEAR.sample(jax.random.key(2)).xs + 1, rtol=1e-6)
    np.testing.assert_allclose(task.bayes(prompt).mean[5:], prompt.ys[5:], atol=2e-2)
    assert build(FunctionClass, json.loads(json.dumps(dump(task)))) == task


def test_two_floors_differ_where_the_prior_changes():
    """Bayes under the training prior is beaten by Bayes under the shifted law, and never the other way."""
    shifted = shifts.parse("label-noise=2").apply(LINEAR)
    prompts = shifted.batch(jax.random.key(3), 2048)
    loss = {
        task: np.asarray((jax.vmap(task.bayes)(prompts).mean - prompts.ys) ** 2, np.float64)
        for task in (LINEAR, shifted)
    }
    assert beats_bayes(loss[shifted], loss[LINEAR]).beats
    assert not beats_bayes(loss[LINEAR], loss[shifted]).beats


def test_a_process_keeps_its_values_under_shifted_inputs():
    task = shifts.parse("mean-shift=0.3").apply(fc.get("gaussian-process", points=5, noise_std=0.0))
    prompt = task.sample(jax.random.key(4))
    np.testing.assert_array_equal(prompt.latent.xs, prompt.xs)
    np.testing.assert_array_equal(task.oracle(prompt).mean, prompt.ys)


@pytest.mark.parametrize(
    ("text", "task", "words"),
    [
        ("scale-inputs", fc.get("markov"), "stream"),
        ("mean-shift", fc.get("letter-digit"), "stream"),
        ("label-noise", fc.get("markov"), "noise_std"),
        ("scale-task", fc.get("chain-of-thought"), "weight_std or scale"),
        ("skewed-inputs", fc.get("gaussian-process"), "two input coordinates"),
        ("label-noise", fc.get("conjunction"), "randomized-labels replaces some"),
        ("literal-density", fc.get("sparse-disjunction"), "literal, which sparse-disjunction does not have"),
        ("input-density", LINEAR, "plus or density"),
        ("forced-inputs", fc.get("parity"), "forced"),
        ("shuffled-order", LINEAR, "exchangeable; sliding-window is not"),
        ("randomized-labels", fc.get("markov"), "stream"),
        ("scale-task", fc.get("bandit"), "changes scale, which makes no difference to bandit"),
        ("scale-task", fc.get("linear-classification", link="threshold"), "weight_std, which makes no difference"),
        ("scale-task", fc.get("mixture", unit_variance=True), "makes no difference to mixture"),
        ("label-noise", fc.get("mixture", classes=("markov",)), "noise_std, which markov"),
        ("interpolate-tasks", LINEAR, "linear-pool does"),
        ("interpolate-tasks", fc.get("linear-pool", pool_size=1), "the pool has one"),
    ],
)
def test_senseless_shifts_are_refused_with_the_reason(text, task, words):
    with pytest.raises(fc.NotAvailable, match=words):
        shifts.parse(text).apply(task)


class Telling(type(LINEAR)):
    """A class whose inputs say something about the task."""

    def log_input_density(self, prompt):
        return -jnp.sum(prompt.xs**2, -1)


def test_inputs_that_carry_evidence_are_not_changed():
    with pytest.raises(fc.NotAvailable, match="evidence"):
        shifts.parse("scale-inputs").apply(Telling())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scale-input=2", "did you mean 'scale-inputs'"),
        ("scale-inputs=big", "expected a number"),
        ("scale-inputs=0", "must be above 0"),
        ("scale-inputs=", "expected a number"),
    ],
)
def test_unknown_shifts_and_values_say_what_was_expected(text, words):
    with pytest.raises(fc.ConfigError, match=words):
        shifts.parse(text)


def test_only_shifts_of_inputs_fit_the_wrapper():
    with pytest.raises(fc.ConfigError, match="label-noise does not act on inputs"):
        fc.get("shifted-inputs", shift="label-noise")
    with pytest.raises(fc.ConfigError, match="stream"):
        fc.get("shifted-inputs", base="markov")
    assert fc.get("shifted-inputs", points=3).base.points == 3


def test_every_shift_has_a_default_value():
    for name in shifts.names():
        value = getattr(shifts.parse(name), "value", None)
        assert value is None or shifts.parse(name) == shifts.parse(f"{name}={value}")
