"""Checkpoints: directories `step-00000040/` with all arrays in `leaves.bin` and, written last, `index.json`.

The index gives for each leaf its path in the tree, dtype, shape, bytes and SHA-256; it carries a checksum of itself.
A checkpoint is assembled under a temporary name, brought to disk and then renamed, so whatever is called `step-*` was
once complete. Loading never executes anything, compares the whole index with a skeleton before it allocates, verifies
every checksum and demands the end of the file. Bytes are those of the machine; its byte order is recorded.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from icl.runs import atomic
from icl.runs.errors import Incompatible, NotARun, StorageError
from icl.runs.index import COMPLETE, INDEX, Index, Leaf, compare, describe, name_of, read_index
from icl.runs.leaves import name_leaves, rebuild

DATA = "leaves.bin"
_SCRAP = re.compile(r"\.tmp-\d+-\d+")
_BLOCK = 1 << 20


class Loaded(NamedTuple):
    """The newest usable checkpoint, and one error for each newer one that was damaged and therefore passed over."""

    tree: Any
    step: int
    extra: dict[str, Any]
    path: Path
    damaged: tuple[NotARun, ...]


def directory_of(directory: str | os.PathLike[str], step: int) -> Path:
    return Path(directory) / name_of(step)


def save(directory: str | os.PathLike[str], step: int, tree: Any, extra: Mapping[str, Any] | None = None) -> Path:
    """Stores the arrays of a pytree as the checkpoint of a step; `extra` is plain JSON that travels along.

    A complete checkpoint of that step with the same contents is left alone; a damaged one is moved aside as
    `damaged-step-*`. Raises StorageError where the disk refuses or the step is taken by other contents, TypeError for
    leaves that are not arrays; earlier checkpoints are never touched.
    """
    if step < 0:
        raise ValueError(f"expected a step of at least 0, got {step}")
    directory, arrays = Path(directory), {n: _bytes_of(n, leaf) for n, leaf in name_leaves(tree).items()}
    leaves = tuple(
        Leaf(name, array.dtype.name, array.shape, array.nbytes, hashlib.sha256(_view(array)).hexdigest())
        for name, array in arrays.items()
    )
    target, scrap = directory_of(directory, step), directory / f".tmp-{step}-{os.getpid()}"
    index = describe(Index(step, leaves, dict(extra or {})))
    atomic.make_directory(directory)
    if _taken(target, leaves):
        return target
    with atomic.storage(target, "save checkpoint", sum(leaf.bytes for leaf in leaves) + len(index)):
        try:
            shutil.rmtree(scrap, ignore_errors=True)
            atomic.point("mkdir")
            scrap.mkdir()
            _write_leaves(scrap / DATA, arrays)
            atomic.write_new(scrap / INDEX, index)
            atomic.sync_directory(scrap)
            if target.exists():
                atomic.rename(target, _aside(target))
            atomic.rename(scrap, target)
        except OSError:
            shutil.rmtree(scrap, ignore_errors=True)
            raise
        atomic.sync_directory(directory)
    return target


def load(path: str | os.PathLike[str], skeleton: Any) -> Any:
    """The pytree in one checkpoint, in the structure of `skeleton`: a pytree of arrays or `jax.ShapeDtypeStruct`.

    Leaves are found by name. Those that are NumPy arrays in the skeleton come back as NumPy arrays, all others as JAX
    arrays. Raises Incompatible, listing paths, where leaves are missing, left over, or of another shape or dtype;
    NotARun where the checkpoint is damaged.
    """
    path, index = Path(path), read_index(path)
    return _read(path, index, index.leaves, skeleton)


def load_parts(
    path: str | os.PathLike[str], skeletons: Mapping[str, Any], aside: Collection[str] = ()
) -> dict[str, Any]:
    """Some parts of the pytree in one checkpoint, by name, each in the structure of its skeleton: of `params`, all
    leaves called `params` or `params.*`. None stands for a part without leaves.

    As `load` for these parts, which must be there to the last leaf. `aside` are the parts that may be there too: of
    their leaves only the index is read, and whatever they are and hold, they are neither compared nor verified.
    """
    path, index = Path(path), read_index(path)
    leaves = tuple(leaf for leaf in index.leaves if leaf.path.partition(".")[0] not in aside)
    return _read(path, index, leaves, dict(skeletons))


def check(path: str | os.PathLike[str], skeleton: Any) -> None:
    """Raises what `load` would raise before it reads any array."""
    path, index = Path(path), read_index(path)
    compare(path, index, name_leaves(skeleton))


def verify(path: str | os.PathLike[str]) -> Index:
    """Checks everything that can be checked without a skeleton, all checksums included. Raises NotARun."""
    path, index = Path(path), read_index(path)
    with _open_data(path, index) as file, atomic.storage(path / DATA, "read"):
        for leaf in index.leaves:
            digest, left = hashlib.sha256(), leaf.bytes
            while left and (block := file.read(min(left, _BLOCK))):
                digest.update(block)
                left -= len(block)
            _check(path / DATA, leaf, digest.hexdigest())
    return index


def list_checkpoints(directory: str | os.PathLike[str]) -> dict[int, Path]:
    """Step -> path of every checkpoint with a valid index and data of the right length, in the order of steps."""
    found = {}
    for step, path in _candidates(directory).items():
        with contextlib.suppress(NotARun):
            _open_data(path, read_index(path)).close()
            found[step] = path
    return found


def list_names(directory: str | os.PathLike[str]) -> tuple[int, ...]:
    """The steps of everything that has the name of a checkpoint, intact or not, in order."""
    return tuple(_candidates(directory))


def latest(directory: str | os.PathLike[str]) -> Path | None:
    """The newest of `list_checkpoints`."""
    return next(reversed(list_checkpoints(directory).values()), None)


def load_newest(
    directory: str | os.PathLike[str],
    skeleton: Any,
    *others: str | os.PathLike[str],
    usable: Callable[[int], bool] = lambda step: True,
) -> Loaded | None:
    """The newest checkpoint of one or several directories that is intact and whose step is `usable`; None where there
    has never been one.

    Damaged ones are passed over and reported. Raises NotARun where all are damaged, and Incompatible at once where the
    newest one is intact but does not fit the skeleton.
    """
    damaged: list[NotARun] = []
    candidates = [pair for folder in (directory, *others) for pair in _candidates(folder).items() if usable(pair[0])]
    for step, path in sorted(candidates, key=lambda pair: pair[0], reverse=True):
        try:
            return Loaded(load(path, skeleton), step, read_index(path).extra, path, tuple(damaged))
        except Incompatible:
            raise
        except NotARun as error:
            damaged.append(error)
    if damaged:
        reasons = "; ".join(map(str, damaged))
        raise NotARun(directory, f"no checkpoint is intact, train the run anew with --fresh: {reasons}")
    return None


def prune(directory: str | os.PathLike[str], keep: Callable[[int], bool]) -> tuple[int, ...]:
    """Removes the checkpoints whose step `keep` does not want; returns their steps.

    The newest is verified first and always stays, as does everything that is damaged or that `save` did not write.
    Must only be called by the process that holds the run's lock.
    """
    found = list_checkpoints(directory)
    while found:
        newest = max(found)
        try:
            verify(found.pop(newest))
            break
        except NotARun:
            continue
    gone = tuple(step for step, path in found.items() if not keep(step) and set(os.listdir(path)) == {INDEX, DATA})
    for step in gone:
        scrap = Path(directory) / f".tmp-{step}-{os.getpid()}"
        with atomic.storage(found[step], "remove checkpoint"):
            atomic.rename(found[step], scrap)
            atomic.point("remove")
            shutil.rmtree(scrap)
    return gone


def drop(directory: str | os.PathLike[str], keep: int | None = None) -> None:
    """Removes every checkpoint of a directory but that of step `keep`, and the directory when it is empty. Must only be
    called by the process that holds the run's lock."""
    for step, path in _candidates(directory).items():
        if step != keep:
            with atomic.storage(path, "remove checkpoint"):
                scrap = Path(directory) / f".tmp-{step}-{os.getpid()}"
                atomic.rename(path, scrap)
                shutil.rmtree(scrap)
    with contextlib.suppress(OSError):
        Path(directory).rmdir()


def clean(directory: str | os.PathLike[str]) -> None:
    """Removes what interrupted saves left behind. Must only be called by the process that holds the run's lock."""
    for path in Path(directory).glob(".tmp-*"):
        if _SCRAP.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            with atomic.storage(path, "remove"):
                shutil.rmtree(path)


def _candidates(directory: str | os.PathLike[str]) -> dict[int, Path]:
    directory = Path(directory)
    if not directory.is_dir():
        return {}
    with atomic.storage(directory, "read"):
        names = sorted((int(match[1]), name) for name in os.listdir(directory) if (match := COMPLETE.fullmatch(name)))
    return {step: directory / name for step, name in names}


def _bytes_of(name: str, leaf: Any) -> np.ndarray:
    array = np.asarray(leaf, order="C")
    if array.dtype.hasobject or array.dtype.kind not in "biufcV" or array.dtype.names is not None:
        raise TypeError(f"leaf {name}: checkpoints hold arrays of numbers, not {array.dtype}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _view(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _write_leaves(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with open(path, "xb", buffering=0) as file:
        for array in arrays.values():
            atomic.write(file.fileno(), _view(array))
        atomic.sync(file.fileno())


def _taken(target: Path, leaves: tuple[Leaf, ...]) -> bool:
    """Whether the step is stored already, with these very leaves."""
    try:
        stored = verify(target).leaves
    except Incompatible:
        raise
    except NotARun:
        return False
    if stored != leaves:
        raise StorageError(f"cannot save checkpoint {target}: it exists, complete, with other contents", str(target))
    return True


def _aside(target: Path) -> Path:
    names = (target.with_name(f"damaged-{target.name}{suffix}") for suffix in ("", *(f".{n}" for n in range(1, 1000))))
    return next(name for name in names if not name.exists())


def _open_data(path: Path, index: Index) -> io.BufferedReader:
    file = atomic.open_regular(path / DATA)
    size = os.fstat(file.fileno()).st_size
    if size != index.bytes:
        file.close()
        word = "is truncated" if size < index.bytes else "goes on after its last leaf"
        raise NotARun(path / DATA, f"{word}: {size} bytes, its index says {index.bytes}")
    return file


def _read(path: Path, index: Index, leaves: tuple[Leaf, ...], skeleton: Any) -> Any:
    """These leaves of a checkpoint, which must be those of the skeleton."""
    wanted = name_leaves(skeleton)
    compare(path, index._replace(leaves=leaves), wanted)
    values, place = {}, 0
    with _open_data(path, index) as file:
        for leaf in index.leaves:
            if leaf.path in wanted:
                values[leaf.path] = _read_leaf(path / DATA, file, place, leaf, wanted[leaf.path])
            place += leaf.bytes
    return rebuild(skeleton, values)


def _read_leaf(path: Path, file: io.BufferedReader, place: int, leaf: Leaf, wanted: Any) -> np.ndarray:
    with atomic.storage(path, "read"):
        file.seek(place)
        array = np.empty(leaf.shape, np.dtype(wanted.dtype))
        if file.readinto(_view(array)) != leaf.bytes:
            raise NotARun(path, f"is truncated in leaf {leaf.path!r}")
    _check(path, leaf, hashlib.sha256(_view(array)).hexdigest())
    return array


def _check(path: Path, leaf: Leaf, digest: str) -> None:
    if digest != leaf.sha256:
        raise NotARun(path, f"is damaged in leaf {leaf.path!r}: its checksum does not match")
