"""Naming a run at the keyboard: `last`, a prefix of its directory, its alias, or `depth=4,seed=0`."""

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from icl.runs.directory import RunDirectory
from icl.runs.errors import NotARun, NotFound


class Listing(NamedTuple):
    """The runs below a root, oldest first, and what looks like a run but cannot be used, with the reason."""

    runs: tuple[RunDirectory, ...]
    damaged: tuple[NotARun, ...]


def list_runs(root: str | os.PathLike[str]) -> Listing:
    """Everything directly below `root`; directories of other programs are passed over in silence."""
    root = Path(root)
    runs, damaged = [], []
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if not path.is_dir() or not os.path.lexists(path / "manifest.json"):
            continue
        try:
            runs.append(RunDirectory.open(path))
        except NotARun as error:
            damaged.append(error)
    return Listing(tuple(sorted(runs, key=lambda run: (run.created, run.path.name))), tuple(damaged))


def find(root: str | os.PathLike[str], query: str) -> RunDirectory:
    """The one run that a query names. Raises NotFound with the candidates or the nearest names; NotARun where the
    query is a path to something that is no run."""
    found = find_all(root, query)
    if len(found) == 1:
        return found[0]
    names = [f"{run.path.name}{f' ({run.name})' if run.name else ''}" for run in found[:12]]
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    raise NotFound(f"{query!r} names {len(found)} runs: {', '.join(names)}{more}; say more")


def find_all(root: str | os.PathLike[str], query: str) -> tuple[RunDirectory, ...]:
    """All runs that a query names, oldest first, at least one. Raises as `find` does.

    Tried in this order: a path to a run; `last`, the run created last that has begun to train; the exact name of a
    directory; an alias; a prefix of directory names; `field=value,...` against the configuration, where a field is a
    full path or its end.
    """
    listing = list_runs(root)
    if os.sep in query or (Path(query) / "manifest.json").is_file():
        # An earlier version let an alias look like a path.
        named = () if os.path.lexists(query) else tuple(run for run in listing.runs if run.name == query)
        return named or (RunDirectory.open(query),)
    runs = listing.runs
    if not runs:
        reasons = f"; damaged: {'; '.join(map(str, listing.damaged))}" if listing.damaged else ""
        raise NotFound(f"there are no runs in {root}{reasons}")
    if query == "last":
        return next(((run,) for run in reversed(runs) if run.begun), runs[-1:])
    if "=" in query and not any(run.name == query for run in runs):
        return _matching(runs, query)
    for matches in (
        [run for run in runs if run.path.name == query],
        [run for run in runs if run.name == query],
        [run for run in runs if query and run.path.name.startswith(query)],
    ):
        if matches:
            return tuple(matches)
    for error in listing.damaged:
        if Path(error.path).parent.name.startswith(query) and query:
            raise error
    known = [run.path.name for run in runs] + [run.name for run in runs if run.name]
    raise NotFound(f"no run in {root} is called {query!r}; {_nearest(query, known)}")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value; lists are values."""
    result: dict[str, Any] = {}
    for name, value in config.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        result.update(flatten(value, path) if isinstance(value, Mapping) else {path: value})
    return result


def _matching(runs: tuple[RunDirectory, ...], query: str) -> tuple[RunDirectory, ...]:
    flat = [flatten(run.config) for run in runs]
    paths = list(dict.fromkeys(path for fields in flat for path in fields))
    chosen = list(runs)
    for condition in re.split(r",(?=[^,=]+=)", query):
        name, _, text = condition.partition("=")
        field = name.strip().replace("-", "_")
        fields = [path for path in paths if path == field] or [p for p in paths if p.endswith("." + field)]
        if not fields:
            ends = [path.rpartition(".")[2] for path in paths]
            raise NotFound(f"no run has a field {name.strip()!r}; {_nearest(field, [*paths, *ends])}")
        if len(fields) > 1:
            raise NotFound(f"{name.strip()!r} could be {' or '.join(fields)}; write the full path")
        wanted, held = _value(text.strip()), [fields_of.get(fields[0]) for fields_of in flat]
        if not any(_same(value, wanted) for value in held):
            values = ", ".join(sorted({_text(value) for value in held})[:12])
            raise NotFound(f"no run has {fields[0]}={text.strip()}; there are {values}")
        by_run = dict(zip((run.path for run in runs), held, strict=True))
        chosen = [run for run in chosen if _same(by_run[run.path], wanted)]
    if not chosen:
        raise NotFound(f"each part of {query!r} fits some run, but no run fits all of it")
    return tuple(chosen)


def _value(text: str) -> Any:
    if text in ("none", "None"):
        return None
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text)
    except ValueError:
        return text


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, str) and isinstance(wanted, str):
        if "@" not in wanted:  # a name without the hash of its code means any code of this name
            value = value.partition("@")[0]
        return value.replace("_", "-") == wanted.replace("_", "-")
    if isinstance(value, str):
        return value == _text(wanted)
    return value == wanted


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)


def _nearest(word: str, choices: Iterable[str]) -> str:
    choices = list(dict.fromkeys(choices))
    close = difflib.get_close_matches(word, choices, 3, 0.4)
    return f"nearest: {', '.join(close)}" if close else f"there are {', '.join(choices[:12])}"
