"""Reading and writing a frozen table, one entry a line, and adding to it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
ADD = "python -m tests.frozen.write"
MISSING = f"is not in the frozen table; where it is new, run `{ADD}` and commit what that adds"
VANISHED = "stands in the frozen table and is gone: a run, a script or a plugin of somebody names it; keep the name"


def read(name: str) -> dict[str, Any]:
    """The entries of a table; none where nothing has been written yet. ValueError where a key stands twice."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text("utf-8"), object_pairs_hook=_once) if path.exists() else {}


def add(name: str, entries: Mapping[str, Any]) -> list[str]:
    """Writes the entries whose keys are new, and returns these keys. What stands in the table stays as it is."""
    known = read(name)
    new = {key: entry for key, entry in entries.items() if key not in known}
    if new:
        lines = (f"{json.dumps(key)}: {compact(entry)}" for key, entry in sorted((known | new).items()))
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        (FOLDER / f"{name}.json").write_text(text, "utf-8")
    return sorted(new)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key stands twice among {[key for key, _ in pairs]}")
    return found
