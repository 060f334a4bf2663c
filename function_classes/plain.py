"""Configuration as plain JSON values: to write down, to hash, and from a word typed in a shell."""

import dataclasses
import json
import re
from typing import Any

from function_classes.fields import UNSTATED, Fields, Rule
from function_classes.problems import NESTING, ConfigError, Problem, shown, text_too_deep

# .5, 5., +1, 007: numbers that JSON does not know. Not inf, nan or 1_000.
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def dump(value: Any) -> Any:
    """Plain JSON values from which `build` makes an equal object."""
    if isinstance(value, Fields):
        named = {"name": value.registry.written(type(value))} if value.registry is not None else {}
        return named | {f.name: dump(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [dump(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} is not configuration: fields hold numbers, texts, tuples and nested configuration")


def changed(value: Fields, usual: Any = None, prefix: str = "") -> dict[str, Any]:
    """Path -> value of every field that is not what it is in `usual` (by default, the default): a choice by its name,
    its own fields below it."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        item, path = getattr(value, field.name), f"{prefix}{field.name}"
        base = getattr(usual, field.name) if type(usual) is type(value) else field.default
        if isinstance(item, Fields):
            if type(base) is not type(item):
                found[path] = item.name or type(item).__name__
            found |= changed(item, base, f"{path}.")
        elif item != base:
            found[path] = dump(item)
    return found


def named(value: Fields) -> str:
    """A configuration object in words: its name, and every setting that is not at its default."""
    return ", ".join([value.name, *(f"{path} {item}" for path, item in changed(value).items())])


def identity(value: Any) -> Any:
    """What a run's hash is taken of: as `dump`, with component versions, without unscientific fields and without
    fields at the value they had before they existed. 1 and 1.0 hash alike."""
    if isinstance(value, Fields):
        result: dict[str, Any] = {"version": value.version}
        if value.registry is not None:
            result["name"] = value.registry.written(type(value))
        for field in dataclasses.fields(value):
            rule: Rule = field.metadata["rule"]
            item = getattr(value, field.name)
            absent = field.default if rule.absent is UNSTATED else rule.absent
            unchanged = absent is not dataclasses.MISSING and identity(absent) == identity(item)
            # A choice has a version of its own, which counts unless the field is younger than the first version.
            younger = rule.absent is not UNSTATED and getattr(item, "version", 1) == 1
            if rule.science and (not unchanged or (isinstance(item, Fields) and not younger)):
                result[field.name] = identity(item)
        return result
    if isinstance(value, tuple):
        return [identity(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value


def canonical(value: Any) -> str:
    """The one JSON text of plain values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse(text: str) -> Any:
    """A value typed in a shell: JSON where it is JSON (true, [1,2]), numbers also as people write them (.5), `none`,
    otherwise the text itself."""
    if text.lower() in ("none", "null"):
        return None
    if text in ("True", "False"):
        return text == "True"
    if text_too_deep(text):
        raise ConfigError([Problem("", f"nested more than {NESTING} deep: {shown(text)}")])
    try:
        return json.loads(text)
    except ValueError:
        return float(text) if _DECIMAL.fullmatch(text) else text
