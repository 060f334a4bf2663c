"""Kept arrays are measured once for a run, a step and arguments, and again when their file is damaged."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.kept import kept

calls: list[tuple[str, int, str]] = []


@kept(version=1)
def squares(run, word):
    calls.append((run.identity, run.step, word))
    return {"values": np.arange(3.0) ** 2 + len(word)}


@pytest.fixture
def run(tmp_path):
    calls.clear()
    return SimpleNamespace(path=tmp_path / "a-run", identity="0123456789", step=7)


def files(run) -> list[Path]:
    return sorted((run.path.parent / "results" / "arrays").glob("*.npz"))


def test_measured_once_for_everything_that_a_number_depends_on(run):
    first = squares(run, "ab")
    np.testing.assert_array_equal(squares(run, "ab")["values"], first["values"])
    assert calls == [("0123456789", 7, "ab")]
    squares(run, "abc")
    squares(SimpleNamespace(path=run.path, identity="0123456789", step=8), "ab")
    squares(SimpleNamespace(path=run.path, identity="9876543210", step=7), "ab")
    assert len(calls) == len(files(run)) == 4


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 but no archive", None])
def test_a_damaged_file_is_measured_again(run, damage):
    first = squares(run, "ab")
    (file,) = files(run)
    file.write_bytes(file.read_bytes()[:-40] if damage is None else damage)
    np.testing.assert_array_equal(squares(run, "ab")["values"], first["values"])
    assert len(calls) == 2
    squares(run, "ab")
    assert len(calls) == 2


def test_a_pickle_in_the_file_is_never_opened(run, tmp_path):
    squares(run, "ab")
    (file,) = files(run)

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.savez(file, values=np.array([Trap()], dtype=object))
    squares(run, "ab")
    assert not (tmp_path / "sprung").exists()
    assert len(calls) == 2


def test_what_cannot_be_written_is_measured_every_time(run):
    (run.path.parent / "results").write_text("a file where the directory would be")
    squares(run, "ab")
    squares(run, "ab")
    assert len(calls) == 2
