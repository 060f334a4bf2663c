"""How many members a sweep may have, asked before any of them is made."""

import math
from collections.abc import Iterable, Sequence, Sized
from typing import Any

from function_classes.fields import ConfigError, Problem
from function_classes.problems import amount

MOST_MEMBERS = 10_000


def count_members(axes: Sequence[Sized]) -> None:
    """Raises ConfigError where the product of all lists of values is too long."""
    count = math.prod(map(len, axes))
    if count > MOST_MEMBERS:
        words = " x ".join(str(len(axis)) for axis in axes if len(axis) > 1)
        members = amount(count) if words == str(count) else f"{words} = {amount(count)}"
        raise ConfigError([Problem("", f"{members} configurations are a sweep too many, at most {MOST_MEMBERS}")])


def values(path: str, given: Iterable[Any]) -> list[Any]:
    """The values of one axis. Raises ConfigError for what has none or never ends."""
    found = []
    for value in given:
        found.append(value)
        if len(found) > MOST_MEMBERS:
            size = str(len(given)) if isinstance(given, Sized) else f"more than {MOST_MEMBERS}"
            raise ConfigError([Problem(path, f"{size} values, at most {MOST_MEMBERS} make a sweep")])
    return found
