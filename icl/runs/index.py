"""The index of a checkpoint: what its header says, checked before anything else is opened or allocated."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from icl.runs import atomic
from icl.runs.errors import Incompatible, NotARun
from icl.runs.strict_json import seal, unseal

SCHEMA = 1
INDEX = "index.json"
COMPLETE = re.compile(r"step-(\d{8}|[1-9]\d{8,})")


class Leaf(NamedTuple):
    """One array as the index describes it."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    sha256: str


class Index(NamedTuple):
    """What a checkpoint says about itself: `extra` is whatever plain JSON was given to `save`."""

    step: int
    leaves: tuple[Leaf, ...]
    extra: dict[str, Any]

    @property
    def bytes(self) -> int:
        return sum(leaf.bytes for leaf in self.leaves)


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def describe(index: Index) -> bytes:
    """The contents of the file."""
    leaves = [leaf._asdict() for leaf in index.leaves]
    fields = {"schema": SCHEMA, "step": index.step, "byteorder": sys.byteorder, "bytes": index.bytes}
    data = seal({**fields, "leaves": leaves, "extra": index.extra})
    _understand(unseal(data, INDEX, SCHEMA))
    return data


def read_index(path: str | os.PathLike[str]) -> Index:
    """The index of one checkpoint. Raises NotARun, or Incompatible for a newer schema; reads no array."""
    path = Path(path)
    if path.is_symlink():
        raise NotARun(path, "is a symbolic link; checkpoints are plain directories")
    file = path / INDEX
    fields = unseal(atomic.read_bytes(file), file, SCHEMA)
    try:
        index = _understand(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise NotARun(file, f"is no index of a checkpoint: {type(error).__name__} {error}") from None
    if fields.get("byteorder") != sys.byteorder:
        raise Incompatible(file, f"has byte order {fields.get('byteorder')!r}, this machine {sys.byteorder!r}")
    if COMPLETE.fullmatch(path.name) and path.name != name_of(index.step):
        raise NotARun(file, f"says step {index.step}, which is not the step in the name of its directory")
    return index


def compare(path: Path, index: Index, wanted: Mapping[str, Any]) -> None:
    """Raises Incompatible, with the paths, unless exactly these leaves are stored, in these shapes and dtypes."""
    stored = {leaf.path: leaf for leaf in index.leaves}
    problems = {name: f"missing leaf {name}" for name in wanted if name not in stored}
    problems |= {name: f"unexpected leaf {name!r}" for name in stored if name not in wanted}
    if len(stored) != len(index.leaves):
        problems[""] = "a leaf is listed twice"
    for name in wanted.keys() & stored.keys():
        shape, dtype = tuple(wanted[name].shape), np.dtype(wanted[name].dtype)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if (stored[name].dtype, stored[name].shape, stored[name].bytes) != (dtype.name, shape, size):
            found = f"{stored[name].dtype}{list(stored[name].shape)} in {stored[name].bytes} bytes"
            problems[name] = f"leaf {name}: expected {dtype.name}{list(shape)}, found {found}"
    if problems:
        more = f"; and {len(problems) - 12} more" if len(problems) > 12 else ""
        raise Incompatible(path, "does not fit: " + "; ".join(sorted(problems.values())[:12]) + more, problems)


def _understand(fields: Mapping[str, Any]) -> Index:
    leaves = []
    for given in fields["leaves"]:
        leaf = Leaf(**{**given, "shape": tuple(given["shape"])})
        sizes = (*leaf.shape, leaf.bytes)
        if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes):
            raise ValueError(f"leaf {leaf.path!r}: sizes must be whole numbers")
        if not all(isinstance(text, str) for text in (leaf.path, leaf.dtype, leaf.sha256)):
            raise ValueError(f"leaf {leaf.path!r}: path, dtype and checksum must be texts")
        leaves.append(leaf)
    index = Index(fields["step"], tuple(leaves), fields["extra"])
    if not isinstance(index.step, int) or not isinstance(index.extra, dict) or fields["bytes"] != index.bytes:
        raise ValueError("step, extra or the number of bytes make no sense")
    return index
