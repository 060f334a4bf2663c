import json
import math
import os

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from icl.runs import MetricsLog, NotARun, StorageError, atomic, metrics


def write(path, rows):
    with MetricsLog(path) as log:
        log.append(rows)
        log.sync()


def rows(start, stop):
    return [
        {"step": s, "loss": np.float32(1 / s), "ok": s > 1, "curve": np.arange(2.0) * s} for s in range(start, stop)
    ]


def test_columns(tmp_path):
    path = tmp_path / "metrics.jsonl"
    more = [
        {"step": 7, "loss": math.nan, "note": "é"},
        {"step": np.int64(9), "loss": -math.inf, "curve": [1, math.inf]},
    ]
    write(path, rows(1, 3) + more)
    table = metrics.read(path)
    assert list(table) == ["step", "loss", "ok", "curve", "note"]
    assert table["step"].dtype == np.int64
    np.testing.assert_array_equal(table["step"], [1, 2, 7, 9])
    np.testing.assert_array_equal(table["loss"], [1.0, 0.5, np.nan, -np.inf])
    np.testing.assert_array_equal(table["ok"], [0, 1, np.nan, np.nan])
    np.testing.assert_array_equal(table["curve"], [[0, 1], [0, 2], [np.nan, np.nan], [1, np.inf]])
    assert list(table["note"]) == ["", "", "é", ""]
    assert metrics.read(tmp_path / "none")["step"].shape == (0,)


@hypothesis.given(
    st.lists(st.integers(0, 40), unique=True).map(sorted),
    st.integers(-1, 41),
    st.integers(0, 30),
    st.binary(max_size=9),
)
def test_resuming_leaves_the_same_bytes(tmp_path_factory, steps, checkpoint, cut, stray):
    """Whatever was logged after the checkpoint, torn, or strewn behind it, cutting back and going on repeats it."""
    hypothesis.assume(b"{" not in stray)
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    logged = [{"step": s, "loss": s / 7} for s in steps]
    write(path, logged)
    whole = path.read_bytes()
    kept = sum(len(line) for line in whole.splitlines(True)[: sum(s <= checkpoint for s in steps)])
    path.write_bytes(whole[: max(kept, len(whole) - cut)] + stray)
    metrics.cut_back(path, checkpoint)
    assert path.read_bytes() == whole[:kept]
    with MetricsLog(path) as log:
        assert log.last == max((s for s in steps if s <= checkpoint), default=None)
        log.append(row for row in logged if row["step"] > checkpoint)
    assert path.read_bytes() == whole


def test_a_torn_line_is_ignored_and_then_removed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, rows(1, 4))
    whole = path.read_bytes()
    for length in range(whole.rindex(b'{"step":3') + 1, len(whole)):
        path.write_bytes(whole[:length])
        assert list(metrics.read(path)["step"]) == [1, 2]
    write(path, rows(3, 4))
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line", [b"\xff\xfe\0\n", b'{"step": 2, "step": 2}\n', b"[]\n", b"{}\n", b'{"step": true}\n', b"\n"]
)
def test_damage_in_the_middle_is_not_skipped(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    write(path, rows(1, 4))
    lines = path.read_bytes().splitlines(True)
    path.write_bytes(lines[0] + line + lines[2])
    for use in (metrics.read, lambda p: metrics.cut_back(p, 1), MetricsLog):
        with pytest.raises(NotARun, match="line 2"):
            use(path)
    assert path.read_bytes() == lines[0] + line + lines[2]


def test_steps_increase(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, rows(1, 4))
    before = path.read_bytes()
    for bad in ([3], [2], [5, 5], [-1], [True], [4.0]):
        with MetricsLog(path) as log, pytest.raises(ValueError, match="expected a step above"):
            log.append({"step": s} for s in bad)
        assert path.read_bytes() == before
    path.write_bytes(before + before)
    with pytest.raises(NotARun, match="step 1 does not follow step 3"):
        metrics.read(path)


def test_full_disk_leaves_whole_rows(tmp_path, monkeypatch):
    """A write that stops half way is taken back, and the log goes on when there is room again."""
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.append(rows(1, 3))
        before = path.read_bytes()
        monkeypatch.setattr(atomic, "fault", atomic.Fault("enospc", 2))
        with pytest.raises(StorageError, match="append to"):
            log.append(rows(3, 9))
        assert path.read_bytes() == before
        log.append(rows(3, 4))
    assert list(metrics.read(path)["step"]) == [1, 2, 3]


def test_full_device(tmp_path):
    """The system's own refusal, not a planned one."""
    with MetricsLog(tmp_path / "full.jsonl") as log, open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), log._descriptor)
        with pytest.raises(StorageError, match="No space left"):
            log.append(rows(1, 2))


def test_mixed_columns_are_refused(tmp_path):
    for name, values in {"mixed": [1, "a"], "ragged": [[1], [1, 2]]}.items():
        rows = [{"step": i, "x": v} for i, v in enumerate(values)]
        with pytest.raises(NotARun, match="column 'x'"):
            write(tmp_path / name, rows)
        # As a file that another program wrote.
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(NotARun, match="column 'x'"):
            metrics.read(tmp_path / name)


@pytest.mark.parametrize("value", [[[1]], [1, [2]], 2**63, {"a": 1}, [{"a": 1}], ["a", "b"]])
def test_what_no_column_can_hold_is_neither_written_nor_read(tmp_path, value):
    path = tmp_path / "log"
    with MetricsLog(path) as log:
        log.append([{"step": 1, "loss": 0.5}])
        with pytest.raises(NotARun, match="column 'x'"):
            log.append([{"step": 2, "x": value}])
    assert path.read_bytes().count(b"\n") == 1
    path.write_text(json.dumps({"step": 1, "x": value}) + "\n")
    with pytest.raises(NotARun, match="column 'x'"):
        metrics.read(path)


def test_a_log_that_is_opened_again_keeps_the_kinds_of_its_columns(tmp_path):
    write(tmp_path / "log", [{"step": 1, "x": [1, 2]}])
    with MetricsLog(tmp_path / "log") as log, pytest.raises(NotARun, match="another kind or length"):
        log.append([{"step": 2, "x": [1, 2, 3]}])
