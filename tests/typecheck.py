"""The checker behind executed annotations: beartype, with int accepted where float is written (PEP 484).

`Fields` checks its own annotations, in its own words, and takes tracers where floats are written; so constructors are
checked only where they take arrays.
"""

import inspect
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def typechecked(function: Callable[..., Any]) -> Callable[..., Any]:
    annotations = inspect.get_annotations(function)
    if function.__name__ == "__init__" and "jaxtyping" not in str(annotations):
        return function
    return _check(function)
