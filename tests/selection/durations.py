"""What each test file costs: seconds of processor time of its process and of those that it started and waited for.

That moves less than the clock on a busy machine, though still up to twofold: measure on a quiet one. Half of their sum
is what two workers need on two cores. Programs are in the cache on disk; without it the first run takes longer.

`pytest --measure` writes them for the files that ran, rounded, and only where they moved: the table stays readable in a
diff.
"""

import heapq
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

TABLE = "tests/durations.json"
# Of a file that nobody has measured.
UNKNOWN = 10.0
# A number stays while the new one is within this factor, or this many seconds.
STAYS, SECONDS = 1.3, 2.0


def read(path: Path) -> dict[str, float]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def merged(table: Mapping[str, float], measured: Mapping[str, float], files: Iterable[str]) -> dict[str, float]:
    """The table with what was measured, of `files` alone: those that are there."""
    found = dict(table)
    for name, seconds in measured.items():
        old = table.get(name)
        near = old is not None and max(old, seconds) <= max(STAYS * min(old, seconds), min(old, seconds) + SECONDS)
        if not near:
            found[name] = _rounded(seconds)
    return {name: found[name] for name in sorted(files) if name in found}


def _rounded(seconds: float) -> int:
    step = 1 if seconds < 20 else 5
    return max(step * round(seconds / step), 1)


def write(path: Path, table: Mapping[str, float]) -> None:
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def wall(costs: Iterable[float], workers: int) -> float:
    """Seconds until the last of `workers` is done, which take the dearest file that is left, one after the other."""
    busy = [0.0] * workers
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(busy, busy[0] + cost)
    return max(busy)


def spent() -> float:
    """Processor time until now of this process and of its children that ended, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
