"""What is wrong with a configuration, in words: where, what was expected, what is near."""

import difflib
import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

NESTING = 64
"""Deepest nesting of settings; Python's own recursion ends somewhere beyond."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 3, 80, 80, 8, 8, 8


class Problem(NamedTuple):
    """One thing that is wrong with a configuration: where, and what was expected instead."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(ValueError):
    """A configuration that cannot be used. Lists every problem, each with its path and the nearest valid choice."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def under(self, path: str) -> "ConfigError":
        """The same problems, seen from one level further up."""
        return ConfigError(Problem(join(path, p.path), p.message) for p in self.problems)


class NotAvailable(ValueError):
    """Something was asked of an object that does not have it; the message says why and what would work."""


def join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def nearest(word: str, choices: Iterable[str]) -> str:
    """' (did you mean X?)' where a choice is near, else the choices themselves."""
    choices = sorted(map(str, choices))
    close = difflib.get_close_matches(str(word).replace("_", "-"), [c.replace("_", "-") for c in choices], 1, 0.5)
    if close:
        return f"; did you mean {next(c for c in choices if c.replace('_', '-') == close[0])!r}?"
    return f"; choose from {', '.join(choices)}" if choices else ""


def amount(count: int) -> str:
    """A count in words short enough for a message; Python refuses to print integers of thousands of digits.

    >>> amount(72), amount(2**1000)
    ('72', 'about 10^301')
    """
    return str(count) if count < 10**9 else f"about 10^{round((count.bit_length() - 1) * math.log10(2))}"


def shown(value: Any) -> str:
    """A value as a message shows it: never longer than a line or two, whatever was given."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**18:
        return ("-" if value < 0 else "") + amount(abs(value))
    return _SHORT.repr(value)


def too_deep(value: Any) -> bool:
    """Whether mappings and lists are nested more than `NESTING` deep (or for ever: in themselves)."""
    level = [value]
    for _ in range(NESTING):
        level = [item for one in level if isinstance(one, Mapping | list | tuple) for item in _items(one)]
        if not level:
            return False
    return True


def text_too_deep(text: str) -> bool:
    """The same of a text in which brackets nest, before any parser recurses over it."""
    depth = 0
    for symbol in text:
        depth += (symbol in "[{") - (symbol in "]}")
        if depth > NESTING:
            return True
    return False


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value
