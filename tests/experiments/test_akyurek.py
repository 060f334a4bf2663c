"""Measures of the linear experiments on predictors whose algorithm is known."""

import dataclasses

import numpy as np
import pytest

from experiments import akyurek
from icl import references

TASK = akyurek.task()


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A run in what measures read of it."""

    model: object
    task: object = TASK


def values(measured, part=0):
    return measured.all[part].values


def known(name, **fields):
    return Known(references.get(name, **fields))


@pytest.fixture(scope="module")
def families():
    return {"depth 1": [known("gradient-descent", steps=3, rate=0.35)], "depth 4": [known("ridge", penalty=0.6)]}


def test_gradient_descent_is_nearer_to_its_own_family_and_ridge_to_its_own(families):
    assert values(akyurek._family("depth 1")(families, "smoke")) < 0.01
    assert values(akyurek._family("depth 4")(families, "smoke")) > 100


def test_the_best_few_steps_are_found(families):
    (run,) = families["depth 1"]
    assert akyurek.few_steps(run, "smoke").mean() < 1e-5


def test_bayes_is_at_no_distance_and_a_worse_ridge_at_more():
    runs = {f"depth {depth}": [known("ridge", penalty=p)] for depth, p in ((1, 4.0), (2, 1.0), (8, 0.3))}
    found = values(akyurek.depth(runs | {"depth 4": [Known(TASK.bayes)]}, "smoke"))[0]
    assert found[0] > found[1] > found[3] > found[2]
    assert found[2] < 1e-10


def test_every_penalty_of_the_diagonal_is_found():
    """Bayes of each law is ridge at the true penalty; twice the noise is four times the penalty."""
    laws = {name: akyurek.task(noise_std=s, weight_std=t) for name, s, t in akyurek.DIAGONAL.values()}
    measured = akyurek.diagonal({name: [Known(law.bayes, law)] for name, law in laws.items()}, "smoke")
    np.testing.assert_allclose(values(measured), 1, rtol=0.02)
    np.testing.assert_allclose(values(measured, 1)[0], [1 / 16, 1 / 9, 1 / 4, 4 / 9], rtol=0.02)
    noisy = dataclasses.replace(TASK, noise_std=1.0)
    other = akyurek.diagonal({name: [Known(noisy.bayes, law)] for name, law in laws.items()}, "smoke")
    np.testing.assert_allclose(values(other, 1), 1, rtol=0.05)


def test_on_noiseless_prompts_bayes_of_noise_stays_ridge():
    part = akyurek.on_noiseless({"depth 4": [Known(TASK.bayes)]}, "smoke").all[0]
    np.testing.assert_allclose(part.values, 0.25, rtol=0.02)
    law = dataclasses.replace(TASK, noise_std=0.0)
    assert values(akyurek.noiseless({"noiseless": [Known(law.bayes, law)]}, "smoke")) < 2e-4


def test_layers_of_a_read_out():
    errors = np.array([[1.0, 0.8], [0.5, 0.35], [0.42, 0.34], [0.4, 0.34], [0.7, 0.7]])
    assert akyurek.first_layer(errors) == 2
    np.testing.assert_array_equal(akyurek.best_layer(errors), errors[3])


def test_ridge_by_rank_one_updates():
    assert values(akyurek.ridge({}, "smoke")) < 1e-5
