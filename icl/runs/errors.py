"""What can go wrong with stored runs, each kind with the exit code a shell command ends with.

0 done, 2 usage, 3 diverged, 4 storage, 5 not a usable run directory, 130 and 143 interrupted.
"""

import os
from collections.abc import Iterable
from typing import ClassVar


class RunError(Exception):
    """Base of every error about a run. The message is complete: it names the file and says what to do where known."""

    exit_code: ClassVar[int] = 1


class StorageError(RunError):
    """The disk refused: full, read-only, not a directory. Names the path and the operation; `needed` and `free` are
    bytes, where they are known."""

    exit_code = 4

    def __init__(self, message: str, path: str = "", needed: int | None = None, free: int | None = None):
        super().__init__(message)
        self.path, self.needed, self.free = path, needed, free


class NotARun(RunError):
    """A directory or file that cannot be used: foreign, incomplete, truncated or damaged. Names the file and why."""

    exit_code = 5

    def __init__(self, path: str | os.PathLike[str], reason: str = ""):
        super().__init__(f"{os.fspath(path)}: {reason}" if reason else os.fspath(path))
        self.path, self.reason = os.fspath(path), reason


class Incompatible(NotARun):
    """Intact, but written for something else: a newer schema, or leaves that another configuration has. Falling back
    to an older checkpoint would not help. `leaves` are the names of leaves that do not fit, where that is the reason.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str = "", leaves: Iterable[str] = ()):
        super().__init__(path, reason)
        self.leaves = tuple(leaves)


class AlreadyARun(NotARun):
    """The directory where a run was to be created holds that run already."""


class Busy(RunError):
    """Another process is writing to the run; the message names its host, process id and start time."""

    exit_code = 5


class NotFound(RunError):
    """A query named no run, or more than one; lists the candidates or the nearest names."""

    exit_code = 2


class BadName(RunError, ValueError):
    """An alias by which a run could not be named later; says the nearest one that is allowed."""

    exit_code = 2


class Diverged(RunError):
    """Training left the finite numbers at `step`; `leaf` is the first parameter that did, where it is known."""

    exit_code = 3

    def __init__(self, message: str, step: int | None = None, leaf: str | None = None):
        super().__init__(message)
        self.step, self.leaf = step, leaf
