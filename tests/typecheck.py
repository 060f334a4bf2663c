"""The checker behind executed annotations: beartype, with int accepted where float is written (PEP 484).

`Fields` checks its own annotations, in its own words, and takes tracers where floats are written; so constructors are
checked only where they take arrays. Typer hands over another class than the one it wants commands to be annotated
with.
"""

import inspect
from collections.abc import Callable
from typing import Any

import typer
from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def typechecked(function: Callable[..., Any]) -> Callable[..., Any]:
    annotations = inspect.get_annotations(function)
    constructor = function.__name__ == "__init__" and "jaxtyping" not in str(annotations)
    if constructor or typer.Context in annotations.values():
        return function
    return _check(function)
