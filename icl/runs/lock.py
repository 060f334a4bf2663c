"""One writer at a time: an operating-system lock on `<run>/lock`, held as long as the process lives.

The lock vanishes with its process, also after `kill -9`, so what the file says is never evidence that somebody is
writing; it only lets the message name them. Readers never lock.
"""

import contextlib
import datetime
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from icl.runs import atomic
from icl.runs.errors import Busy, NotARun
from icl.runs.strict_json import dumps, loads

# Windows locks are mandatory for the bytes they cover; this one covers none that anybody reads.
_OFFSET = 1 << 30


@contextlib.contextmanager
def writing(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Holds the lock of a run inside the block.

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
        with atomic.storage(path, "lock"):
            if not _try(descriptor):
                raise Busy(f"{path.parent}: {_holder(descriptor, path)} is writing to this run")
        with atomic.storage(path, "write"):
            os.ftruncate(descriptor, 0)
            atomic.write(descriptor, (dumps(_self()) + "\n").encode())
        yield
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _self() -> dict[str, str | int]:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": os.getpid(), "started": started}


def _holder(descriptor: int, path: Path) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        found = loads(os.read(descriptor, 4096), path)
        return f"process {found['pid']} on {found['host']}, started {found['started']},"
    except (NotARun, KeyError, TypeError):
        return "another process"


def _try(descriptor: int) -> bool:
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
    return True
