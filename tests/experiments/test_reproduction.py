"""Reproducing: what is measured is kept, a killed process loses one claim at most, foreign files are refused."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import experiments
import figures
from experiments import papers, reproduction, results, scoreboard
from experiments.reproduction import reproduce
from experiments.verdicts import OUT_OF_REACH, REPRODUCED, revive
from function_classes.fields import ConfigError
from icl import cli
from icl.runs import atomic
from icl.runs.errors import Diverged, Incompatible, NotARun, NotFound, StorageError
from icl.runs.strict_json import seal
from tests.experiments.constructed import EXPERIMENT, MEASURES

ROOT = Path(__file__).parents[2]
RUN = "import sys; from tests.experiments.constructed import *; from experiments.reproduction import reproduce as r; "


@pytest.fixture
def notes(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    return lambda: (tmp_path / "notes").read_text().split() if (tmp_path / "notes").exists() else []


def test_what_is_measured_is_kept(tmp_path, notes):
    verdicts = {v.claim.id: v for v in reproduce(EXPERIMENT, runs=tmp_path)}
    assert list(verdicts) == list(papers.read(EXPERIMENT.paper))
    assert {name for name, verdict in verdicts.items() if verdict.word == REPRODUCED} == set(MEASURES)
    assert verdicts["interpolation"].word == OUT_OF_REACH
    assert verdicts["interpolation"].why == "nothing is trained here"
    assert notes() == ["one-layer-loss", "construction-k-steps"]
    path = results.place(tmp_path, "constructed", "cpu")
    written = path.stat().st_mtime_ns
    assert {v.claim.id: v for v in reproduce(EXPERIMENT, runs=tmp_path)} == verdicts
    assert path.stat().st_mtime_ns == written
    assert notes() == ["one-layer-loss", "construction-k-steps"]


def changed(claim: str, **words) -> dict:
    """The measures with other words of one of them."""
    return MEASURES | {claim: dataclasses.replace(MEASURES[claim], **words)}


@pytest.mark.parametrize("what", ["claim", "version", "program", "nothing"])
def test_what_a_verdict_depends_on_makes_it_measured_again(tmp_path, notes, monkeypatch, what):
    """Another program is none of it: what changes a value raises the version of its measure."""
    experiment = EXPERIMENT
    reproduce(experiment, runs=tmp_path, only="one-layer-loss")
    if what == "claim":
        claims = papers.read(EXPERIMENT.paper)
        claims["one-layer-loss"] = dataclasses.replace(claims["one-layer-loss"], criterion="at most 0.9 for each seed")
        monkeypatch.setattr(papers, "read", lambda *_: claims)
    elif what == "version":
        experiment = dataclasses.replace(EXPERIMENT, measures=changed("one-layer-loss", version=2))
    elif what == "program":
        monkeypatch.setattr(results, "version", lambda: "0.0.0")
    (verdict,) = reproduce(experiment, runs=tmp_path, only="one-layer-loss")
    assert verdict.word == ("contradicted" if what == "claim" else REPRODUCED)
    assert len(notes()) == (2 if what in ("claim", "version") else 1)


def test_a_key_knows_claim_scale_runs_and_the_version_of_the_measure():
    first, second = list(papers.read(EXPERIMENT.paper).values())[:2]
    runs = {"a": ["1", "2"]}
    keys = [results.key(first, "cpu", runs, 1), results.key(second, "cpu", runs, 1)]
    keys += [results.key(first, "paper", runs, 1), results.key(first, "cpu", runs, 2)]
    keys += [results.key(first, "cpu", other, 1) for other in ({"a": ["1", "3"]}, {"a": ["1"]}, {"b": ["1", "2"]})]
    assert len(set(keys)) == len(keys)


def test_what_is_believed_stands_beside_a_contradicted_claim_alone(tmp_path, notes, monkeypatch):
    said = changed("one-layer-loss", remark="tried twice") | {
        "construction-k-steps": dataclasses.replace(MEASURES["construction-k-steps"], remark="-")
    }
    experiment = dataclasses.replace(EXPERIMENT, measures=said)
    claims = papers.read(EXPERIMENT.paper)
    claims["one-layer-loss"] = dataclasses.replace(claims["one-layer-loss"], criterion="at most 0.9 for each seed")
    monkeypatch.setattr(papers, "read", lambda *_: claims)
    verdicts = {v.claim.id: v for v in reproduce(experiment, runs=tmp_path)}
    assert verdicts["one-layer-loss"].why == "tried twice"
    assert "tried twice" in str(verdicts["one-layer-loss"])
    assert verdicts["construction-k-steps"].why == ""
    again = dataclasses.replace(EXPERIMENT, measures=changed("one-layer-loss", remark="tried thrice"))
    before = notes()
    assert {v.claim.id: v.why for v in reproduce(again, runs=tmp_path)}["one-layer-loss"] == "tried thrice"
    assert notes() == before


def test_only_one_claim_leaves_the_others(tmp_path, notes):
    reproduce(EXPERIMENT, runs=tmp_path, only="construction-k-steps")
    reproduce(EXPERIMENT, runs=tmp_path, only="one-layer-loss")
    assert notes() == ["construction-k-steps", "one-layer-loss"]
    assert set(results.load(results.place(tmp_path, "constructed", "cpu"))) == set(MEASURES)


def test_two_processes_keep_each_others_results(tmp_path, notes, monkeypatch):
    path = results.place(tmp_path, "constructed", "cpu")

    def meanwhile(runs, scale):
        reproduce(EXPERIMENT, runs=tmp_path, only="construction-k-steps")
        return MEASURES["one-layer-loss"].of(runs, scale)

    busy = dataclasses.replace(EXPERIMENT, measures=changed("one-layer-loss", of=meanwhile))
    reproduce(busy, runs=tmp_path, only="one-layer-loss")
    assert set(results.load(path)) == set(MEASURES)


def test_a_killed_process_goes_on_where_it_was(tmp_path, notes):
    words = [sys.executable, "-c", RUN + "r(EXPERIMENT, runs=sys.argv[1])", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KILLED_AT": "construction-k-steps"}
    assert subprocess.run(words, env=environment, cwd=tmp_path, timeout=120).returncode == -9
    assert notes() == ["one-layer-loss"]
    assert len(reproduce(EXPERIMENT, runs=tmp_path)) == len(papers.read(EXPERIMENT.paper))
    assert notes() == ["one-layer-loss", "construction-k-steps"]


def test_a_diverged_run_takes_down_only_the_claims_that_need_it(tmp_path, notes, monkeypatch):
    run = SimpleNamespace(finished=False, path="runs/x", directory=SimpleNamespace(status="step 3: diverged"))
    monkeypatch.setattr(reproduction, "_train", lambda *_: {"one-layer": (run,), "other": ()})
    alone = dataclasses.replace(EXPERIMENT, measures=changed("construction-k-steps", needs=("other",)))
    with pytest.raises(Diverged, match="one-layer-loss: runs/x: step 3: diverged"):
        reproduce(alone, runs=tmp_path)
    assert notes() == ["construction-k-steps"]
    assert "construction-k-steps" in results.load(results.place(tmp_path, "constructed", "cpu"))


def test_a_full_disk_leaves_the_results_there_were(tmp_path, notes, monkeypatch):
    reproduce(EXPERIMENT, runs=tmp_path, only="construction-k-steps")
    path = results.place(tmp_path, "constructed", "cpu")
    before, refused = results.load(path), 0
    for at in range(1, 50):
        monkeypatch.setattr(atomic, "fault", atomic.Fault("enospc", at))
        try:
            results.add(path, "construction-k-steps", before["construction-k-steps"]._replace(key=str(at)))
        except StorageError:
            refused += 1
            assert results.load(path) == before or results.load(path)["construction-k-steps"].key == str(at)
        else:
            break
    assert refused >= 4
    assert not list(path.parent.glob(".tmp*"))


def test_names_that_mean_nothing(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'one-layer-loss'"):
        reproduce(EXPERIMENT, runs=tmp_path, only="one-layer-los")
    with pytest.raises(ConfigError, match="did you mean 'cpu'"):
        reproduce(EXPERIMENT, runs=tmp_path, scale="cpus")
    with pytest.raises(ConfigError, match="did you mean 'default-run'"):
        experiments.reproduce("defaultrun", runs=tmp_path)
    lazy = dataclasses.replace(EXPERIMENT, unmeasured={})
    with pytest.raises(ConfigError, match="'interpolation' has neither a measure nor a reason"):
        reproduce(lazy, runs=tmp_path)
    wild = dataclasses.replace(EXPERIMENT, measures={**MEASURES, "interpolatio": MEASURES["one-layer-loss"]})
    with pytest.raises(ConfigError, match="no claim 'interpolatio'; did you mean 'interpolation'"):
        reproduce(wild, runs=tmp_path)
    astray = dataclasses.replace(EXPERIMENT, measures=changed("one-layer-loss", needs=("two-layer",)))
    with pytest.raises(ConfigError, match="needs configurations 'two-layer'; did you mean 'one-layer'"):
        reproduce(astray, runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_results_of_another_schema_or_damaged_are_refused(tmp_path, notes):
    path = results.place(tmp_path, "constructed", "cpu")
    path.parent.mkdir()
    for schema, said in ((results.SCHEMA + 1, "upgrade"), (results.SCHEMA - 1, "no longer reads")):
        path.write_bytes(seal({"schema": schema, "claims": {}}))
        with pytest.raises(Incompatible, match=said):
            reproduce(EXPERIMENT, runs=tmp_path)
    path.write_bytes(seal({"schema": results.SCHEMA, "claims": {"a": {"key": "b"}}}))
    with pytest.raises(NotARun, match="holds no results"):
        reproduce(EXPERIMENT, runs=tmp_path)
    path.write_bytes(seal({"schema": results.SCHEMA, "claims": {}}).replace(b"claims", b"claimz"))
    with pytest.raises(NotARun, match="damaged"):
        reproduce(EXPERIMENT, runs=tmp_path)


def rows(path):
    return {
        tuple(cells[:2]): cells[2:]
        for cells in (line[2:-2].split(" | ") for line in path.read_text().splitlines() if line.startswith("| "))
    }


def test_the_scoreboard_has_a_row_for_every_claim_and_keeps_what_others_measured(tmp_path, notes, monkeypatch):
    reproduce(EXPERIMENT, runs=tmp_path)
    path, known = tmp_path / "deep" / "SCOREBOARD.md", {"constructed": EXPERIMENT}
    assert scoreboard.write(path, known, tmp_path) == path
    found = rows(path)
    assert len(found) == 1 + sum(len(papers.read(name)) for name in papers.names())
    _, _, word, measured, seeds, version = found[EXPERIMENT.paper, "one-layer-loss"]
    assert (word, measured, version) == (REPRODUCED, "1.01 (1.01 to 1.01)", results.version())
    assert seeds == "1, 0.99, 1.01, 1, 1"
    assert found[EXPERIMENT.paper, "interpolation"][2].startswith(OUT_OF_REACH)
    assert found["zhang-2023", "global-minimum"][2] == scoreboard.UNMEASURED
    scoreboard.write(path, known, tmp_path / "elsewhere")
    assert rows(path) == found
    text = path.read_text()
    claims = papers.read(EXPERIMENT.paper)
    claims["one-layer-loss"] = dataclasses.replace(claims["one-layer-loss"], criterion="at most 0.9 for each seed")
    monkeypatch.setattr(papers, "read", lambda *_: claims)
    monkeypatch.setattr(papers, "names", lambda: (EXPERIMENT.paper,))
    scoreboard.write(path, known, tmp_path)
    assert rows(path)[EXPERIMENT.paper, "one-layer-loss"][2] == scoreboard.UNMEASURED
    path.write_text(text.replace("schema 1", "schema 0"))
    with pytest.raises(Incompatible, match="schema 0"):
        scoreboard.write(path, known, tmp_path)
    path.write_text("# My notes\n")
    with pytest.raises(NotARun, match="no scoreboard"):
        scoreboard.write(path, known, tmp_path)
    assert path.read_text() == "# My notes\n"


def test_smoke_scale_runs_and_the_figure_draws_it(tmp_path):
    with pytest.raises(NotFound, match="icl reproduce default-run --scale smoke"):
        figures.draw("distance-to-bayes", scale="smoke", runs=tmp_path, save=tmp_path / "f")
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(NotARun, match="no scoreboard"):
        experiments.reproduce("default-run", scale="smoke", runs=tmp_path, table=tmp_path / "notes.md")
    assert len(list(tmp_path.iterdir())) == 1, "refused before anything is trained"
    (verdict,) = experiments.reproduce("default-run", scale="smoke", runs=tmp_path)
    assert verdict.word == OUT_OF_REACH
    assert verdict.seeds == 2
    assert 0 < verdict.findings[0].interval.low < verdict.findings[0].interval.high < 2
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert experiments.reproduce("default-run", scale="smoke", runs=tmp_path) == [verdict]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == trained
    words = "reproduce", "default-run", "--scale", "smoke", "--out", str(tmp_path), "--json"
    said = CliRunner().invoke(cli.app, [*words, "--scoreboard", str(tmp_path / "SCOREBOARD.md")])
    assert [revive(found) for found in json.loads(said.stdout)] == [verdict]
    assert rows(tmp_path / "SCOREBOARD.md")["default-run", verdict.claim.id][2] == scoreboard.UNMEASURED
    paths = figures.draw("distance-to-bayes", scale="smoke", runs=tmp_path, save=tmp_path / "f")
    assert {p.suffix for p in paths} == {".png", ".pdf", ".txt"}
    assert "interval" in (tmp_path / "f" / "distance-to-bayes.txt").read_text()
