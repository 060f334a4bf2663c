"""Error rates of probes: exact intervals, truths for every pair, and wrong rules that show up as errors."""

import importlib
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import binom

import probes
from function_classes import ConfigError
from icl import cli
from icl.programs import draw, predict
from probes import controls
from probes.base import Probe
from probes.controls import Counted, Rate, measure, pooled, readings, why_not
from probes.known import SUBJECTS
from probes.truths import CONSTRUCTION, DISTANCE, READINGS, TINY

# The name in the package is that of the probe.
gd_construction = importlib.import_module("probes.gd_construction")
DOCS = Path(__file__).parent.parent.parent / "docs" / "controls.md"
QUICK = CONSTRUCTION._replace(trials=2, prompts=8)


@pytest.mark.parametrize(("errors", "trials"), [(0, 8), (3, 8), (8, 8), (1, 48)])
def test_intervals_are_those_of_clopper_and_pearson(errors, trials):
    low, high = Rate(errors, trials).interval()
    if errors:
        assert binom.sf(errors - 1, trials, low) == pytest.approx(0.025)
    if errors < trials:
        assert binom.cdf(errors, trials, high) == pytest.approx(0.025)
    assert low <= errors / trials <= high


def test_intervals_at_the_ends():
    assert Rate(0, 8).interval() == (0.0, pytest.approx(1 - 0.025 ** (1 / 8)))
    assert Rate(8, 8).interval() == (pytest.approx(0.025 ** (1 / 8)), 1.0)
    assert Rate(0, 0).interval() == (0.0, 1.0)
    assert str(Rate(0, 0)) == ""


def test_every_probe_has_a_truth_or_a_reason_for_every_subject():
    assert {reading.probe for reading in READINGS} == set(Probe.registry.names())
    for reading in READINGS:
        assert set(reading.truths) <= set(SUBJECTS)
        skipped = {name: why_not(reading, name) for name in SUBJECTS if name not in reading.truths}
        assert all(reason and reason.startswith("does not apply: ") for reason in skipped.values()), skipped
        counted = [truth for truth in reading.truths.values() if truth.holds is not None]
        assert {truth.holds for truth in counted} == {True, False}
        assert all(truth.why and re.compile(truth.right) for truth in counted)


def test_right_decisions_of_what_holds_and_of_what_does_not_exclude_each_other():
    """No decision is right both where the property of a reading holds and where it does not."""
    said = ("bayes", "ridge (best penalty)", "not linear", "linear, averaging", "linear, ridge (best penalty)")
    said += ("same, averaging", "not the same", "one step", "one step and optimum 1/Gamma", "not a gradient step")
    said += ("gradient descent", "newton", "neither", "decoded", "not decoded", "averaging", "no reference under all")
    for reading in READINGS:
        right = {holds: {t.right for t in reading.truths.values() if t.holds is holds} for holds in (True, False)}
        for word in said:
            granted, denied = ([re.fullmatch(r, word) is not None for r in right[holds]] for holds in (True, False))
            assert not (any(granted) and any(denied)), (reading.says, word)


@pytest.mark.parametrize("name", ["ridge, weights kept", "finite pool", "four steps"])
def test_a_disguise_keeps_the_predictions_of_a_subject(name):
    """Else what is true of the plain one would not be true of it."""
    prompts, subject = draw(TINY, jax.random.key(1), 0, 64), SUBJECTS[name]
    plain, other = (
        np.asarray(predict(subject.make(TINY, v, jax.random.key(2)), prompts).mean) for v in subject.variants
    )
    assert np.max(np.abs(plain - other)) < 1e-3 * np.max(np.abs(plain))


@pytest.mark.parametrize("name", ["random attention", "random transformer"])
def test_random_learners_say_something_and_another_thing_every_time(name):
    prompts, subject = draw(TINY, jax.random.key(0), 0, 256), SUBJECTS[name]
    first, second = (np.asarray(predict(subject.make(TINY, "random", jax.random.key(k)), prompts).mean) for k in (3, 4))
    for said in (first, second):
        np.testing.assert_allclose(np.mean(said**2), np.mean(np.asarray(prompts.ys) ** 2), rtol=1e-3)
    assert np.mean((first - second) ** 2) > 0.1 * np.mean(first**2)


def test_the_shell_prints_rates_and_writes_the_page(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(controls, "READINGS", (QUICK, DISTANCE))
    monkeypatch.setattr(sys, "argv", ["icl", "probe", "--controls", "--only", "gd-construction", "--json"])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--save", str(tmp_path / "new" / "controls.md")])
    monkeypatch.setenv("ICL_CACHE", "none")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    text = capsys.readouterr()
    found = {(c["subject"], c["variant"]): c for c in json.loads(text.out)}
    assert "gd-construction: optimum, rotated: 0 / 2" in text.err
    # Products are exact, whatever the prompts and the disguise: errors here are faults.
    assert all(c["errors"] == 0 and c["trials"] == 2 for c in found.values())
    assert {name for name, _ in found} == {n for n, t in QUICK.truths.items() if t.holds is not None}
    page = (tmp_path / "new" / "controls.md").read_text(encoding="utf-8")
    assert "| one step | rotated | yes |" in page
    assert "| averaging | does not apply: needs linear attention and nothing else" in page


def test_wrong_rules_show_up_as_errors(monkeypatch):
    few = {n: t for n, t in QUICK.truths.items() if n in ("one step", "half a step")}
    reading = QUICK._replace(truths=dict.fromkeys(SUBJECTS, QUICK.truths["four steps"]) | few)
    for near, missed, alarms in ((gd_construction.NEAR, 0, 0), (-1.0, 2, 0), (0.9, 0, 2)):
        monkeypatch.setattr(gd_construction, "NEAR", near)
        found = measure([reading])
        for variant in ("plain", "rotated"):
            assert pooled(found, reading, variant, True) == Rate(missed, 2)
            assert pooled(found, reading, variant, False) == Rate(alarms, 2)


def test_decisions_are_counted_against_the_truth():
    said = ("bayes", "bayes", "averaging", "bayes of training")
    assert Counted(DISTANCE, "ridge", "plain", said).rate == Rate(2, 4)
    assert Counted(DISTANCE, "averaging", "plain", said).rate == Rate(2, 4)


def test_an_unknown_probe_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'distance'"):
        readings("distances")
    assert probes.names()


def test_the_page_in_the_repository_has_every_reading():
    text = DOCS.read_text(encoding="utf-8")
    assert controls.COMMAND in text
    assert re.findall(r"^## (.*: .*)$", text, re.MULTILINE) == [f"{r.probe}: {r.says}" for r in READINGS]
