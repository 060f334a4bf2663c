"""One long table for shell, CSV, figures and probes: a number, what it is, and its 95 % interval, per row."""

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS: tuple[str, ...] = ("predictor", "seed", "position", "metric", "normalization", "value", "low", "high", "n")
_KINDS = {"seed": int, "position": int, "value": float, "low": float, "high": float, "n": int}


class Table:
    """Columns predictor, seed, position, metric, normalization, value, low, high, n as NumPy arrays.

    position k: k examples have been seen; -1: the average over scored positions. seed -1: over all seeds (the only row
    of a predictor without seeds); 0, 1, ...: one of them. n: number of prompts. `found`: what calibration settled,
    by predictor; `notes`: sentences a reader of the numbers needs.
    """

    def __init__(self, columns: dict[str, Any], found: dict[str, Any] | None = None, notes: Sequence[str] = ()):
        if set(columns) != set(COLUMNS):
            raise ValueError(f"a table has the columns {', '.join(COLUMNS)}; got {', '.join(columns)}")
        self.columns = {name: np.asarray(columns[name], dtype=_KINDS.get(name, object)) for name in COLUMNS}
        if len({len(column) for column in self.columns.values()}) > 1:
            raise ValueError("the columns of a table have one length")
        self.found = dict(found or {})
        self.notes = tuple(notes)

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]], **more: Any) -> "Table":
        """A table from rows in the order of the columns."""
        rows = list(rows)
        return cls({name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}, **more)

    def __len__(self) -> int:
        return len(self.columns["value"])

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    @property
    def value(self) -> np.ndarray:
        return self.columns["value"]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries of plain values."""
        lists = [self.columns[name].tolist() for name in COLUMNS]
        return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*lists, strict=True)]

    def where(self, **equals: Any) -> "Table":
        """The rows in which every named column equals the value, or one of a list or tuple of values.

        >>> table = Table.from_rows([("gd", -1, k, "nll", "nats", 1.0, 0.9, 1.1, 8) for k in range(3)])
        >>> len(table.where(predictor="gd", position=[0, 2]))
        2
        """
        keep = np.ones(len(self), bool)
        for name, wanted in equals.items():
            if name not in COLUMNS:
                raise ValueError(f"no column {name!r}; choose from {', '.join(COLUMNS)}")
            options = wanted if isinstance(wanted, list | tuple) else (wanted,)
            keep &= np.isin(self.columns[name], np.asarray(options, self.columns[name].dtype))
        return Table({name: column[keep] for name, column in self.columns.items()}, self.found, self.notes)

    def __add__(self, other: "Table") -> "Table":
        return concatenate([self, other])

    def to_csv(self, path: str | Path) -> None:
        """Writes comma-separated values with a header; infinities as inf, undefined numbers as nan."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)

    def to_json(self) -> str:
        """JSON text {columns, found, notes}; numbers that are not finite become null."""
        plain = {name: [_finite(value) for value in column.tolist()] for name, column in self.columns.items()}
        content = {"columns": plain, "found": self.found, "notes": list(self.notes)}
        return json.dumps(content, allow_nan=False)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame. ImportError says how to install pandas where it is missing."""
        try:
            import pandas  # pyright: ignore[reportMissingImports] (an extra, not always there)
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install 'icl-workbench[pandas]'") from error
        return pandas.DataFrame(self.columns)

    def __str__(self) -> str:
        averaged = self.where(position=-1, seed=-1)
        if len(averaged):
            text = _grid(averaged, "metric", "mean over positions")
        else:
            metrics = list(dict.fromkeys(self["metric"].tolist()))
            shown = [self.where(metric=metric, seed=-1) for metric in metrics]
            text = "\n\n".join(_grid(t, "position", m) for t, m in zip(shown, metrics, strict=True) if len(t))
        return "\n".join([text or "empty table", *self.notes])

    __repr__ = __str__


def concatenate(tables: Sequence[Table]) -> Table:
    """All rows, one table after another; what was found is merged."""
    columns = {name: np.concatenate([table[name] for table in tables]) for name in COLUMNS}
    found = {name: value for table in tables for name, value in table.found.items()}
    return Table(columns, found, tuple(dict.fromkeys(note for table in tables for note in table.notes)))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _grid(table: Table, across: str, title: str) -> str:
    """Predictors down, one column across, `value ± half of the interval` in the cells."""
    heads = list(dict.fromkeys(table[across].tolist()))
    cells = {(row["predictor"], row[across]): row for row in table.rows}
    units = {row[across]: row["normalization"] for row in table.rows}
    names = list(dict.fromkeys(table["predictor"].tolist()))
    lines = [[title] + [f"{head} [{units[head]}]" if across == "metric" else f"k={head}" for head in heads]]
    for name in names:
        lines.append([name] + [_cell(cells.get((name, head)), across == "metric") for head in heads])
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads) + 1)]
    return "\n".join(
        line[0].ljust(widths[0]) + "".join("  " + cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def _cell(row: dict[str, Any] | None, interval: bool) -> str:
    if row is None:
        return ""
    half = (row["high"] - row["low"]) / 2
    return f"{row['value']:.3g}" + (f" ± {half:.1g}" if interval and math.isfinite(half) else "")
