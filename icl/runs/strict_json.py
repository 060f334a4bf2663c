"""JSON without its traps: no duplicate keys, no NaN, no bottomless nesting, and files that notice when they change.

JSON has no numbers beyond the finite ones. Where values may be non-finite (metrics) they are written as the texts
"nan", "inf" and "-inf"; `as_number` reads them back.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from icl.runs.errors import Incompatible, NotARun

NESTING = 64
"""Deepest nesting of a file we read; Python's own parser runs out of stack somewhere beyond."""

LARGEST = 16 * 2**20
"""Bytes of a JSON text we read: files of settings and status have thousands, of many leaves some hundred thousands."""

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# An unterminated text matches to the end, so that hostile input is scanned once and not once per quotation mark.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def dumps(value: Any, indent: int | None = None) -> str:
    """Valid JSON in ASCII: equal values give equal texts. Arrays of one number are numbers; TypeError for objects."""
    separators = (",", ": ") if indent else (",", ":")
    return json.dumps(_plain(value), allow_nan=False, indent=indent, separators=separators)


def loads(data: bytes | str, path: str | os.PathLike[str]) -> Any:
    """The value of a JSON text. Raises NotARun, which names the file and the reason."""
    try:
        if len(data) > LARGEST:
            raise ValueError(f"has {len(data)} bytes, and no file of a run has more than {LARGEST}")
        text = data.decode() if isinstance(data, bytes) else data
        if not text.strip():
            raise ValueError("is empty")
        _check_nesting(text)
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except ValueError as error:
        raise NotARun(path, f"is not valid JSON: {error}") from None


def as_number(value: Any) -> Any:
    """Undoes the spelling of non-finite numbers, in lists too."""
    if isinstance(value, list):
        return [as_number(item) for item in value]
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def seal(fields: Mapping[str, Any]) -> bytes:
    """A JSON file that carries the SHA-256 of its own contents under "checksum"."""
    fields = dict(sorted(fields.items()))
    checksum = hashlib.sha256(dumps(fields).encode()).hexdigest()
    return (dumps({**fields, "checksum": checksum}, indent=1) + "\n").encode()


def unseal(data: bytes, path: str | os.PathLike[str], schema: int) -> dict[str, Any]:
    """The fields of a sealed file, exactly as they were written.

    Raises Incompatible for a schema this version does not read, NotARun for anything damaged.
    """
    fields = loads(data, path)
    if not isinstance(fields, dict) or "schema" not in fields:
        raise NotARun(path, "does not say which schema it follows: not written by icl")
    found = fields.get("schema")
    newer = isinstance(found, int) and found > schema
    body = {name: value for name, value in fields.items() if name != "checksum"}
    if seal(body) != data:
        hint = f", or follows a newer schema ({found}; this version reads {schema}): upgrade icl" if newer else ""
        raise NotARun(path, f"is damaged: its contents do not match its checksum{hint}")
    if newer:
        raise Incompatible(path, f"follows schema {found}, this version reads {schema}: upgrade icl")
    if found != schema or isinstance(found, bool):
        raise Incompatible(path, f"follows schema {found!r}, which this version ({schema}) no longer reads")
    return body


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def _check_nesting(text: str) -> None:
    depth = 0
    for token in _TOKENS.finditer(text):
        symbol = token.group()[0]
        depth += (symbol in "[{") - (symbol in "]}")
        if depth > NESTING:
            raise ValueError(f"nested more than {NESTING} deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r} appears twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large for a number")
    return value
