"""A valid value off its default for every field, found from the annotation; a table where no search finds one."""

import contextlib
import dataclasses
import inspect
import typing
from collections.abc import Iterator
from typing import Any, Literal

from function_classes import plain
from function_classes.fields import ConfigError, Fields, build
from tests.frozen.members import REQUIRED, key_of, names

# Values of texts, and of fields that have few.
BY_HAND: dict[str, Any] = {
    "function class/gaussian-mixture-regression/probabilities": [0.75, 0.25],
    "function class/linear-mixture/probabilities": [0.5, 0.125, 0.125, 0.125, 0.125],
    "function class/mixture/probabilities": [0.75, 0.25],
    "mixer/lru/most": 0.95,
    "model/given/source": "Net@0123456789",
    "model/transformer/mixers": ["softmax", "linear", "softmax", "linear"],
    "part/Config/origin": "0123456789abcdef@40",
    "part/Training/checkpoint_every": "log:7",
    "probe/shift-battery/only": ["scale-inputs"],
    "reference/bayes-of/title": "another class",
}
# Fields that can change only together with others.
WITH: dict[str, dict[str, Any]] = {
    "function class/cnf/teaching": {"monotone": True},
    "function class/dnf/teaching": {"monotone": True},
    "function class/fixed-markov/order": {"chain_seed": 1},
    "function class/fixed-markov/symbols": {"chain_seed": 1},
    "function class/permuted-projection/data": {"dim": 64, "classes": 10},
    "model/algoformer/loops_start": {"loss_window": 2},
    "model/looped/loops_start": {"loss_window": 2},
}
# Fields that have one valid value, which a class shares with its family.
SINGLE = ("function class/hmm/pool_size",)


def defaults(key: str, cls: type[Fields]) -> dict[str, Any]:
    """The plain values of a member as it is made when nothing is said. What a whole configuration derives from its
    other settings is no default: there the fields say their own."""
    made = plain.dump(make(cls, REQUIRED.get(key, {})))
    if key != "part/Config":
        return made
    own = {f.name: plain.dump(f.default) for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
    return made | own


def make(cls: type[Fields], values: dict[str, Any]) -> Fields:
    """A member from plain values, with its name among them or not. Raises ConfigError."""
    return build(cls, ({"name": cls.name} if cls.registry is not None else {}) | values)


def off_default(cls: type[Fields], usual: dict[str, Any], name: str) -> dict[str, Any]:
    """Plain values of one field, and of those in `WITH`, with which the member is valid and differs from `usual`.
    ValueError where none is found: put one into `BY_HAND`."""
    place = f"{key_of(make(cls, usual))}/{name}"
    if place in SINGLE:
        return {}
    field, more = next(f for f in dataclasses.fields(cls) if f.name == name), WITH.get(place, {})
    tried = [BY_HAND[place]] if place in BY_HAND else candidates(field.type, usual.get(name))
    before = plain.dump(make(cls, usual))
    for value in tried:
        try:
            after = plain.dump(make(cls, usual | more | {name: value}))
        except ConfigError:
            continue
        if after[name] != before[name]:
            return more | {name: after[name]}
    raise ValueError(f"{place}: no valid value was found off its default; put one into BY_HAND, or fields into WITH")


def all_off(cls: type[Fields], usual: dict[str, Any], single: list[dict[str, Any]]) -> dict[str, Any]:
    """As many fields off their defaults at once as are valid together, taken in their order."""
    found: dict[str, Any] = {}
    for values in single:
        with contextlib.suppress(ConfigError):
            make(cls, usual | found | values)
            found |= values
    return found


def candidates(annotation: Any, usual: Any) -> Iterator[Any]:
    """Plain values of a type, the likely ones first."""
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    for option in options:
        if option is not type(None):
            yield from _of_one(option, usual)
    if type(None) in options:
        yield None


def _of_one(option: Any, usual: Any) -> Iterator[Any]:
    number = usual if isinstance(usual, int | float) and not isinstance(usual, bool) else 1
    if option is bool:
        yield not usual
    elif option is int:
        yield from (int(number) + step for step in (1, 2, -1, 3, 5))
        yield from (int(number) * factor for factor in (2, 4))
        yield from (int(number) // 2, 1, 2)
    elif option is float:
        yield from (number * 1.25 if number else 0.25, number * 0.75, number + 0.125, number - 0.125, 0.5, 2.5)
    elif typing.get_origin(option) is Literal:
        yield from (value for value in typing.get_args(option) if value != usual)
    elif typing.get_origin(option) is tuple:
        yield from _tuples(typing.get_args(option), usual or [])
    elif inspect.isclass(option) and issubclass(option, Fields):
        yield from _members(option, usual)


def _tuples(arguments: tuple[Any, ...], usual: list[Any]) -> Iterator[list[Any]]:
    inner = arguments[0]
    for place in range(len(usual)):
        for value in candidates(inner, usual[place]):
            yield [*usual[:place], value, *usual[place + 1 :]]
    if len(usual) > 1:
        yield usual[::-1]
    for value in candidates(inner, usual[-1] if usual else None):
        yield [*usual, value]


def _members(family: type[Fields], usual: Any) -> Iterator[Any]:
    """The usual member with one of its fields changed, then every other member."""
    if usual is not None:
        cls = family.registry.find(usual["name"]) if family.registry is not None else family
        for field in dataclasses.fields(cls):
            for value in candidates(field.type, usual[field.name]):
                yield usual | {field.name: value}
    if family.registry is not None:
        yield from ({"name": name} for name in names(family) if usual is None or name != usual["name"])


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Union or type(annotation).__name__ == "UnionType"
