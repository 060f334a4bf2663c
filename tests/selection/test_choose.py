"""Which tests run after a change, on a small made-up repository; and that what always runs leaves room in this one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.selection import changes, choose, durations, select
from tests.selection.conftest import CONTRACT, CORE_HERE, FILES, commit, write
from tests.selection.core import CORE
from tests.selection.graph import Graph

ROOT = Path(__file__).parents[2]


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
    assert found.modules == ("icl.references.lasso",)
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
