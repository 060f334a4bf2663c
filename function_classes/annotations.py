"""Annotations of settings: as types, also where they are texts, and in the words of an error message."""

import inspect
import types
import typing
from typing import Any, Literal


def own(cls: type) -> dict[str, Any]:
    """The annotations of a class alone, with texts (`from __future__ import annotations`, `"Name"`) as what they name.

    Raises TypeError for a text that names nothing, which nobody could check.
    """
    found = {}
    for name, annotation in inspect.get_annotations(cls).items():
        alone = type(cls.__name__, (), {"__annotations__": {name: annotation}, "__module__": cls.__module__})
        try:
            found |= typing.get_type_hints(alone, localns={cls.__name__: cls}, include_extras=True)
        except Exception as error:
            message = f"{cls.__module__}.{cls.__qualname__}: the annotation of {name!r}, {annotation!r}, cannot be read"
            raise TypeError(f"{message}: {error}; types must be importable names of the module") from error
    return found


def options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def describe(annotation: Any) -> str:
    """An annotation in the words of an error message."""
    choices = options(annotation)
    if len(choices) > 1:
        return " or ".join("none" if o is type(None) else describe(o) for o in choices)
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"a list, each {describe(arguments[0])}"
    if getattr(annotation, "registry", None) is not None:
        kind = annotation.registry.kind
        return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if hasattr(annotation, "registry"):
        return "a table of settings"
    return getattr(annotation, "__name__", str(annotation))


_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
