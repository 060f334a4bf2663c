"""The battery on predictors whose shifted behaviour is known."""

import dataclasses

import jax
import numpy as np
import pytest

import function_classes as fc
import probes
from function_classes import NotAvailable, shifts
from icl import references
from icl.errors import settle
from icl.models.transformer import Transformer
from probes.shift_battery import nearest as whose

TASK = fc.get("linear-regression", dim=3, points=6, noise_std=0.5)
KEY = jax.random.key(0)
ONLY = ("scale-inputs=2", "label-noise=0")


def measure(subject, prompts=64, **fields):
    return probes.get("shift-battery", **fields)(subject, task=TASK, key=KEY, prompts=prompts)


def nearest(result):
    return dict(line.split(": ", 1) for line in result.answer.splitlines() if ": " in line)


def test_every_registered_shift_is_in_the_battery():
    laws, skipped = probes.get("shift-battery").laws(TASK.bayes, TASK)
    assert {name.split("=")[0] for name in (*laws, *skipped)} == {"training law", "longer prompts", *shifts.names()}
    # Five examples span the three dimensions, so that no query is orthogonal to them.
    discrete = {"input-density", "literal-density", "forced-inputs", "shuffled-order", "interpolate-tasks"}
    assert {name.split("=")[0] for name in skipped} == {"orthogonal-query", "randomized-labels", *discrete}
    assert laws["scale-task=2"].weight_std == 2


def test_bayes_of_training_stays_that_under_a_shift():
    result = measure(TASK.bayes, only=ONLY)
    assert all(answer.startswith("bayes of training (0 null") for answer in nearest(result).values())
    rows = result.table().where(metric="label-noise=0", position=5)
    assert rows.where(predictor="bayes").value[0] < 1e-6
    assert rows.where(predictor="bayes of training").value[0] > 0.01


def test_near_is_paired_and_by_medians():
    rng = np.random.default_rng(0)
    first = rng.exponential(size=200) / 100
    gaps = {"null": np.ones(200), "a": first, "b": first * 1.2, "c": first * np.resize([0.9, 1.3], 200)}
    assert whose(gaps).startswith("a (")
    assert whose(gaps).endswith("as near: c")
    # One prompt that is far off moves a mean and no median.
    gaps["a"][0] = 1e6
    assert whose(gaps).startswith("a (")
    assert whose({"null": np.full(9, 0.1), "a": np.full(9, 0.02)}).startswith("none of the references")


def test_a_predictor_that_is_told_of_the_shift_is_exact_bayes():
    law = shifts.parse("label-noise=0").apply(TASK)
    said = nearest(measure(law.bayes, only=ONLY))
    # Without noise it is min-norm least squares, whichever of both is named first.
    first, others = said["label-noise=0"].split(" (0 null risks), as near: ")
    assert {first, *others.split(", ")} == {"bayes", "least-squares"}
    assert not said["training law"].startswith("bayes (")


def test_a_reference_keeps_the_numbers_of_the_training_law():
    """Descent tuned on the training law explodes where inputs are larger; a copy of it is recognised there too."""
    name = "gd-4 (best rate per position)"
    settled = settle(references.standard(TASK)[name], TASK, jax.random.split(KEY)[1])
    result = measure(settled, only=ONLY)
    assert all(answer.startswith(name) for answer in nearest(result).values())
    assert name in result.decision.split(" or ")
    errors = result.table().where(predictor="model", metric="scale-inputs=2").value
    assert errors[-1] > 1


def test_what_is_none_of_them_is_called_so():
    def stubborn(prompt):
        return fc.Prediction(mean=1 + 0 * prompt.ys)

    result = measure(stubborn, only=ONLY)
    assert all(answer.startswith("none of the references") for answer in nearest(result).values())
    assert result.decision == "no reference under all"


def test_longer_prompts_need_room():
    probe = probes.get("shift-battery")
    config = Transformer(depth=1, width=8, heads=2)
    roomy = config.make(TASK, key=KEY)
    tight = dataclasses.replace(config, max_points=6).make(TASK, key=KEY)
    assert probe.laws(roomy, TASK)[0]["longer prompts"].points == 12
    laws, skipped = probe.laws(tight, TASK)
    assert "longer prompts" not in laws
    assert skipped["longer prompts"] == "the model's positions hold 6 points"


def test_shifts_that_refuse_are_listed_with_their_reason():
    narrow = fc.get("linear-regression", dim=1, points=4)
    result = probes.get("shift-battery", only=("skewed-inputs",))(narrow.bayes, task=narrow, key=KEY, prompts=16)
    assert (
        "without skewed-inputs: skewed-inputs cannot change linear-regression: at least two input coordinates"
        in result.answer
    )
    assert set(result.table()["metric"]) == {"training law"}
    with pytest.raises(fc.ConfigError, match="did you mean 'scale-inputs'"):
        measure(TASK.bayes, only=("scale-input=2",))
    with pytest.raises(NotAvailable, match="linear references"):
        probes.shift_battery(references.get("null"), task=fc.get("markov"), key=KEY)


def test_the_picture_has_a_panel_for_every_law(tmp_path):
    result = measure(TASK.bayes, only=ONLY, prompts=16)
    figure = probes.load(result.save(tmp_path)).plot()
    assert [axis.get_title() for axis in figure.axes] == ["training law", *ONLY]
    assert all(np.isfinite(axis.get_ylim()).all() for axis in figure.axes)
