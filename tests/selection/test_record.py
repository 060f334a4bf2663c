"""What every run does with its selection, and what it leaves for the next one."""

import dataclasses
from types import SimpleNamespace

from tests.conftest import SELECTION, rotate
from tests.selection import Selection, changes, choose, durations, record
from tests.selection.conftest import CONTRACT, commit, write


def test_workers_do_what_the_first_process_chose_the_dearest_file_first(request):
    """xdist would sort files by their number of tests."""
    assert request.config.option.loadscopereorder is False
    found = Selection(3, ("a",), ("b",), ("c",), why="so")
    assert Selection(**dataclasses.asdict(found)) == found
    assert durations.wall([5, 4, 3, 3, 1], 2) == 8
    assert Selection(0, why="everything").header() == "everything"
    assert "--share 3" in dataclasses.replace(found, of=2).header()


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
    assert "n7" in rotate(asked(Selection(away, modules=("n7",))), names, 5)
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
