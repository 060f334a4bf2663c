"""How a run stands: told apart by the lock's file, and empty runs that are removed."""

import json
import os
import platform
import time
from pathlib import Path

import pytest

from icl.runs import NotARun, RunDirectory, State, lock
from icl.runs.errors import BadName
from icl.runs.query import find
from icl.runs.records import check_name
from icl.runs.strict_json import seal
from tests.runs.test_run_directory import create


def test_a_run_whose_process_ended_is_told_from_one_that_trains(tmp_path):
    """By the lock's file alone, which readers never lock."""
    run = create(tmp_path)
    with run.lock():
        run.set_status(State.RUNNING, 17)
        assert run.status.state is State.RUNNING
        assert "step 17" in str(run.status)
        old = time.time() - 2 * lock.SILENT
        os.utime(run.path / "lock", (old, old))
        assert run.status.state is State.INTERRUPTED
    run.set_status(State.RUNNING, 17)
    (run.path / "checkpoints" / "step-00000012").mkdir()
    assert (run.status.state, run.status.step) == (State.INTERRUPTED, 12)
    assert "about step 17" in run.status.detail


def test_another_machine_is_believed_by_its_heartbeat(tmp_path):
    run = create(tmp_path)
    run.set_status(State.RUNNING, 3)
    (run.path / "lock").write_text('{"host":"elsewhere","pid":1,"started":"2026-01-01"}\n')
    assert run.status.state is State.RUNNING
    (run.path / "lock").write_text(f'{{"host":"{platform.node()}","pid":{2**22 + 1},"started":"2026-01-01"}}\n')
    assert run.status.state is State.INTERRUPTED


def test_an_empty_run_is_discarded_and_nothing_else_is(tmp_path):
    run = create(tmp_path)
    (run.path / "notes.txt").write_text("mine")
    run.discard()
    assert (run.path / "status.json").exists()
    (run.path / "notes.txt").unlink()
    (run.checkpoints / "step-00000000").mkdir()
    run.discard()
    assert (run.path / "status.json").exists()
    (run.checkpoints / "step-00000000").rmdir()
    run.discard()
    assert not run.path.exists()


@pytest.mark.parametrize("name", ["a/b", "../x", "depth=4", "last", "--flag", "a\x1b[31mb", "x" * 101, "", " "])
def test_a_name_that_no_command_could_say_is_refused_with_one_that_it_can(tmp_path, name):
    with pytest.raises(BadName, match=r"nearest|say") as caught:
        create(tmp_path, name=name)
    nearest = str(caught.value).rpartition("'")[0].rpartition("'")[2]
    check_name(nearest)
    assert not list(tmp_path.iterdir())
    run = create(tmp_path, name="fine")
    with pytest.raises(BadName):
        run.called(name)
    assert find(tmp_path, "fine").name == "fine"


@pytest.mark.parametrize("name", [3, b"x", Path("x"), ["x"]])
def test_a_name_is_a_text(name):
    with pytest.raises(BadName, match="expected a text"):
        check_name(name)


@pytest.mark.parametrize("name", ["depths", "λ sweep", "run 3.1+b", "me@home", "_x"])
def test_other_names_are_kept_as_they_are(tmp_path, name):
    create(tmp_path, name=name)
    assert find(tmp_path, name).name == name


@pytest.mark.parametrize("name", ["a/b", "x=1"])
def test_names_of_earlier_versions_stay_reachable(tmp_path, name):
    run = create(tmp_path)
    fields = {k: v for k, v in json.loads((run.path / "manifest.json").read_text()).items() if k != "checksum"}
    (run.path / "manifest.json").write_bytes(seal({**fields, "name": name}))
    assert find(tmp_path, name).path == run.path


@pytest.mark.parametrize("identity", [3, "short", None])
def test_nothing_is_written_that_cannot_be_read(tmp_path, identity):
    """Whatever a caller hands in: refused, with no half of a run left."""
    with pytest.raises((NotARun, ValueError, TypeError)):
        RunDirectory.create(tmp_path, {"task": {"name": "a"}}, identity, {})
    assert not list(tmp_path.iterdir())
    with pytest.raises((NotARun, TypeError, ValueError)):
        RunDirectory.create(tmp_path, {"task": {"name": "a"}, "deep": _nested(100)}, "0123456789abcdef", {})
    with pytest.raises((NotARun, TypeError, ValueError)):
        RunDirectory.create(tmp_path, {"task": {"name": "a"}}, "0123456789abcdef", {"deep": _nested(100)})
    assert not list(tmp_path.rglob("*.json"))


def _nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value
