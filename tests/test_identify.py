"""Identification on predictors whose algorithm is known."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from function_classes import FunctionClass, Prediction, Prompt, Symbols, get
from function_classes.base import BayesKind
from function_classes.posteriors import linear_filter
from function_classes.spaces import Nothing
from icl import references
from icl.identification import identify

TASK = get("linear-regression", dim=3, points=8, noise_std=0.5)
KEY = jax.random.key(11)
N = 256


class Blend(eqx.Module):
    """Ridge with an error that no reference makes, of a size that shows at a few hundred prompts."""

    penalty: float
    size: float

    def __call__(self, prompt):
        ridge = linear_filter(prompt.xs, prompt.ys, 1.0, jnp.sqrt(self.penalty)).mean
        return Prediction(mean=ridge + self.size * jnp.sin(5 * prompt.xs[:, 0]))


class Chain(FunctionClass):
    """A Markov chain on three symbols whose rows are Dirichlet(alpha); the first symbol is uniform."""

    points: int = 40
    alpha: float = 0.5

    @property
    def x_space(self):
        return Nothing()

    @property
    def y_space(self):
        return Symbols(3)

    @property
    def bayes_kind(self):
        return BayesKind("none", "left out, to be found")

    def sample_latent(self, key):
        return jnp.log(jax.random.dirichlet(key, jnp.full(3, self.alpha), (3,)) + 1e-9)

    def sample_prompt(self, latent, key):
        def step(state, key):
            state = jax.random.categorical(key, latent[state])
            return state, state

        start = jax.random.randint(key, (), 0, 3)
        later = jax.lax.scan(step, start, jax.random.split(jax.random.fold_in(key, 1), self.points - 1))[1]
        return Prompt(jnp.zeros((self.points, 0)), jnp.concatenate([start[None], later]), latent)


class Thought(FunctionClass):
    """Two numbers are revealed for every example."""

    points: int = 3

    @property
    def x_space(self):
        return get("linear-regression", dim=2).x_space

    @property
    def y_space(self):
        return get("linear-regression").y_space

    @property
    def steps(self):
        return 2

    def sample_latent(self, key):
        return jax.random.normal(key, (2,))

    def sample_prompt(self, latent, key):
        xs = jax.random.normal(key, (self.points, 2))
        return Prompt(xs, xs * latent[None, :], latent)


def family(found, name):
    return next(fit for fit in found.families if fit.family == name)


def test_bayes_is_ridge_at_its_own_penalty():
    found = identify(TASK.bayes, TASK, key=KEY, prompts=N)
    ridge = family(found, "ridge")
    assert ridge.parameter.value == pytest.approx(0.25, rel=0.01)
    assert ridge.bayes == pytest.approx(0.25, rel=0.01)
    assert found.nearest == "bayes"
    assert ridge.label in found.alike
    assert "least-squares" not in found.alike
    assert "closest to bayes" in found.sentence()
    assert "Bayes is 0.25" in found.sentence()


def test_ridge_is_found_with_its_penalty():
    found = identify(references.get("ridge", penalty=1.0), TASK, key=KEY, prompts=N)
    assert family(found, "ridge").parameter.value == pytest.approx(1.0, rel=0.01)
    assert found.nearest == family(found, "ridge").label
    assert found.distances[found.nearest].value < 1e-5
    assert "bayes" not in found.alike


def test_steps_of_gradient_descent_are_counted():
    found = identify(references.get("gradient-descent", steps=8), TASK, key=KEY, prompts=N)
    steps = family(found, "gradient-descent")
    assert round(steps.parameter.value) == round(steps.parameter.low) == round(steps.parameter.high) == 8
    assert found.nearest == "gradient descent of 8 steps at the best rate for every position"
    assert found.sentence().startswith(f"closest to {found.nearest} (95% 8-8)")


def test_interval_covers_the_penalty_under_an_unrelated_error():
    found = identify(Blend(0.6, 0.15), TASK, key=KEY, prompts=N)
    ridge = family(found, "ridge")
    assert ridge.parameter.low < 0.6 < ridge.parameter.high
    assert ridge.parameter.high - ridge.parameter.low > 0.01
    batch = TASK.batch(KEY, N)
    ripple = float(jnp.mean(jnp.square(0.15 * jnp.sin(5 * batch.xs[..., 0])))) / 3
    assert ridge.distance.value == pytest.approx(ripple, rel=0.05)


def test_few_prompts_tell_fewer_references_apart():
    few, many = (identify(Blend(0.28, 0.3), TASK, key=KEY, prompts=n) for n in (24, N))
    assert len(few.alike) > len(many.alike)
    assert "null" not in few.alike


def test_a_predictor_beyond_the_grid_is_reported_as_such():
    found = identify(references.get("null"), TASK, key=KEY, prompts=N)
    assert family(found, "ridge").edge == "high"
    assert "the most that was tried" in found.sentence()
    assert found.nearest == "null"


def test_kgram_and_its_smoothing():
    found = identify(references.get("k-gram", order=1, alpha=0.37), Chain(), key=KEY, prompts=N)
    bigram = next(fit for fit in found.families if fit.label.startswith("bigram"))
    assert bigram.parameter.value == pytest.approx(0.37, rel=0.02)
    assert found.nearest == bigram.label
    assert found.normalization == "nats"
    assert "null" not in found.alike


def test_where_no_family_applies_the_sentence_says_so():
    def zero(prompt):
        return Prediction(mean=jnp.zeros(prompt.ys.shape))

    found = identify(zero, Thought(), key=KEY, prompts=20)
    assert found.families == ()
    assert found.nearest == "null"
    assert "no continuous family of references applies here" in found.sentence()


def test_results_are_stored():
    found = identify(TASK.bayes, TASK, key=KEY, prompts=N)
    stored = json.loads(found.to_json())
    assert stored["sentence"] == found.sentence()
    assert stored["nearest"] == "bayes"
    table = found.table()
    ridge = family(found, "ridge")
    assert table.where(metric="parameter", predictor=ridge.label).value[0] == ridge.parameter.value
    assert np.all(table.where(metric="distance")["low"] <= table.where(metric="distance")["high"])


def test_distances_are_cut_at_ten_null_risks():
    found = identify(Blend(0.6, 1000.0), TASK, key=KEY, prompts=N)
    null = float(jnp.mean(jnp.square(TASK.batch(KEY, N).ys))) / TASK.dim
    assert all(9 * null < interval.value <= 10.001 * null for interval in found.distances.values())
