"""The directory of one run: what was asked, where it came from, how far it is.

    <runs root>/<function class>-<10 hex digits of the identity>/
        config.json      the configuration, canonical
        manifest.json    schema, identity, alias, checksum of config.json, provenance
        status.json      state, step, warnings
        metrics.jsonl    one row per logged step
        checkpoints/     step-########/
        rolling/         step-########/, the newest state by the clock, so that a kill costs minutes
        report/          figures and tables
        lock             held by the one writer; `owner` beside it where the file system has no locks

Creation writes status.json last: a directory without it is no run yet. Opening and reading change nothing on disk.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from icl.runs import atomic, lock
from icl.runs.errors import AlreadyARun, NotARun
from icl.runs.index import COMPLETE
from icl.runs.records import (
    SCHEMA,
    WRITTEN,
    read_config,
    read_manifest,
    read_status,
    sealed_manifest,
    write_status,
)
from icl.runs.records import State as State
from icl.runs.records import Status as Status
from icl.runs.records import check_name as check_name
from icl.runs.strict_json import dumps

_OURS = re.compile(r"(config|manifest|status)\.json|metrics\.jsonl|checkpoints|rolling|report|lock|owner|\.tmp-.*-\d+")


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """A run on disk, with its configuration and manifest already validated. Make one with `create` or `open`."""

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    schema: ClassVar[int] = SCHEMA

    @staticmethod
    def place(root: str | os.PathLike[str], config: Mapping[str, Any], identity: str) -> Path:
        """Where the run of this configuration lives below the root."""
        if not re.fullmatch(r"[0-9a-f]{10,}", identity):
            raise ValueError(f"expected an identity of at least 10 hexadecimal digits, got {identity!r}")
        task = re.sub(r"[^A-Za-z0-9_-]+", "-", str(config.get("task", {}).get("name") or "run")).strip("-") or "run"
        return Path(root) / f"{task}-{identity[:10]}"

    @staticmethod
    def create(
        root: str | os.PathLike[str],
        config: Mapping[str, Any],
        identity: str,
        manifest: Mapping[str, Any],
        name: str | None = None,
    ) -> "RunDirectory":
        """A new run, complete on disk when this returns, at step 0 and planned. `name` is its alias (`check_name`).

        Nothing is written that `open` would refuse. A creation that was interrupted is completed. Raises AlreadyARun
        where this run exists, NotARun for a directory with anything else in it (which is left as it is), StorageError
        where nothing can be written.
        """
        check_name(name)
        path = RunDirectory.place(root, config, identity)
        _refuse_occupied(path)
        atomic.make_directory(path)
        with lock.writing(path):
            _refuse_occupied(path)
            text = (dumps(config, indent=1) + "\n").encode()
            checksum = hashlib.sha256(text).hexdigest()
            sealed = {**manifest, "schema": SCHEMA, "identity": identity, "name": name, "config_sha256": checksum}
            read_config(path / "config.json", text, checksum)
            described = sealed_manifest(path / "manifest.json", sealed)
            atomic.write_atomic(path / "config.json", text)
            atomic.write_atomic(path / "manifest.json", described)
            atomic.make_directory(path / "checkpoints")
            write_status(path, Status(State.PLANNED))
            with atomic.storage(path.parent, "write"):
                atomic.sync_directory(path.parent)
        return RunDirectory.open(path)

    @staticmethod
    def open(path: str | os.PathLike[str]) -> "RunDirectory":
        """An existing run; changes nothing on disk.

        Raises NotARun with what is missing or damaged, Incompatible for a newer schema ("upgrade icl").
        """
        path = Path(path)
        if not path.is_dir():
            raise NotARun(path, "is not a directory" if path.exists() else "does not exist")
        missing = [name for name in WRITTEN if not os.path.lexists(path / name)]
        if missing:
            raise NotARun(path, f"is not a run of icl: {', '.join(missing)} missing")
        manifest = read_manifest(path / "manifest.json", atomic.read_bytes(path / "manifest.json"))
        text = atomic.read_bytes(path / "config.json")
        config = read_config(path / "config.json", text, manifest["config_sha256"])
        if (path / "checkpoints").is_symlink():
            raise NotARun(path / "checkpoints", "is a symbolic link; runs hold plain files only")
        run = RunDirectory(path, config, manifest)
        _ = run.status
        return run

    def called(self, name: str) -> "RunDirectory":
        """This run under another alias: the manifest is replaced in one step. Raises as `lock` and `check_name` do."""
        check_name(name)
        file = self.path / "manifest.json"
        with self.lock():
            manifest = read_manifest(file, atomic.read_bytes(file))  # as it is now, not as it was when this was opened
            atomic.write_atomic(file, sealed_manifest(file, {**manifest, "name": name}))
        return RunDirectory.open(self.path)

    @property
    def identity(self) -> str:
        return self.manifest["identity"]

    @property
    def name(self) -> str | None:
        """The alias given by --name, the latest one; several runs of one sweep may share it."""
        return self.manifest["name"]

    @property
    def created(self) -> str:
        return str(self.manifest.get("created", ""))

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def rolling(self) -> Path:
        return self.path / "rolling"

    @property
    def report(self) -> Path:
        return self.path / "report"

    @property
    def packing(self) -> dict[str, Any]:
        """In which program it trains (`icl.training.packs`); empty for runs that were made before this was recorded."""
        found = self.manifest.get("packing")
        return dict(found) if isinstance(found, Mapping) else {}

    @property
    def status(self) -> Status:
        """Read from disk each time. A run whose process has ended in the middle of training is interrupted, at the
        step from which it goes on. Raises NotARun where it is damaged."""
        found = self._stored()
        if found.state is not State.RUNNING or lock.living(self.path) is not None:
            return found
        step = max(self._steps(), default=0)
        return dataclasses.replace(
            found,
            state=State.INTERRUPTED,
            step=step,
            detail=f"its process ended at about step {max(found.step, step)}; training goes on from step {step}",
        )

    def _steps(self) -> list[int]:
        """The steps of everything stored that has the name of a checkpoint."""
        found = []
        for folder in (self.checkpoints, self.rolling):
            if folder.is_dir():
                found += [int(match[1]) for name in os.listdir(folder) if (match := COMPLETE.fullmatch(name))]
        return found

    @property
    def begun(self) -> bool:
        """Whether training has left anything that could be lost, or is under way."""
        return bool(self._steps()) or lock.living(self.path) is not None

    def _stored(self) -> Status:
        file = self.path / "status.json"
        return read_status(file, atomic.read_bytes(file))

    def set_status(self, state: State, step: int, detail: str = "", warnings: tuple[str, ...] = ()) -> Status:
        """Replaces the status in one step; new warnings join the old ones. Only for the holder of `lock`."""
        known = self._stored().warnings
        added = tuple(w for w in dict.fromkeys(warnings) if w not in known)
        return write_status(self.path, Status(state, step, detail, known + added))

    def lock(self):
        """`with run.lock():` makes this process the one writer. Raises Busy, or StorageError on a read-only run."""
        return lock.writing(self.path)

    def discard(self) -> None:
        """Removes a run that has left nothing: a command that failed before its first step leaves no empty run. Does
        nothing where there is anything but what `create` wrote. Raises as `lock` does."""
        with self.lock():
            names = set(os.listdir(self.path))
            empty = not any(os.listdir(f) for f in (self.checkpoints, self.rolling) if f.is_dir())
            rows = self.metrics.exists() and self.metrics.stat().st_size
            if names - {*WRITTEN, "metrics.jsonl", "checkpoints", "rolling", "lock", "owner"} or rows or not empty:
                return
            # Without its status the directory is no run, whatever else is still there when the process dies.
            for name in ("status.json", "manifest.json", "config.json", "metrics.jsonl", "owner", "lock"):
                with atomic.storage(self.path / name, "remove"):
                    (self.path / name).unlink(missing_ok=True)
            for folder in (self.checkpoints, self.rolling, self.path):
                if folder.is_dir():
                    with atomic.storage(folder, "remove"):
                        folder.rmdir()


def _refuse_occupied(path: Path) -> None:
    """Nothing, an empty directory and an interrupted creation are free; everything else raises."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise NotARun(path, "is in the way: a run is a directory")
    with atomic.storage(path, "read"):
        names = sorted(os.listdir(path))
    if "status.json" in names:
        found = RunDirectory.open(path)
        raise AlreadyARun(path, f"holds this run already ({found.status}); resume it, extend it, or change the seed")
    foreign = [name for name in names if not _OURS.fullmatch(name)]
    used = [name for name in ("metrics.jsonl", "report") if name in names]
    used += [name for name in ("checkpoints", "rolling") if (path / name).is_dir() and os.listdir(path / name)]
    if foreign or used:
        raise NotARun(path, f"holds {', '.join((foreign + used)[:5])} but no run of icl; choose another place")
