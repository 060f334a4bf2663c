"""Error rates of probes: exact intervals, trials that differ, counts, and wrong rules that show up as errors."""

import functools
import importlib
import itertools
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
from probes import controls, controls_page
from probes.base import Probe
from probes.controls import DECIDED, DRAWN, Counted, Kept, Rate, Said, measure, readings
from probes.known import SUBJECTS
from probes.trials import ALL, DISTILLED, PUBLISHED, SHAPES, Cell, Trial, cells, trial_of, why_not
from probes.truths import CONSTRUCTION, DISTANCE, LINEAR, READINGS, TINY, WEIGHTS
from probes.unseen import UNSEEN
from probes.unseen_truths import UNSEEN_TRUTHS, unseen

# The name in the package is that of the probe.
gd_construction = importlib.import_module("probes.gd_construction")
DOCS = Path(__file__).parent.parent.parent / "docs" / "controls.md"
QUICK = CONSTRUCTION._replace(prompts=8)


@functools.cache
def every():
    """All cells of the table. Not made on import: subjects are built to ask whether a probe applies to them."""
    return [cell for reading in READINGS for cell in cells(reading)]


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
        assert all(why_not(reading, name) for name in SUBJECTS if name not in reading.truths)
        counted = [truth for truth in reading.truths.values() if truth.holds is not None]
        assert {truth.holds for truth in counted} == {True, False}
        assert all(truth.why and re.compile(truth.right) for truth in (*counted, *unseen(reading).values()))


def test_three_unseen_subjects_at_least_are_behind_every_number():
    for cell in every():
        assert len(set(cell.subjects)) >= 3, cell
        assert all(cell.truth(name).holds is cell.holds for name in cell.subjects)
    sides = {(cell.reading.says, cell.variant, cell.holds) for cell in every()}
    for reading, holds in itertools.product(READINGS, (True, False)):
        by_hand = ("plain", "rotated", "distilled") if reading.function else ("plain", "rotated")
        assert all((reading.says, variant, holds) in sides for variant in by_hand)


def test_unseen_subjects_and_seeds_are_none_that_rules_were_tuned_on():
    assert not set(UNSEEN) & set(SUBJECTS)
    assert len({known.algorithm for known in ALL.values()}) == len(ALL)
    for cell in every():
        assert not set(cell.subjects) & set(SUBJECTS)
        assert all(cell.trial(n).seed >= PUBLISHED for n in range(DRAWN))
    tuned = [cell for reading in READINGS for cell in cells(reading, published=False)]
    for cell in tuned:
        assert set(cell.subjects) <= set(SUBJECTS)
        assert all(cell.trial(n).seed < PUBLISHED for n in range(DRAWN))


def test_every_trial_differs_from_every_other_one():
    """In size, noise, rotation or net: none of a number's trials is another with other prompts."""
    assert len({*SHAPES, *DISTILLED}) <= 6
    for cell in every():
        trials = [cell.trial(n) for n in range(DRAWN)]
        assert len({(t.subject, t.seed) for t in trials}) == DRAWN
        assert len({(t.shape, t.noise) for t in trials}) == DRAWN
        assert {t.shape for t in trials} == set(DISTILLED if cell.variant == "distilled" else SHAPES)


@pytest.mark.parametrize(
    ("name", "variant"),
    [("ridge, sign changed", "plain"), ("one step, merged", "rotated"), ("random attention, merged", "random")],
)
def test_trials_have_weights_of_their_own(name, variant):
    """Two seeds of one size give two nets, whose numbers differ; the same seed gives the same one."""
    first, again, other = (Trial(name, variant, seed).learner() for seed in (1000, 1000, 1002))
    leaves = [np.concatenate([np.ravel(a) for a in jax.tree.leaves(net)]) for net in (first, again, other)]
    np.testing.assert_array_equal(leaves[0], leaves[1])
    assert np.max(np.abs(leaves[0] - leaves[2])) > 1e-3


def test_a_subject_has_no_more_than_its_seeds():
    assert trial_of("kernel smoother", "plain", 99).seed < trial_of("moment, coordinates moved", "plain", 0).seed
    with pytest.raises(ValueError, match="100 seeds"):
        trial_of("kernel smoother", "plain", 100)


def test_right_decisions_of_what_holds_and_of_what_does_not_exclude_each_other():
    """No decision is right both where the property of a reading holds and where it does not, nor is a decision that
    says it cannot tell about it right."""
    said = ("bayes", "bayes or ridge (best penalty)", "ridge (best penalty)", "not linear", "linear, averaging")
    said += (
        "linear, ridge (best penalty)",
        "linear, cannot tell averaging from null",
        "same, averaging",
        "not the same",
    )
    said += ("one step", "one step and optimum 1/Gamma", "not a gradient step", "averaging", "no reference under all")
    said += ("gradient descent", "newton", "neither", "decoded", "not decoded", "cannot tell")
    for reading in READINGS:
        both = [*reading.truths.values(), *UNSEEN_TRUTHS[reading.says].values()]
        for word in said:
            granted, denied = (
                any(re.fullmatch(t.right, word) for t in both if t.holds is holds) for holds in (True, False)
            )
            assert not (granted and denied), (reading.says, word)
        if reading is not DISTANCE and reading is not LINEAR:
            assert not any(re.fullmatch(t.right, "cannot tell") for t in both if t.holds is not None)


def cell_of(reading, holds, names):
    return Cell(reading, holds, "plain", names, True)


def test_decisions_are_judged_against_the_truth():
    ridge, negated = "ridge, inputs in a cube", "ridge, sign changed"
    holds, not_so = cell_of(DISTANCE, True, (ridge,)), cell_of(DISTANCE, False, (negated,))
    for said, granted, denied in (
        ("bayes", "right", "wrong"),
        ("ridge (best penalty) or bayes", "right", "wrong"),
        ("averaging", "wrong", "right"),
        ("cannot tell bayes from averaging", "undecided", "undecided"),
        # What it cannot tell is not the question.
        ("cannot tell null from averaging", "undecided", "right"),
    ):
        assert holds.judge(ridge, said) == granted
        assert not_so.judge(negated, said) == denied
    holds, not_so = cell_of(WEIGHTS, True, (ridge,)), cell_of(WEIGHTS, False, (negated,))
    for said, granted, denied in (
        ("linear, ridge (best penalty)", "right", "wrong"),
        ("linear, cannot tell ridge (best penalty) from averaging", "undecided", "undecided"),
        ("cannot tell whether it is linear", "undecided", "undecided"),
        ("not linear", "wrong", "right"),
    ):
        assert holds.judge(ridge, said) == granted
        assert not_so.judge(negated, said) == denied
    assert cell_of(LINEAR, False, ("kernel smoother",)).judge("kernel smoother", "linear, null") == "wrong"


def counted(*verdicts):
    return Counted(cell_of(DISTANCE, True, ("a",)), tuple(Said("a", n, "", v) for n, v in enumerate(verdicts)))


def test_a_probe_decides_where_errors_are_few_and_answers_many():
    right = ["right"] * 59
    assert counted(*right, "right").fails() is None
    assert counted(*right, "wrong").fails() is None
    assert counted(*right, "wrong", "wrong").fails() == "2 errors"
    assert counted(*right).fails() == "59 decided trials"
    assert counted(*right, "right", *["undecided"] * 15).fails() is None
    assert counted(*right, *["undecided"] * 16).fails() == "cannot tell in 16 of 75"
    assert counted("right", "undecided", "wrong").rate() == Rate(1, 2)


def test_trials_are_made_until_enough_are_decided(monkeypatch, tmp_path):
    """Undecided ones are counted apart and replaced, at most as many as are drawn; what is kept is not made again."""
    made = []

    def decide(trial, reading):
        made.append(trial)
        return ("one step", "cannot tell", "not a gradient step")[len(made) % 3]

    monkeypatch.setattr(Trial, "decide", decide)
    kept = tmp_path / "rows.jsonl"
    (first, *_), enough = measure([QUICK], decided=4, drawn=9, kept=kept), 6
    assert (first.rate().trials, first.undecided, len(first.said)) == (4, 2, enough)
    assert first.rate().errors == first.count("wrong") > 0
    before = len(made)
    again, *_ = measure([QUICK], decided=4, drawn=9, kept=kept)
    assert len(made) == before
    assert again == first
    # A last line that was cut is made again, and another rule makes all of them again.
    kept.write_text(kept.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert len(Kept(kept).known) == before - 1
    monkeypatch.setattr(Trial, "decide", lambda trial, reading: made.append(trial) or "one step")
    measure([QUICK], decided=4, drawn=9, kept=kept)
    assert made[-1] == made[before - 1]
    assert len(Kept(kept).known) == len(set(made))
    monkeypatch.setattr(gd_construction.GdConstruction, "rule", "another")
    assert Kept(kept).get(QUICK, made[0]) is None
    monkeypatch.setattr(Trial, "decide", lambda trial, reading: "cannot tell")
    short = measure([QUICK], decided=4, drawn=5)[0]
    assert (short.rate().trials, short.undecided) == (0, 5)


def test_wrong_rules_show_up_as_errors(monkeypatch):
    """A planted rule that denies everything, and one that grants half a step."""
    for near, missed, alarms in ((gd_construction.NEAR, 0, 0), (-1.0, 3, 0), (0.3, 0, 1)):
        monkeypatch.setattr(gd_construction, "NEAR", near)
        found = [c for c in measure([QUICK], decided=3, drawn=3) if c.cell.variant != "random"]
        assert {(c.cell.holds, c.rate()) for c in found} == {(True, Rate(missed, 3)), (False, Rate(alarms, 3))}


def test_the_shell_prints_rates_and_writes_the_page(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(controls, "READINGS", (QUICK, DISTANCE))
    monkeypatch.setattr(controls, "measure", lambda chosen, **given: measure(chosen, decided=3, drawn=3, **given))
    monkeypatch.setattr(sys, "argv", ["icl", "probe", "--controls", "--only", "gd-construction", "--json"])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--save", str(tmp_path / "new" / "controls.md")])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--kept", str(tmp_path / "kept" / "rows.jsonl")])
    monkeypatch.setenv("ICL_CACHE", "none")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    text = capsys.readouterr()
    found = {(c["variant"], c["holds"]): c for c in json.loads(text.out)}
    assert "rotated, holds: 0 / 3" in text.err
    # Products are exact, whatever the prompts and the disguise: errors here are faults.
    assert all(c["errors"] == 0 and c["trials"] == 3 for c in found.values())
    assert {one["subject"] for c in found.values() for one in c["said"]} == set(unseen(QUICK))
    assert len((tmp_path / "kept" / "rows.jsonl").read_text(encoding="utf-8").splitlines()) == 3 * len(found)
    page = (tmp_path / "new" / "controls.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if "| rotated | holds |" in line)
    cells_of_row = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells_of_row[4:8] == ["3", "0", f"{Rate(0, 3).interval()[1]:.1%}", "0 of 3"]
    assert cells_of_row[8] == "; ".join(name for name, t in unseen(QUICK).items() if t.holds)
    seeds = [one["seed"] for one in found["rotated", True]["said"]]
    assert cells_of_row[9:] == ["; ".join(f"{seed} to {seed}" for seed in seeds), "no: 3 decided trials"]


@pytest.mark.parametrize("name", ["random attention", "random transformer"])
def test_random_learners_say_something_and_another_thing_every_time(name):
    prompts, subject = draw(TINY, jax.random.key(0), 0, 256), SUBJECTS[name]
    first, second = (np.asarray(predict(subject.make(TINY, "random", jax.random.key(k)), prompts).mean) for k in (3, 4))
    for said in (first, second):
        np.testing.assert_allclose(np.mean(said**2), np.mean(np.asarray(prompts.ys) ** 2), rtol=1e-3)
    assert np.mean((first - second) ** 2) > 0.1 * np.mean(first**2)


def test_an_unknown_probe_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'distance'"):
        readings("distances")
    assert probes.names()


def test_a_probe_that_does_not_decide_says_so(monkeypatch):
    task, known = SUBJECTS["one step"].on(TINY), SUBJECTS["one step"].build(TINY, jax.random.key(0))
    measured = probes.get("gd-construction")
    assert measured(known, task=task, key=jax.random.key(0), prompts=8).decision
    monkeypatch.setattr(gd_construction.GdConstruction, "decides", False)
    silent = measured(known, task=task, key=jax.random.key(0), prompts=8)
    assert silent.decision == ""
    assert "decides nothing" in silent.answer
    # Its error rates are measured all the same.
    assert measured.measure(known, task, jax.random.key(0), 8).decision


def test_the_page_in_the_repository_has_every_reading():
    text = DOCS.read_text(encoding="utf-8")
    assert controls.COMMAND in text
    assert re.findall(r"^## (.*: .*)$", text, re.MULTILINE) == [f"{r.probe}: {r.says}" for r in READINGS]
    for cell in every():
        assert f"| {cell.reading.says} | {cell.variant} | {controls_page.SIDES[cell.holds]} |" in text


def test_a_probe_decides_as_the_page_in_the_repository_says():
    """Every number has its trials, and who is out of bounds in one of them decides nothing; at most two end so."""
    lines = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.count("|") == 12]
    numbers = [row for row in rows if row[0] in probes.names()]
    assert len(numbers) == len(every())
    assert all(int(row[4]) >= DECIDED or int(row[7].split(" of ")[1]) == DRAWN for row in numbers)
    failing = {row[0] for row in numbers if row[10] != "yes"}
    assert failing == {name for name in probes.names() if not Probe.registry.find(name).decides}
    assert len(failing) <= 2


def test_the_page_names_a_probe_that_decides_and_must_not(monkeypatch):
    verdicts = enumerate([*["right"] * 58, "wrong", "wrong"])
    poor = Counted(every()[0], tuple(Said(every()[0].subjects[0], n, "", v) for n, v in verdicts))
    name = poor.cell.reading.probe
    assert f"Decide, and by these numbers must not: {name}." in controls_page.markdown([poor])
    monkeypatch.setattr(Probe.registry.find(name), "decides", False)
    page = controls_page.markdown([poor])
    assert f"decide nothing, whatever their rule would say: {name}." in page
    assert "must not" not in page
