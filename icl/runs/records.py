"""The small files of a run, `config.json`, `manifest.json` and `status.json`: what they may hold, read and written.

Whatever is written has first passed the reader's own rules: no run is lost because of what it says about itself.
"""

import dataclasses
import datetime
import enum
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icl.runs import atomic
from icl.runs.errors import BadName, Incompatible, NotARun
from icl.runs.strict_json import loads, seal, unseal

SCHEMA = 1
WRITTEN = ("config.json", "manifest.json", "status.json")


class State(enum.Enum):
    """How a run stands. The value is what a person is told; the lower-case name is what status.json holds."""

    PLANNED = "training has not begun"
    RUNNING = "training is under way"
    FINISHED = "training reached its last step"
    INTERRUPTED = "training was interrupted and can be resumed"
    DIVERGED = "training left the finite numbers"
    FAILED = "training stopped with an error"


@dataclasses.dataclass(frozen=True)
class Status:
    """State and last completed step; `detail` says more about this state, `warnings` collects over the run's life."""

    state: State
    step: int = 0
    detail: str = ""
    warnings: tuple[str, ...] = ()
    updated: str = ""

    def __str__(self) -> str:
        return f"step {self.step}: {self.state.value}" + (f" ({self.detail})" if self.detail else "")


def write_status(path: Path, status: Status) -> Status:
    status = dataclasses.replace(status, updated=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    fields = {**dataclasses.asdict(status), "state": status.state.name.lower(), "meaning": status.state.value}
    data = seal({"schema": SCHEMA, **fields})
    read_status(path / "status.json", data)
    atomic.write_atomic(path / "status.json", data)
    return status


def read_status(file: Path, data: bytes) -> Status:
    fields = unseal(data, file, SCHEMA)
    try:
        state, warnings = State[str(fields["state"]).upper()], tuple(map(str, fields["warnings"]))
        return Status(state, int(fields["step"]), str(fields["detail"]), warnings, str(fields["updated"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise NotARun(file, f"is no status of a run: {type(error).__name__} {error}") from None


def read_config(file: Path, text: bytes, checksum: Any) -> dict[str, Any]:
    if hashlib.sha256(text).hexdigest() != checksum:
        raise NotARun(file, "was changed after the run was created, or is damaged")
    config = loads(text, file)
    if not isinstance(config, dict):
        raise NotARun(file, "is not a configuration")
    return config


def sealed_manifest(file: Path, fields: Mapping[str, Any]) -> bytes:
    data = seal(fields)
    read_manifest(file, data)
    return data


def read_manifest(file: Path, data: bytes) -> dict[str, Any]:
    manifest = unseal(data, file, SCHEMA)
    _check_manifest(file, manifest)
    return manifest


def check_name(name: Any) -> None:
    """Raises BadName for an alias by which a run could not be named: it has to be a text of at most 100 letters,
    digits and other visible signs that is neither a path, a query, a word with a meaning of its own nor a flag."""
    if name is None:
        return
    if not isinstance(name, str):
        raise BadName(f"name: expected a text, got {name!r}; say {str(name)!r}")
    allowed = re.sub(r"[^\w.+@ -]+", "-", name)[:100].strip("- ") or "run"
    allowed = f"{allowed}-run" if allowed == "last" else allowed
    if name != allowed:
        raise BadName(f"name: {name!r} cannot name a run at the keyboard; the nearest that can is {allowed!r}")


def _check_manifest(file: Path, manifest: Mapping[str, Any]) -> None:
    identity, name = manifest.get("identity"), manifest.get("name")
    if not isinstance(identity, str) or not re.fullmatch(r"[0-9a-f]{10,}", identity):
        raise NotARun(file, "has no identity")
    if name is not None and not isinstance(name, str):
        raise NotARun(file, "has a name that is not a text")
    if not file.parent.name.endswith(identity[:10]) and re.search(r"-[0-9a-f]{10}$", file.parent.name):
        raise Incompatible(file, f"belongs to the run {identity[:10]}, not to this directory")
