"""The command line in processes of its own, for tests of what must hold when something goes wrong."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.compiling import FAST

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(tempfile.gettempdir()) / "icl-tests-compilation-cache" / "commands"
SIZES = "--depth 1 --width 8 --heads 2 --batch 8 --points 4 --steps 30 --prompts 16 --optimizer adam"
TINY = [
    "linear-regression",
    *SIZES.split(),
    "--checkpoint-every",
    "10",
    "--log-every",
    "5",
    "--validation-prompts",
    "8",
]


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": FAST, "ICL_CACHE": str(PROGRAMS), **changes}


def start(*words: object, **changes: str) -> subprocess.Popen:
    """A command under way."""
    command = [sys.executable, "-m", "icl.cli", *map(str, words)]
    return subprocess.Popen(
        command, env=environment(**changes), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def wait(process: subprocess.Popen) -> Said:
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return Said(process.returncode, out, err)


def icl(*words: object, **changes: str) -> Said:
    """One command in a process of its own."""
    return wait(start(*words, **changes))


def talk(*commands: Sequence[Any], faults: Sequence[str] = (), **changes: str) -> list[Said]:
    """Several commands one after another in one process; `faults` are armed for the first of them, one each."""
    pairs = itertools.zip_longest(commands, faults, fillvalue="")
    jobs = json.dumps([(list(map(str, words)), fault) for words, fault in pairs])
    done = subprocess.run(
        [sys.executable, "-c", _TALK],
        input=jobs,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Said(*said) for said in json.loads(done.stdout.splitlines()[-1])]


_TALK = """
import contextlib, io, json, sys
from icl import cli
from icl.runs import atomic
said = []
for words, fault in json.load(sys.stdin):
    sys.argv = ["icl", *words]
    atomic.fault = atomic.Fault.parse(fault)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code
    said.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(said))
"""


def only(root: Path) -> Path:
    """The one run below a root."""
    (path,) = (path for path in root.iterdir() if (path / "manifest.json").exists())
    return path


def result(run: Path) -> dict[str, bytes]:
    """The bytes that no accident may change: the log and the last checkpoint."""
    last = max((run / "checkpoints").glob("step-*"))
    files = {path.name: path.read_bytes() for path in sorted(last.iterdir())}
    return {"step": last.name.encode(), "log": (run / "metrics.jsonl").read_bytes(), **files}


def files(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a directory: when it was changed, and what it holds."""
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())
