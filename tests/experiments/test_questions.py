"""Measures of the experiments that ask questions of this project, on predictors whose distances are known."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from experiments import loops, mixers
from function_classes import get
from icl import prng, references
from icl.models.constructions import Construction
from icl.programs import draw, predict


def values(measured):
    return measured.all[0].values


def test_more_loops_are_more_steps():
    """Of gradient descent in a loop: three times as many loops have the error of three times as many steps."""
    law = get("linear-regression", **loops.TASK)
    made = Construction.registry.get("looped-gradient-descent", steps=loops.LOOPS, rate=0.1).make(law)
    found = values(loops.fixed_point({"last half": [SimpleNamespace(model=made)] * 2}, "smoke"))
    prompts = draw(law, prng.stream(0, "evaluation"), 0, loops.PROMPTS["smoke"])
    errors = []
    for steps in (3 * loops.LOOPS, loops.LOOPS):
        said = predict(references.get("gradient-descent", steps=steps, rate=0.1), prompts).mean[:, loops.SEEN]
        errors.append(np.mean(np.square(said - prompts.ys[:, loops.SEEN])))
    np.testing.assert_allclose(found, np.full((2, 1), errors[0] / errors[1]), rtol=1e-2)
    assert found[0, 0] < 0.5


def test_loops_differ_in_what_is_said_and_nothing_else():
    made = loops._configs(1, 16, 8)
    assert {"last half", "all loops", "few loops", "depth 4"} < set(made)
    assert len({(c.training.steps, c.training.batch, c.task) for (c,) in made.values()}) == 1


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """What a measure reads of a run."""

    model: Any
    task: Any


@pytest.fixture
def known(monkeypatch):
    """One small task; mixers stand for references: distances to Bayes are those of the references."""
    monkeypatch.setattr(mixers, "TASKS", {"linear-regression": {}})
    law = get("linear-regression", dim=2, points=6)
    steps = {"softmax": 4, "mamba": 2, "deltanet": 3, "gated-linear-attention": 1, "linear": 16}
    made = {name: references.get("gradient-descent", steps=count, rate=0.1) for name, count in steps.items()}
    made["identity"] = references.get("null")
    runs = {mixers.name_of("linear-regression", n): [Known(m, law)] for n, m in made.items()}
    prompts = draw(law, prng.stream(0, "evaluation"), 0, mixers.PROMPTS["smoke"])
    bayes = jax.vmap(law.bayes)(prompts).mean
    gaps = {name: np.mean(np.square(predict(m, prompts).as_mean(law.y_space) - bayes)) for name, m in made.items()}
    return runs, gaps


def test_the_nearest_without_attention_is_compared_with_softmax(known):
    """`linear` is nearest of all here, and is attention."""
    runs, gaps = known
    assert min(gaps, key=gaps.get) == "linear"
    expected = min(gaps["mamba"], gaps["deltanet"], gaps["gated-linear-attention"]) / gaps["softmax"]
    np.testing.assert_allclose(values(mixers.attention_is_nearest(runs, "smoke")), [[expected]], rtol=1e-3)
    found = values(mixers.nothing_without_mixing(runs, "smoke"))
    np.testing.assert_allclose(found, [[gaps["identity"] / gaps["softmax"]]], rtol=1e-3)
    found = values(mixers.delta_rule_corrects(runs, "smoke"))
    np.testing.assert_allclose(found, [[gaps["deltanet"] / gaps["gated-linear-attention"]]], rtol=1e-3)


def test_widths_are_as_large_as_softmax_allows():
    wide = {m: mixers._width("linear-regression", m) for m in ("softmax", "identity", "lstm")}
    assert wide["identity"] > wide["softmax"] == mixers.WIDTH > wide["lstm"]
