"""What was measured, by experiment and scale, in `<runs>/results/<experiment>-<scale>.json`.

Every claim is written as soon as it is judged, so that a killed process loses one measurement at most. An entry
counts for as long as its key does: a hash of the claim's text, the identities of the runs and the version of its
measure. The file is sealed with a checksum and replaced in one step.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.papers import Claim
from experiments.verdicts import Verdict, revive
from icl.runs import atomic, provenance
from icl.runs.errors import NotARun
from icl.runs.lock import waiting
from icl.runs.strict_json import dumps, seal, unseal

SCHEMA = 1
"""Raised when the same measured values would now be judged otherwise, or are written otherwise."""


class Entry(NamedTuple):
    """One judged claim: its key, the version of icl that measured it, the verdict."""

    key: str
    version: str
    verdict: Verdict


def version() -> str:
    return provenance.versions()["icl-workbench"] or "not installed"


def key(claim: Claim, scale: str, identities: Mapping[str, Sequence[str]], measure: int) -> str:
    """What a verdict depends on, as 16 hexadecimal digits: the claim, the runs and the version of its measure."""
    named = {name: list(runs) for name, runs in identities.items()}
    parts = [SCHEMA, measure, scale, sorted(vars(claim).items()), named]
    return hashlib.sha256(dumps(parts).encode()).hexdigest()[:16]


def place(runs: str | os.PathLike[str], experiment: str, scale: str) -> Path:
    return Path(runs) / "results" / f"{experiment}-{scale}.json"


def load(path: Path) -> dict[str, Entry]:
    """The entries by claim id; none where nothing was measured yet.

    Raises Incompatible for a file of another schema, NotARun for a damaged one; both name the file.
    """
    if not os.path.lexists(path):
        return {}
    fields = unseal(atomic.read_bytes(path), path, SCHEMA)
    try:
        found = fields["claims"].items()
        return {name: Entry(str(e["key"]), str(e["version"]), revive(e["verdict"])) for name, e in found}
    except (AttributeError, KeyError, TypeError) as error:
        raise NotARun(path, f"holds no results: {type(error).__name__} {error}") from None


def add(path: Path, claim: str, entry: Entry) -> None:
    """Adds or replaces one entry; what another process has added since is kept. Raises as `load`, and StorageError."""
    atomic.make_directory(path.parent)
    with waiting(path.parent):
        entries = load(path) | {claim: entry}
        claims = {name: {**e._asdict(), "verdict": e.verdict.plain()} for name, e in entries.items()}
        atomic.write_atomic(path, seal({"schema": SCHEMA, "claims": claims}))
