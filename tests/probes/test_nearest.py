"""The nearest of several references: named with those that are like it, and not named where prompts cannot tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
import probes
from function_classes import Prediction
from icl.references.base import LinearPredictor
from icl.references.ridge import Ridge
from probes.nearest import nearest, typical

TASK = fc.get("linear-regression", dim=3, points=5, noise_std=0.5)
RIDGE = Ridge(penalty=0.25)


def gaps(seed=0, prompts=200, **centers):
    rng = np.random.default_rng(seed)
    return {name: center * rng.exponential(size=(prompts, 3)) for name, center in centers.items()}


def far(a, b):
    return 0.0 if a == b else 1.0


def test_what_is_alike_is_named_together_and_the_rest_is_told_apart():
    found = nearest(gaps(a=1.0, b=1.01, c=3.0), lambda x, y: 0.005 if {x, y} == {"a", "b"} else 1.0)
    assert set(found.like) == {"a", "b"}
    assert found.rivals == ()
    assert found.words == " or ".join(found.like)
    assert found.order[-1] == "c"


@pytest.mark.parametrize(("share", "like"), [(0.009, ("a", "b")), (0.011, ("a",))])
def test_references_are_alike_up_to_a_hundredth_of_what_is_predicted(share, like):
    assert nearest(gaps(a=1.0, b=9.0), lambda x, y: 0.0 if x == y else share).like == like


def test_what_prompts_cannot_tell_apart_is_said():
    found = nearest(gaps(a=1.0, b=1.02, c=3.0), far)
    assert set(found.words.removeprefix("cannot tell ").split(" from ")) == {"a", "b"}
    assert nearest(gaps(a=1.0, b=1.02, c=3.0, prompts=100_000), far).words == "a"


def test_differences_are_paired():
    """What moves all references alike does not hide that one is always nearer."""
    shared = np.random.default_rng(1).exponential(size=(100, 3))
    assert nearest({"a": shared, "b": shared + 0.05}, far).words == "a"
    apart = {"a": shared, "b": np.random.default_rng(2).exponential(size=(100, 3)) + 0.05}
    assert nearest(apart, far).words.startswith("cannot tell")


def test_a_few_prompts_without_a_mean_decide_nothing():
    values = gaps(a=1.0, b=3.0)
    values["a"][:5] = np.inf
    assert nearest(values, far).words == "a"
    assert typical(values["a"]) < 1.0


class Turned(LinearPredictor):
    """The weights of ridge, turned by one angle."""

    cosine: float

    def weights(self, prompt):
        w = RIDGE.weights(prompt)
        aside = jnp.cross(w, jnp.asarray([1.0, 2.0, 3.0]))
        length = jnp.linalg.norm(w, axis=-1, keepdims=True) / jnp.maximum(
            jnp.linalg.norm(aside, axis=-1, keepdims=True), 1e-9
        )
        return self.cosine * w + jnp.sqrt(1 - self.cosine**2) * length * aside


@pytest.mark.parametrize(
    ("cosine", "decision"), [(0.999, "same, ridge (best penalty)"), (0.97, "cannot tell"), (0.9, "not the same")]
)
def test_sensitivity_has_a_third_answer(cosine, decision):
    result = probes.get("sensitivity").measure(Turned(cosine), TASK, jax.random.key(1), 32)
    assert result.decision == decision
    assert ("cannot tell" in result.answer) == (decision == "cannot tell")


@pytest.mark.parametrize(
    ("share", "decision"), [(0.0, "linear, "), (0.1, "cannot tell whether it is linear"), (0.5, "not linear")]
)
def test_linearity_has_a_third_answer(share, decision):
    """An even function of the query of about this share of the mean square; linear fits take a quarter of it."""

    def bent(prompt):
        weights = RIDGE.weights(prompt)
        even = (prompt.xs[:, 0] ** 2 - 1) / np.sqrt(2.0)
        bend = np.sqrt(share / (1 - share)) * jnp.linalg.norm(weights, axis=-1) * even
        return Prediction(mean=jnp.sum(weights * prompt.xs, -1) + bend)

    result = probes.get("implicit-weights")(bent, task=TASK, key=jax.random.key(1), prompts=128)
    assert result.decision.startswith(decision)
