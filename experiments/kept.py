"""Arrays that take minutes to measure are kept beside the runs, so that figures draw what claims were judged on.

A file counts for as long as its key does: the run and its step, the other arguments, and the version that the function
declares, which is raised when it gives other arrays for the same run.
"""

import contextlib
import functools
import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icl.handle import Run
from icl.runs import atomic
from icl.runs.errors import NotARun, StorageError
from icl.runs.strict_json import dumps

Measure = Callable[..., Mapping[str, np.ndarray]]


def kept(version: int) -> Callable[[Measure], Measure]:
    """Decorator of `measure(run, *words) -> arrays by name`, computed once and then read from
    `<runs>/results/arrays/KEY.npz`. A damaged file is measured again; where nothing can be written, nothing is kept."""
    return functools.partial(_kept, version)


def _kept(version: int, measure: Measure) -> Measure:
    @functools.wraps(measure)
    def look(run: Run, *words: str) -> Mapping[str, np.ndarray]:
        parts = [measure.__module__, measure.__name__, version, run.identity, run.step, list(words)]
        key = hashlib.sha256(dumps(parts).encode()).hexdigest()[:16]
        path = run.path.parent / "results" / "arrays" / f"{key}.npz"
        found = _read(path)
        if found is None:
            found = measure(run, *words)
            with contextlib.suppress(StorageError):
                atomic.make_directory(path.parent)
                atomic.write_atomic(path, _packed(found))
        return found

    return look


def _read(path: Path) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    with contextlib.suppress(NotARun, StorageError, ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile):
        with np.load(io.BytesIO(atomic.read_bytes(path)), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    return None


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    columns: Any = dict(arrays)
    np.savez(file, **columns)
    return file.getvalue()
