"""What makes two configurations the same run: a hash of all that takes part in its numbers.

Runs that an earlier version wrote down go on under the identity that they have: one without a stated rate, and one that
names code from elsewhere without its hash. No new request has such an identity.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from function_classes import plain
from function_classes.fields import Fields
from function_classes.origins import Origin
from icl.runs import provenance


def of(config: Fields, recorded: Mapping[str, Any] | None = None) -> str:
    """The identity of a configuration: 16 hexadecimal digits. With a `recorded` tree, that of the run it describes."""
    science = plain.identity(config)
    if recorded is not None:
        if recorded.get("training", {}).get("learning_rate", 0) is None:
            science["training"].pop("learning_rate")
        _rename(science, recorded)
    precision = provenance.precision()
    if precision is not None:
        science["matmul_precision"] = precision
    return hashlib.sha256(plain.canonical(science).encode()).hexdigest()[:16]


def names_code_of(config: Fields, recorded: Mapping[str, Any]) -> bool:
    """Whether a recorded tree has a hash for all code from elsewhere that the configuration has."""
    science = plain.identity(config)
    _rename(science, recorded)
    return science == plain.identity(config)


def origins(value: Any) -> Iterator[tuple[str, Origin]]:
    """Name and origin of everything in a configuration that is no part of this package."""
    if isinstance(value, tuple):
        for item in value:
            yield from origins(item)
    elif isinstance(value, Fields):
        if value.registry is not None and (found := value.registry.origin(type(value))) is not None:
            yield value.name, found
        for field in dataclasses.fields(value):
            yield from origins(getattr(value, field.name))


def _rename(science: Any, recorded: Any) -> None:
    """Gives everything in an identity the name that it has in a recorded tree."""
    if isinstance(science, list) and isinstance(recorded, list):
        for one, other in zip(science, recorded, strict=False):
            _rename(one, other)
    elif isinstance(science, dict) and isinstance(recorded, Mapping):
        for key in science.keys() & recorded.keys():
            _rename(science[key], recorded[key])
        if isinstance(recorded.get("name"), str) and "name" in science:
            science["name"] = recorded["name"]
