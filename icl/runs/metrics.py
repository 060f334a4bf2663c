"""`metrics.jsonl`: one JSON object a line, with a strictly increasing `step`; nothing in it depends on the clock.

A run that is stopped and resumed therefore writes the same bytes as one that was not. A last line that a crash tore
is ignored by readers and removed before anything is appended.
"""

import contextlib
import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from icl.runs import atomic
from icl.runs.errors import NotARun
from icl.runs.strict_json import as_number, dumps, loads

_LIMIT = 1 << 32


class _Rows(NamedTuple):
    rows: list[dict[str, Any]]
    lines: list[bytes]
    torn: bool


class MetricsLog:
    """The log opened by its one writer. Rows reach the system with every `append` and the disk with every `sync`;
    sync before a checkpoint is saved, and no checkpoint is ever ahead of its log."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        found = _parse(self.path)
        if found.torn:
            atomic.write_atomic(self.path, b"".join(found.lines))
        self.last = found.rows[-1]["step"] if found.rows else None
        self._size = sum(map(len, found.lines))
        self._kinds: dict[str, Any] = {}
        for row in found.rows:
            self._kinds |= {name: _kind(as_number(value)) for name, value in row.items() if value is not None}
        with atomic.storage(self.path, "open"):
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _FLAGS, 0o666)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows: names to numbers, texts, or flat lists of numbers, and a whole `step` above all before it.

        Raises ValueError for a step that does not increase, NotARun for values that `read` refuses; StorageError where
        the disk refuses, with the log as it was before.
        """
        last, lines = self.last, []
        for row in rows:
            step = row["step"]
            step = step.item() if hasattr(step, "item") else step
            if not isinstance(step, int) or isinstance(step, bool) or step < 0 or (last is not None and step <= last):
                raise ValueError(f"{self.path}: expected a step above {last}, got {step!r}")
            last = step
            line = dumps({"step": step, **{n: v for n, v in row.items() if n != "step"}}).encode() + b"\n"
            self._check(_row(line, str(self.path)))
            lines.append(line)
        data = b"".join(lines)
        with atomic.storage(self.path, "append to", len(data)):
            try:
                atomic.write(self._descriptor, data)
            except OSError:
                # Half a row must not stay in front of the next one.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                raise
        self.last, self._size = last, self._size + len(data)

    def _check(self, row: Mapping[str, Any]) -> None:
        """A reader must not find what it refuses: raises NotARun for it."""
        for name, value in row.items():
            number = as_number(value)
            _column(self.path, name, [number])
            if number is not None and self._kinds.setdefault(name, _kind(number)) != _kind(number):
                raise NotARun(self.path, f"column {name!r} has {value!r} after rows of another kind or length")

    def sync(self) -> None:
        with atomic.storage(self.path, "write"):
            atomic.sync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Column name -> values, all as long as `step`. Numbers are float64, or int64 and bool where every row has one;
    texts are text arrays; lists become rows of a matrix. A row without the column has NaN, or "" among texts.

    A missing file has no rows. Raises NotARun for a line that is damaged and not the last, or a step out of order.
    """
    rows = _parse(Path(path)).rows
    names = dict.fromkeys(itertools.chain(["step"], *rows))
    return {name: _column(path, name, [as_number(row.get(name)) for row in rows]) for name in names}


def last_step(path: str | os.PathLike[str]) -> int:
    """The step of the last complete row; 0 where there is none. Raises as `read`."""
    rows = _parse(Path(path)).rows
    return rows[-1]["step"] if rows else 0


def cut_back(path: str | os.PathLike[str], step: int) -> int:
    """Drops every row after `step`, and a torn end; what is kept keeps its bytes. Returns the number of rows gone."""
    path, found = Path(path), _parse(Path(path))
    kept = [line for row, line in zip(found.rows, found.lines, strict=True) if row["step"] <= step]
    if found.torn or len(kept) < len(found.lines):
        atomic.write_atomic(path, b"".join(kept))
    return len(found.lines) - len(kept)


def _parse(path: Path) -> _Rows:
    """All complete rows. Anything unreadable is a torn end if nothing readable follows it, and damage otherwise."""
    if not path.exists() and not path.is_symlink():
        return _Rows([], [], False)
    rows: list[dict[str, Any]] = []
    lines = atomic.read_bytes(path, _LIMIT).splitlines(keepends=True)
    bad: NotARun | None = None
    for number, line in enumerate(lines, 1):
        try:
            row = _row(line, f"{path}, line {number}")
        except NotARun as error:
            bad = bad or error
            continue
        if bad is not None:
            raise bad
        if rows and row["step"] <= rows[-1]["step"]:
            raise NotARun(f"{path}, line {number}", f"step {row['step']} does not follow step {rows[-1]['step']}")
        rows.append(row)
    return _Rows(rows, lines[: len(rows)], bad is not None)


def _row(line: bytes, place: str) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise NotARun(place, "has no end")
    row = loads(line, place)
    step = row.get("step") if isinstance(row, dict) else None
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**63:
        raise NotARun(place, "is not a row with a step")
    return row


def _kind(value: Any) -> Any:
    """What all rows of a column share: numbers, texts, or lists of one length."""
    return len(value) if isinstance(value, list) else str if isinstance(value, str) else float


def _column(path: str | os.PathLike[str], name: str, values: list[Any]) -> np.ndarray:
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if not values:
        return np.zeros(0, np.int64 if name == "step" else np.float64)
    if kinds == {str}:
        return np.array(["" if value is None else value for value in values])
    if kinds == {list}:
        widths = {len(value) for value in present}
        if len(widths) > 1:
            raise NotARun(path, f"column {name!r} has lists of different lengths {sorted(widths)}")
        if any(not isinstance(item, int | float) for value in present for item in value):
            raise NotARun(path, f"column {name!r} has lists of something else than numbers")
        empty = [np.nan] * widths.pop()
        return np.array([empty if value is None else value for value in values], np.float64)
    if any(isinstance(value, int) and abs(value) >= 2**63 for value in present):
        raise NotARun(path, f"column {name!r} has a whole number of more than 64 bits")
    if len(present) == len(values) and kinds in ({int}, {bool}):
        return np.array(values)
    if kinds <= {int, float, bool}:
        return np.array([np.nan if value is None else float(value) for value in values])
    raise NotARun(path, f"column {name!r} mixes {', '.join(sorted(kind.__name__ for kind in kinds))}")


_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


def copy(source: str | os.PathLike[str], target: str | os.PathLike[str], step: int) -> None:
    """Begins a log with another one's rows up to a step. Replaces what the target held."""
    found = _parse(Path(source))
    kept = [line for row, line in zip(found.rows, found.lines, strict=True) if row["step"] <= step]
    atomic.write_atomic(target, b"".join(kept))
