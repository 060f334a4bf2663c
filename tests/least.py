"""The smallest legal values of settings, one at a time and all together, for everything that is made of `Fields`."""

import contextlib
import itertools
import typing
from collections.abc import Iterator
from typing import Any

from function_classes import ConfigError, fields
from function_classes.annotations import options
from function_classes.fields import Fields

NEAR = 1e-6
"""How far from a bound that is not legal itself."""


def least(field: Any) -> list[Any]:
    """The legal extremes of a setting that are not its default: the least number and the largest share, both answers,
    every choice, nothing at all."""
    rule, found = field.metadata["rule"], []
    for kind in options(field.type):
        if kind is type(None):
            found.append(None)
        elif kind is bool:
            found += [False, True]
        elif kind in (int, float):
            step = 1 if kind is int else NEAR
            found += [kind(rule.at_least)] if rule.at_least is not None else []
            found += [kind(rule.above + step)] if rule.above is not None else []
            if kind is float and rule.at_most is not None and rule.at_most <= 1:
                found.append(float(rule.at_most))
            if kind is float and rule.below is not None:
                found.append(rule.below - NEAR)
        elif typing.get_origin(kind) is typing.Literal:
            found += typing.get_args(kind)
        elif typing.get_origin(kind) is tuple and typing.get_args(kind)[-1] is Ellipsis:
            found.append(())
    return [v for v in found if v != field.default]


def variants(cls: type[Fields]) -> Iterator[dict[str, Any]]:
    """Every extreme alone; then all least numbers together, and those of them that are legal together."""
    numbers = {}
    for field in fields.settings(cls):
        for value in least(field):
            yield {field.name: value}
        usual = field.default
        if isinstance(usual, int | float) and not isinstance(usual, bool):
            numbers.update([(field.name, value) for value in least(field)[:1]])
    if numbers:
        yield numbers
        legal: dict[str, Any] = {}
        for name, value in numbers.items():
            legal |= {name: value} if _legal(cls, legal | {name: value}) else {}
        if legal != numbers:
            yield legal


def made(cls: type[Fields]) -> list[tuple[dict[str, Any], Any]]:
    """The variants that are legal, and the objects. Whatever is refused is refused in words, by ConfigError."""
    found = []
    for settings in itertools.chain([{}], variants(cls)):
        with contextlib.suppress(ConfigError):
            found.append((settings, _make(cls, settings)))
    return found


def structure(cls: type[Fields], settings: dict[str, Any]) -> bool:
    """Whether a variant is another program: it changes a field that is not a float."""
    kinds = {field.name: options(field.type) for field in fields.settings(cls)}
    return any(kinds[name] != (float,) for name in settings)


def _legal(cls: type[Fields], settings: dict[str, Any]) -> bool:
    try:
        _make(cls, settings)
    except ConfigError:
        return False
    return True


def _make(cls: type[Fields], settings: dict[str, Any]) -> Any:
    return fields.build(cls, ({"name": cls.name} if cls.registry else {}) | settings)
