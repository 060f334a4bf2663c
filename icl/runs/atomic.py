"""File operations that a killed process cannot leave half done, and reading that trusts nothing.

Every operation that changes the disk passes `point(name)`. The environment variable ICL_FAULT makes the N-th of them
fail, so that tests reach all of them: `kill@N` sends SIGKILL to the process, `enospc@N` reports a full disk once,
`enospc@N+` from then on. While a fault is armed, each write happens in two halves with a point in between.
"""

import contextlib
import dataclasses
import errno
import io
import os
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from icl.runs.errors import NotARun, StorageError


@dataclasses.dataclass
class Fault:
    """A planned failure of the `at`-th operation, counted from 1 (and of every later one, where `onwards`)."""

    kind: Literal["kill", "enospc"]
    at: int
    onwards: bool = False
    seen: int = 0

    @staticmethod
    def parse(text: str | None) -> "Fault | None":
        if not text:
            return None
        kind, _, number = text.partition("@")
        if kind not in ("kill", "enospc") or not number.removesuffix("+").isdecimal():
            raise ValueError(f"ICL_FAULT: expected kill@N, enospc@N or enospc@N+, got {text!r}")
        return Fault(kind, int(number.removesuffix("+")), number.endswith("+"))

    def reach(self, name: str) -> None:
        self.seen += 1
        if self.seen == self.at or (self.onwards and self.seen > self.at):
            if self.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (planned, at {name})")


fault: Fault | None = Fault.parse(os.environ.get("ICL_FAULT"))


def point(name: str) -> None:
    """A place where the process may die or the disk may refuse."""
    if fault is not None:
        fault.reach(name)


@contextlib.contextmanager
def storage(path: str | os.PathLike[str], action: str, needed: int | None = None) -> Iterator[None]:
    """Turns every OSError inside into a StorageError that says which path, what was tried, and how much room there
    was."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        free = _free(Path(path)) if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        room = [f"needs {needed} bytes"] if needed is not None else []
        room += [f"{free} bytes free"] if free is not None else []
        detail = f" ({', '.join(room)})" if room else ""
        raise StorageError(f"cannot {action} {path}: {reason}{detail}", os.fspath(path), needed, free) from error


def _free(path: Path) -> int | None:
    for place in (path, *path.parents):
        if place.exists():
            return shutil.disk_usage(place).free
    return None


def write(descriptor: int, data: bytes | memoryview) -> None:
    """All of `data`, however often the system takes only a part of it."""
    view = memoryview(data).cast("B")
    point("write")
    if fault is not None:
        half = len(view) // 2
        _write(descriptor, view[:half])
        point("second half of a write")
        view = view[half:]
    _write(descriptor, view)


def _write(descriptor: int, view: memoryview) -> None:
    while len(view):
        view = view[os.write(descriptor, view) :]


def sync(descriptor: int) -> None:
    point("fsync")
    os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable. Systems that cannot do this for directories are left alone."""
    point("fsync of a directory")
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    point("rename")
    os.replace(source, target)


def make_directory(path: Path) -> None:
    """A directory with its parents; one that exists is fine. Raises StorageError."""
    with storage(path, "create directory"):
        point("mkdir")
        path.mkdir(parents=True, exist_ok=True)


def write_new(path: Path, data: bytes) -> None:
    """A file that did not exist, on disk when this returns. Raises OSError; callers name the larger operation."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        write(descriptor, data)
        sync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Replaces the file: whoever reads, whenever the process dies, sees all of the old or all of the new contents.

    Raises StorageError; the old contents are then still there.
    """
    path = Path(path)
    scrap = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    with storage(path, "write", len(data)):
        try:
            scrap.unlink(missing_ok=True)
            write_new(scrap, data)
            rename(scrap, path)
        except OSError:
            with contextlib.suppress(OSError):
                scrap.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A file for reading, if it is a plain file in its own right: links, pipes and devices are refused.

    Raises NotARun where there is none or it is something else, StorageError where the system does not let us read.
    """
    path = Path(path)
    if path.is_symlink():
        raise NotARun(path, "is a symbolic link; runs hold plain files only")
    with storage(path, "read"):
        try:
            # Without O_NONBLOCK opening a pipe would wait for a writer.
            flags = os.O_RDONLY | _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            descriptor = os.open(path, flags)
        except (FileNotFoundError, NotADirectoryError):
            raise NotARun(path, "is missing") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotARun(path, "is not a plain file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: str | os.PathLike[str], limit: int = 1 << 24) -> bytes:
    """The contents of a plain file of at most `limit` bytes. Raises NotARun or StorageError."""
    with open_regular(path) as file, storage(path, "read"):
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise NotARun(path, f"has {size} bytes, more than the {limit} that such a file may have")
        return file.read()


_BINARY = getattr(os, "O_BINARY", 0)
