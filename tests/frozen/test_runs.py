"""Runs that were written by an earlier commit: they open, are found by the same command, answer as they did, go on.

What resuming gives is compared bit for bit where kind of machine and versions are those of the archive. Elsewhere up to
a tolerance, and with `--full`, where the commit is in the repository, bit for bit with runs that it writes here.
"""

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from icl.handle import Run
from icl.runs.directory import RunDirectory
from icl.runs.metrics import read as read_log
from icl.runs.query import list_runs
from icl.runs.strict_json import unseal
from tests.conftest import rotate
from tests.faults.shell import PROGRAMS
from tests.frozen import recipes, write_runs
from tests.frozen.recipes import RECIPES, result, runs

ROOT = Path(__file__).parents[2]
# Of what is measured and trained, between machines or versions.
TOLERANCE = 5e-3
# Where the runs have to be written first: eight times a minute on a busy machine.
SLOW = pytest.mark.timeout(1800)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "recipe" in metafunc.fixturenames:
        metafunc.parametrize("recipe", chosen(metafunc.config))


def chosen(config: pytest.Config) -> tuple[str, ...]:
    """The runs of the share, which are continued and measured again."""
    return rotate(config, tuple(RECIPES), 1)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> dict[str, Path]:
    """Every archive, unpacked."""
    places = {name: tmp_path_factory.mktemp(name.replace(" ", "-")) for name in RECIPES}
    for name, place in places.items():
        recipes.unpack(name, place)
    return places


@pytest.fixture(scope="module")
def comparable(stored, request, tmp_path_factory) -> tuple[dict[str, Path], bool]:
    """Archives whose runs ours must continue bit for bit, if that can be; else those that are stored."""
    written = json.loads((stored["single"] / "written.json").read_text())
    if {name: value for name, value in written.items() if name != "commit"} == recipes.here():
        return stored, True
    known = subprocess.run(["git", "-C", ROOT, "cat-file", "-e", f"{recipes.COMMIT}^{{commit}}"], check=False)
    if known.returncode or not request.config.getoption("--full"):
        return stored, False
    folder, places = tmp_path_factory.mktemp("archives"), {}
    write_runs.write(folder=folder, names=chosen(request.config))
    for name in chosen(request.config):
        places[name] = tmp_path_factory.mktemp("here")
        recipes.unpack(name, places[name], folder)
    return places, True


@pytest.mark.parametrize("name", RECIPES)
def test_every_run_opens_and_says_what_it_is(stored, name):
    for kind in ("whole", "interrupted"):
        listing = list_runs(stored[name] / kind)
        assert not listing.damaged
        assert len(listing.runs) == {"pack": 3, "fork": 2}.get(name, 1)
        for directory in listing.runs:
            run = Run(directory)
            last = 12 if kind == "whole" or directory.name == "parent" else recipes.STOP
            assert (directory.status.step, run.step) == (last, last)
            assert run.finished == (last == 12)
            assert run.metrics["step"].tolist() == list(range(3, last + 1, 3))


@pytest.mark.parametrize("name", RECIPES)
def test_no_run_names_the_machine_that_wrote_it(stored, name):
    for path in stored[name].rglob("manifest.json"):
        manifest = unseal(path.read_bytes(), path, 1)
        assert (manifest["machine"]["host"], manifest["machine"]["system"]) == ("", "")
        assert not any(word.startswith("/") for word in manifest["command"])


def test_the_same_command_finds_every_run_and_changes_nothing(stored):
    """And prints its stored report. Of plugins that register by decorator nobody knows which code it was: these are
    found by name."""
    names = list(RECIPES)
    jobs = [
        recipes.job(RECIPES[name].words if RECIPES[name].found else RECIPES[name].show, stored[name] / "whole")
        for name in names
    ]
    before = {name: files(stored[name] / "whole") for name in names}
    said = recipes.drive(jobs, ROOT, PROGRAMS)
    for name, (code, out, err) in zip(names, said, strict=True):
        assert code == 0, f"{name}: {err}"
        assert files(stored[name] / "whole") == before[name], f"{name}: the same command trained or wrote something"
        (*_, last) = runs(stored[name] / "whole")
        if name not in ("own module", "pack", "fork"):
            assert (last / "report" / "summary.txt").read_text() in out


class Acted(NamedTuple):
    """What came of a recipe: whole and resumed runs, and the numbers of the report that was stored and is made now."""

    whole: Path
    parts: Path
    then: dict[str, float]
    now: dict[str, float]


@pytest.fixture(scope="module")
def acted(stored, comparable, request, tmp_path_factory) -> dict[str, Acted]:
    """Today's runs resumed, and their reports made again, by commands in one process."""
    names, places, jobs = chosen(request.config), {}, []
    for name in names:
        parts = comparable[0][name] / "interrupted"
        whole = tmp_path_factory.mktemp("again") / "whole"
        shutil.copytree(stored[name] / "whole", whole)
        places[name] = whole, parts, reported(name, whole), numbers(reported(name, whole))
        shutil.rmtree(reported(name, whole))
        jobs += [recipes.job(RECIPES[name].resume, parts), recipes.job(RECIPES[name].show, whole)]
    said = recipes.drive(jobs, ROOT, PROGRAMS)
    assert not [err for code, _, err in said if code]
    return {
        name: Acted(comparable[0][name] / "whole", parts, then, numbers(report))
        for name, (_, parts, report, then) in places.items()
    }


@SLOW
def test_resuming_gives_what_the_whole_run_has(acted, comparable, recipe):
    whole, parts, *_ = acted[recipe]
    assert [run.name for run in runs(parts)] == [run.name for run in runs(whole)]
    for ours, theirs in zip(runs(parts), runs(whole), strict=True):
        a, b = result(ours), result(theirs)
        assert set(a) == set(b)
        if comparable[1]:
            assert [name for name in a if a[name] != b[name]] == [], f"{recipe}: resumed otherwise than before"
        for name, column in read_log(ours / "metrics.jsonl").items():
            np.testing.assert_allclose(column, read_log(theirs / "metrics.jsonl")[name], rtol=TOLERANCE, atol=1e-6)


@SLOW
def test_a_run_answers_as_it_did(acted, recipe):
    """The report is made again, from the stored weights, and has the stored numbers."""
    then, now = acted[recipe].then, acted[recipe].now
    assert set(now) >= set(then), f"{recipe}: gone from its report: {sorted(set(then) - set(now))[:5]}"
    moved = {key: (then[key], now[key]) for key in then if not np.isclose(then[key], now[key], TOLERANCE, 1e-6)}
    assert not moved, (
        f"{recipe}: its report says other numbers than when it was written: {list(moved.items())[:5]}. If a number was "
        "wrong and is mended, name that in CHANGELOG and list the key here with its reason"
    )


def reported(name: str, root: Path) -> Path:
    """The report that `show` makes where it is missing: of the last seed, of the child of a fork."""
    directories = [RunDirectory.open(path) for path in runs(root)]
    left = [d for d in directories if (name != "pack" or d.config["seed"] == 2) and d.name != "parent"]
    (directory,) = left
    return directory.report


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def numbers(report: Path) -> dict[str, float]:
    """Every number of a report, by where it stands."""
    found = {}
    with (report / "table.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            place = "/".join(row[name] for name in ("predictor", "seed", "position", "metric", "normalization"))
            found |= {f"{place}/{name}": float(row[name]) for name in ("value", "low", "high", "n")}
    for name in ("identify", "found"):
        found |= flat(json.loads((report / f"{name}.json").read_text()), name)
    return found


def flat(value: Any, place: str) -> dict[str, float]:
    if isinstance(value, dict):
        return {k: v for name, item in value.items() for k, v in flat(item, f"{place}/{name}").items()}
    if isinstance(value, list):
        return {k: v for index, item in enumerate(value) for k, v in flat(item, f"{place}/{index}").items()}
    return {place: float(value)} if isinstance(value, int | float) else {}
