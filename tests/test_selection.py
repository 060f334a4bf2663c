"""Which tests run after a change, on a small made-up repository; and that what always runs leaves room in this one."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import SELECTION, rotate
from tests.selection import Selection, changes, choose, durations, record, select
from tests.selection.core import CORE
from tests.selection.graph import Graph

ROOT = Path(__file__).parent.parent
CONTRACT = "tests/references/test_contract.py"
FILES = {
    "icl/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from icl.report import draw\n",
    "icl/references/__init__.py": "",
    "icl/references/base.py": "class Reference: ...\n",
    "icl/references/fitting.py": "",
    "icl/references/lasso.py": "from icl.references import fitting\n@R.registry.add('lasso')\nclass Lasso: ...\n",
    "icl/references/ridge.py": "@Reference.registry.add('ridge', papers=('x',))\nclass Ridge: ...\n",
    "icl/scoring.py": "",
    "icl/report.py": "def draw():\n    from icl.scoring import score\n",
    "icl/page.py": "from icl import report\n",
    "icl/words.toml": "",
    "tests/conftest.py": "",
    "tests/house.py": "",
    "tests/test_house.py": "",
    CONTRACT: "from tests.conftest import rotate\nnames = rotate(config, references.names())\n",
    "tests/references/test_lasso.py": "",
    "tests/references/test_twins.py": "task = references.get('ridge')\n",
    "tests/test_all.py": "import icl.page\n",
    "tests/test_report.py": "import icl.report\n",
    "tests/test_scoring.py": "from icl import scoring\n",
    "tests/test_words.py": "(ROOT / 'icl' / 'words.toml').read_text()\n",
    "tests/test_shell.py": "run('-m', 'icl.report')\n",
    **{f"tests/far/test_{letter}.py": "" for letter in "abcd"},
}
# Files outside the core whose turn it is are no news; these tests look at the others.
CORE_HERE = ("tests/test_house.py", CONTRACT)


def git(root, *words):
    who = {f"GIT_{one}_{what}": "nobody" for one in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, env={**os.environ, **who, **alone})


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def commit(root, files):
    write(root, files)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "one")


@pytest.fixture
def repository(tmp_path):
    """One commit, which is that of the last full run, and a table in which every file takes a second."""
    root = tmp_path / "here"
    costs = {name: 1 for name in FILES if "/test_" in name}
    root.mkdir()
    git(root, "init", "-q")
    commit(root, FILES | {durations.TABLE: json.dumps(costs)})
    commit(root, {choose.LAST_FULL: changes.head(root) + "\n"})
    return root


@pytest.fixture(autouse=True)
def _one_file_a_turn(monkeypatch):
    monkeypatch.setattr(choose, "TURN", 1)


def touched(root, **options):
    """Selected beside the core and the share."""
    found = select(root, core=CORE_HERE, **options)
    graph = Graph(root)
    costs = durations.read(root / durations.TABLE)
    turn = choose.turn(graph.tests, CORE_HERE, costs, found.share)
    assert {*CORE_HERE, *turn} <= set(found.files)
    return found, {path for path in found.files if path not in CORE_HERE and path not in turn}


def share_without(root, *files):
    """A share in which none of these files has its turn, so that a change alone can select them."""
    costs, graph = durations.read(root / durations.TABLE), Graph(root)
    return next(n for n in range(50) if not set(choose.turn(graph.tests, CORE_HERE, costs, n)) & set(files))


def test_a_changed_member_selects_its_owner_and_its_contract(repository):
    write(repository, {"icl/references/lasso.py": FILES["icl/references/lasso.py"] + "x = 1\n"})
    found, files = touched(repository, share=share_without(repository, "tests/references/test_lasso.py"))
    assert files == {"tests/references/test_lasso.py"}
    assert found.members == ("lasso",)
    assert CONTRACT in found.files
    assert not found.left
    write(repository, {"icl/references/ridge.py": FILES["icl/references/ridge.py"] + "x = 1\n"})
    found, files = touched(repository, share=share_without(repository, "tests/references/test_twins.py"))
    assert found.members == ("lasso", "ridge"), "the test says its name"
    assert "tests/references/test_twins.py" in files


def test_what_few_members_use_changes_them_and_what_many_use_does_not(repository, monkeypatch):
    write(repository, {"icl/references/fitting.py": "x = 1\n"})
    assert touched(repository)[0].members == ("lasso",)
    monkeypatch.setattr(choose, "FAMILY", 0)
    assert touched(repository)[0].members == ()


def test_a_changed_core_selects_its_importers_also_the_lazy_ones_and_in_strings(repository):
    write(repository, {"icl/scoring.py": "x = 1\n"})
    wanted = {"tests/test_all.py", "tests/test_report.py", "tests/test_scoring.py", "tests/test_shell.py"}
    found, files = touched(repository, share=share_without(repository, *wanted))
    assert files == wanted
    assert found.members == ()
    assert not found.left


def test_a_package_ties_only_what_it_imports_at_once(repository):
    """For type checkers `icl` imports the report; `icl.scoring` does not depend on it for that."""
    write(repository, {"icl/report.py": FILES["icl/report.py"] + "x = 1\n"})
    assert (
        "tests/test_scoring.py" not in touched(repository, share=share_without(repository, "tests/test_scoring.py"))[1]
    )
    write(repository, {"icl/__init__.py": "x = 1\n"})
    assert "tests/test_scoring.py" in touched(repository, share=share_without(repository, "tests/test_scoring.py"))[1]


@pytest.mark.parametrize("committed", [False, True])
def test_files_that_are_gone_new_renamed_or_no_python(repository, committed):
    (repository / "icl/scoring.py").unlink()
    (repository / "tests/far/test_a.py").rename(repository / "tests/far/test_e.py")
    write(repository, {"icl/words.toml": "x = 1\n"})
    if committed:
        commit(repository, {})
    wanted = {"tests/test_scoring.py", "tests/test_report.py", "tests/test_words.py", "tests/far/test_e.py"}
    files = touched(repository, share=share_without(repository, *wanted))[1]
    assert wanted <= files
    assert not {f"tests/far/test_{letter}.py" for letter in "bcd"} & files


def test_since_another_commit(repository):
    commit(repository, {"icl/scoring.py": "x = 1\n"})
    away = share_without(repository, "tests/test_scoring.py")
    assert "tests/test_scoring.py" in touched(repository, share=away)[1]
    assert touched(repository, since="HEAD", share=away)[1] == set()
    for wrong in ("nothing", "--output=elsewhere"):
        with pytest.raises(changes.Unknown):
            select(repository, since=wrong)


def test_a_budget_cuts_the_farthest_and_says_so(repository):
    """All that changed files touch takes longer than there is: core, share, owners and near importers stay."""
    paths = ("tests/test_scoring.py", "tests/test_report.py", "tests/test_shell.py", "tests/test_all.py")
    costs = durations.read(repository / durations.TABLE)

    def left(seconds):
        write(repository, {durations.TABLE: json.dumps(costs | dict.fromkeys(paths, seconds))})
        return select(repository, since="HEAD", share=share_without(repository, *paths), core=CORE_HERE)

    write(repository, {"icl/scoring.py": "x = 1\n"})
    whole = (choose.BUDGET - choose.START) / choose.SLACK
    assert left(whole + 1).left == paths
    found = left(0.9 * whole)
    assert {*CORE_HERE, *paths[:2]} <= set(found.files)
    assert found.left == paths[2:]
    assert found.seconds <= choose.BUDGET
    (line,) = found.left_out(names=True)
    assert "test files: 2" in line
    assert "tests/test_shell.py, tests/test_all.py" in line
    assert "tests/test_shell.py" not in found.left_out(names=False)[0]


def test_a_budget_cuts_contracts_of_members_too(repository, monkeypatch):
    write(repository, {"icl/references/lasso.py": "@R.registry.add('lasso')\nclass L: ...\n"})
    write(repository, {"icl/references/ridge.py": "@R.registry.add('ridge')\nclass R: ...\n"})
    costs = durations.read(repository / durations.TABLE)
    dear = (choose.BUDGET - choose.START - 10) / choose.SLACK / (1 + choose.PART)
    write(repository, {durations.TABLE: json.dumps(costs | {CONTRACT: dear})})
    found = select(repository, core=CORE_HERE)
    assert found.members == ("lasso",)
    assert found.members_left == ("ridge",)
    assert "ridge" in found.left_out(names=True)[-1]


def test_without_git_or_the_commit_a_core_and_a_share(repository, tmp_path):
    bare = tmp_path / "archive"
    write(bare, FILES)
    inside = repository / "unpacked"
    write(inside, FILES | {choose.LAST_FULL: changes.head(repository) + "\n"})
    write(repository, {choose.LAST_FULL: "1" * 40 + "\n", "icl/scoring.py": "x = 1\n"})
    for root in (bare, inside, repository):
        found, files = touched(root)
        assert files == set()
        assert "not known" in found.header()
        assert not found.left
    (repository / choose.LAST_FULL).unlink()
    assert touched(repository)[1] == set()


def test_one_commit_is_one_selection_whatever_the_day(repository):
    commit(repository, {"icl/scoring.py": "x = 1\n", "icl/references/lasso.py": "x = 1\n"})
    code = """if True:
        import datetime, sys, time
        from pathlib import Path
        day = int(sys.argv[2])
        time.time = lambda: day * 86400.0
        class Day(datetime.date):
            today = classmethod(lambda cls: cls.fromordinal(day))
        datetime.date = Day
        from tests.selection import select
        print(select(Path(sys.argv[1])))"""
    said = {
        subprocess.run(
            [sys.executable, "-c", code, repository, str(day)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(day), "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for day in (738_000, 738_001, 738_005)
    }
    assert len(said) == 1
    assert "tests/test_scoring.py" in said.pop()
    before = select(repository).share
    commit(repository, {})
    assert select(repository).share == before + 1


def test_every_file_has_its_turn_and_what_always_runs_leaves_room(monkeypatch):
    """In this repository: at any commit there is time for the core, the share, and some of what changed."""
    monkeypatch.undo()
    graph, costs = Graph(ROOT), durations.read(ROOT / durations.TABLE)
    assert set(CORE) <= set(graph.tests)
    turns, seconds = [], []
    while (now := choose.turn(graph.tests, CORE, costs, len(turns))) not in turns:
        turns.append(now)
        always = [costs.get(path, durations.UNKNOWN) for path in (*CORE, *now)]
        seconds.append(choose.START + choose.SLACK * durations.wall(always, choose.WORKERS))
    assert sorted(path for now in turns for path in now) == sorted(set(graph.tests) - set(CORE))
    assert max(seconds) < 0.75 * choose.BUDGET


def test_workers_do_what_the_first_process_chose_the_dearest_file_first(request):
    """xdist would sort files by their number of tests."""
    assert request.config.option.loadscopereorder is False
    found = Selection(3, ("a",), ("b",), ("c",), why="so")
    assert Selection(**dataclasses.asdict(found)) == found
    assert durations.wall([5, 4, 3, 3, 1], 2) == 8


def asked(selection, full=False):
    return SimpleNamespace(stash={SELECTION: selection}, getoption={"--full": full}.get)


def test_a_share_turns_and_changed_members_join_it():
    names = tuple(f"n{i}" for i in range(20))
    shares = [rotate(asked(Selection(share)), names, 5) for share in range(4)]
    assert sorted(name for share in shares for name in share) == sorted(names)
    away = next(share for share in range(4) if "n7" not in shares[share])
    assert set(rotate(asked(Selection(away, members=("n7",))), names, 5)) == {"n7", *shares[away]}
    cases = tuple((name, 1) for name in names)
    assert ("n7", 1) in rotate(asked(Selection(away, members=("n7",))), cases, 5)
    keys = tuple(f"batch/{name}" for name in names)
    assert "batch/n7" in rotate(asked(Selection(away, members=("n7",))), keys, 5)
    by = lambda index: {names[index]}  # noqa: E731
    assert 7 in rotate(asked(Selection(away, members=("n7",))), tuple(range(20)), 5, by)
    assert rotate(asked(Selection(0), full=True), names) == names


def ran(root, exitstatus=0, costs=None, full=True, measure=False, meanwhile=lambda: None, **options):
    option = SimpleNamespace(**{"file_or_dir": [], **options})
    kept = record.Record(root, SimpleNamespace(option=option, getoption={"--full": full, "--measure": measure}.get))
    meanwhile()
    kept.write(costs or {}, exitstatus)
    return (root / choose.LAST_FULL).read_text().strip()


def test_only_a_green_whole_run_of_a_clean_tree_is_the_last_full_one(repository):
    before = (repository / choose.LAST_FULL).read_text().strip()
    assert ran(repository, exitstatus=1) == before
    assert ran(repository, full=False) == before
    assert ran(repository, keyword="ridge") == before
    assert ran(repository, file_or_dir=["tests/references"]) == before
    assert ran(repository, meanwhile=lambda: write(repository, {"new.py": ""})) == before
    assert ran(repository) == before, "another file is there"
    (repository / "new.py").unlink()
    assert ran(repository, meanwhile=lambda: commit(repository, {"new.py": ""})) == before
    assert ran(repository) == changes.head(repository) != before


def test_durations_are_written_where_they_moved(repository):
    table = lambda: durations.read(repository / durations.TABLE)  # noqa: E731
    before = table()
    costs = {"tests/far/test_a.py": 2.6, "tests/far/test_b.py": 33.0, CONTRACT: 90.0, "tests/gone/test_x.py": 5.0}
    ran(repository, costs=costs, full=False)
    ran(repository, costs=costs, full=False, measure=True, exitstatus=1)
    ran(repository, costs=costs, full=False, measure=True, keyword="some")
    assert table() == before
    ran(repository, costs=costs)
    assert table() == before | {"tests/far/test_b.py": 35}, "all members of a registry are not a share of them"
    ran(repository, costs=costs, full=False, measure=True)
    assert table() == before | {"tests/far/test_b.py": 35, CONTRACT: 90}
