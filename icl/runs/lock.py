"""One writer at a time: an operating-system lock on `<run>/lock`, held as long as the process lives.

The lock vanishes with its process, also after `kill -9`, so what the file says is never evidence for a writer; it only
lets messages name them. Where the file system knows no locks (some network mounts), a file `owner`, which only one
process can create, stands in for it; an owner whose process or heartbeat has ended is replaced.

Readers never lock. `living` tells them whether somebody writes: the writer touches its file every `HEARTBEAT` seconds.
"""

import contextlib
import datetime
import errno
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from icl.runs import atomic
from icl.runs.errors import Busy, NotARun, StorageError
from icl.runs.strict_json import dumps, loads

HEARTBEAT = 10.0
SILENT = 120.0
"""Seconds without a heartbeat after which a writer counts as gone: a machine under load may skip a few."""

# Windows locks are mandatory for the bytes they cover; this one covers none that anybody reads.
_OFFSET = 1 << 30
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
NO_LOCKS = "this file system has no locks; the file `owner` keeps other writers out, and is weaker"


class Holder(NamedTuple):
    """The process that says it writes to a run."""

    host: str
    pid: int
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, started {self.started},"


@contextlib.contextmanager
def writing(directory: str | os.PathLike[str]) -> Iterator[str | None]:
    """Holds the lock of a run inside the block; gives a warning where a weaker means had to stand in for it.

    Raises Busy, naming host, process id and start time, where another process (or this one) holds it; StorageError
    where the directory cannot be written, so that work on such a run fails before it begins.
    """
    path = Path(directory) / "lock"
    if path.is_symlink():
        raise NotARun(path, "is a symbolic link; runs hold plain files only")
    with atomic.storage(path, "write"):
        atomic.point("open lock")
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags, 0o666)
    try:
        with contextlib.ExitStack() as stack:
            warning = None
            with atomic.storage(path, "lock"):
                locked = _try(descriptor)
            if locked is None:
                stack.enter_context(_owning(path.with_name("owner")))
                warning = NO_LOCKS
            elif not locked:
                os.lseek(descriptor, 0, os.SEEK_SET)
                raise Busy(f"{path.parent}: {_read(os.read(descriptor, 4096), path)} is writing to this run")
            with atomic.storage(path, "write"):
                os.ftruncate(descriptor, 0)
                atomic.write(descriptor, (dumps(_self()._asdict()) + "\n").encode())
            stack.callback(_empty, descriptor)  # whatever happens: this process may live on and hold no lock
            with _beating(path):
                yield warning
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def waiting(directory: str | os.PathLike[str], seconds: float = 60.0) -> Iterator[None]:
    """As `writing`, for short work: waits for another process to be done. Raises Busy after so many seconds."""
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(writing(directory))
                break
            except Busy:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        yield


def living(directory: str | os.PathLike[str]) -> Holder | None:
    """Who writes to a run just now, without touching its lock: whoever its file names, if that process has given a sign
    lately and, on this machine, exists. Another machine's word is its heartbeat alone."""
    path = Path(directory) / "lock"
    try:
        with atomic.open_regular(path) as file:
            holder, beat = _read(file.read(4096), path), os.fstat(file.fileno()).st_mtime
    except (NotARun, StorageError, OSError):
        return None
    return holder if isinstance(holder, Holder) and _alive(holder, beat) else None


def _alive(holder: Holder, beat: float) -> bool:
    if time.time() - beat > SILENT:
        return False
    if holder.host != platform.node():
        return True
    try:
        os.kill(holder.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it exists, and is somebody else's
        pass
    return True


@contextlib.contextmanager
def _owning(path: Path) -> Iterator[None]:
    """Holds the file that only one process can create. Raises Busy."""
    mine = (dumps(_self()._asdict()) + "\n").encode()
    with atomic.storage(path, "write", len(mine)):
        for _ in range(3):
            try:
                atomic.write_new(path, mine)
                break
            except FileExistsError:
                _clear(path)
        else:
            raise Busy(f"{path.parent}: another process is writing to this run")
    try:
        with _beating(path):
            yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _clear(path: Path) -> None:
    """Takes away the file of an owner that is gone. Raises Busy where it is not, or another process was faster."""
    with contextlib.suppress(FileNotFoundError, NotARun):
        with atomic.open_regular(path) as file:
            text, beat = file.read(4096), os.fstat(file.fileno()).st_mtime
        holder = _read(text, path)
        if time.time() - beat <= SILENT and (not isinstance(holder, Holder) or _alive(holder, beat)):
            raise Busy(f"{path.parent}: {holder} is writing to this run")
        taken = path.with_name(f".tmp-owner-{os.getpid()}")
        atomic.rename(path, taken)
        try:
            if taken.read_bytes() != text:  # a new owner came between reading and renaming: it is put back
                with contextlib.suppress(FileExistsError):
                    os.link(taken, path)
                raise Busy(f"{path.parent}: {_read(taken.read_bytes(), path)} is writing to this run")
        finally:
            taken.unlink()


class _Heart:
    """One thread that touches the files of all locks this process holds."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.guard = threading.Lock()
        self.stop: threading.Event | None = None

    def add(self, path: Path) -> None:
        with self.guard:
            self.paths.append(path)
            if self.stop is None:
                self.stop = threading.Event()
                threading.Thread(target=self._beat, args=(self.stop,), daemon=True).start()

    def remove(self, path: Path) -> None:
        with self.guard:
            self.paths.remove(path)
            if not self.paths and self.stop is not None:
                self.stop.set()
                self.stop = None

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT):
            for path in tuple(self.paths):
                with contextlib.suppress(OSError):
                    os.utime(path)


_heart = _Heart()


@contextlib.contextmanager
def _beating(path: Path) -> Iterator[None]:
    _heart.add(path)
    try:
        yield
    finally:
        _heart.remove(path)


def _empty(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)


def _self() -> Holder:
    return Holder(platform.node(), os.getpid(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))


def _read(text: bytes, path: Path) -> Holder | str:
    try:
        found = loads(text, path)
        return Holder(str(found["host"]), int(found["pid"]), str(found["started"]))
    except (NotARun, KeyError, TypeError, ValueError):
        return "another process"


def _try(descriptor: int) -> bool | None:
    """Whether the lock is ours now; None where there are no locks."""
    if os.name == "nt":
        import msvcrt

        os.lseek(descriptor, _OFFSET, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True
