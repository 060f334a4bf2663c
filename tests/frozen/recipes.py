"""Eight tiny runs, one of every kind that a user may have on disk, and where what was stored of them stands.

`{root}` in a command is the folder of runs. A recipe is run twice: whole, with its report, and once more in another
folder, where Ctrl-C comes after STOP steps. `tests.frozen.write_runs` packs both into `runs/NAME.tar.xz`.
"""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from tests.compiling import FAST

FOLDER = Path(__file__).parent / "runs"
COMMIT = "5f54f58"
STOP = 7
TINY = (
    "--width 8 --heads 2 --max-points 4 --mlp-ratio 1 --batch 4 --points 4 --dim 2 --steps 12 --prompts 16 "
    "--optimizer adam --checkpoint-every none --log-every 3 --validation-prompts 8 --seed 1 --out {root}"
).split()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """`before` trains what the run needs; `words` trains it; `resume` goes on with it, `show` answers from it."""

    words: tuple[str, ...]
    resume: tuple[str, ...] = ("resume", "last", "--no-report", "--out", "{root}")
    show: tuple[str, ...] = ("show", "last", "--out", "{root}")
    before: tuple[str, ...] = ()
    # Whether the same words must find the run; of a plugin's nobody knows which code it was.
    found: bool = True


def _run(*words: str) -> tuple[str, ...]:
    return ("run", "linear-regression", "--depth", "1", *TINY, *words)


_TASK = ("./my_task.py:Cubic" if word == "linear-regression" else word for word in _run("--name", "cubic"))
_CUBIC = tuple(word for word in " ".join(_TASK).replace(" --dim 2", "").split())
_PACK = tuple(" ".join(_run("--seeds", "3", "--name", "pack")).replace(" --seed 1", "").split())

RECIPES: dict[str, Recipe] = {
    "single": Recipe(_run("--name", "single")),
    "pack": Recipe(_PACK, ("resume", "pack", "--no-report", "--out", "{root}"), ("show", "seed=2", "--out", "{root}")),
    "fork": Recipe(
        ("fork", "parent", "--at", "4", "--set", "training.learning_rate=1e-4", "--out", "{root}"),
        before=_run("--name", "parent", "--schedule", "constant", "--set", "training.checkpoint_every=4"),
    ),
    "looped": Recipe(_run("--model", "looped", "--loops", "3", "--name", "looped")),
    "bars": Recipe(_run("--head", "bars", "--set", "model.head.count=8", "--name", "bars")),
    "class by file": Recipe(
        _CUBIC,
        ("--plugin", "my_task.py", "resume", "last", "--no-report", "--out", "{root}"),
        ("--plugin", "my_task.py", "show", "cubic", "--out", "{root}"),
    ),
    "own module": Recipe(("own.py", "{root}"), ("own.py", "{root}"), ("report-of-own.py", "{root}")),
    "plugin mixer": Recipe(
        ("--plugin", "my_mixer.py", *_run("--mixer", "my-averages", "--name", "averages")),
        ("--plugin", "my_mixer.py", "resume", "last", "--no-report", "--out", "{root}"),
        ("--plugin", "my_mixer.py", "show", "averages", "--out", "{root}"),
        found=False,
    ),
}


def job(words: tuple[str, ...], root: Path, stop: int | None = None) -> dict[str, Any]:
    return {"words": [word.replace("{root}", str(root)) for word in words], "stop": stop}


def drive(jobs: list[dict[str, Any]], source: Path, cache: Path) -> list[tuple[int, str, str]]:
    """Commands run by the code below `source`, two devices, compiled as tests compile. What each of them said."""
    environment = {**os.environ, "PYTHONPATH": str(source), "ICL_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {FAST}"}
    done = subprocess.run(
        [sys.executable, "driver.py"],
        cwd=FOLDER,
        input=json.dumps(jobs),
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [(code, out, err) for code, out, err in json.loads(done.stdout.splitlines()[-1])]


def archive_of(name: str, folder: Path = FOLDER) -> Path:
    return folder / f"{name.replace(' ', '-')}.tar.xz"


def unpack(name: str, where: Path, folder: Path = FOLDER) -> None:
    """`whole` and `interrupted` below `where`, and `written.json`: where the archive was written."""
    with tarfile.open(archive_of(name, folder)) as archive:
        archive.extractall(where, filter="data")


def here() -> dict[str, Any]:
    """What last digits depend on: kind of machine, and versions."""
    from icl.runs.provenance import versions

    info = Path("/proc/cpuinfo")
    lines = (line.partition(":") for line in (info.read_text().splitlines() if info.exists() else ()))
    cpu = {name.strip(): text.strip() for name, _, text in lines}
    known = {name: number for name, number in versions().items() if name != "icl-workbench"}
    able = hashlib.sha256(" ".join(sorted(cpu.get("flags", "").split())).encode()).hexdigest()[:10]
    machine = {"processor": platform.machine(), "model": cpu.get("model name", ""), "instructions": able}
    return machine | {"versions": known}


def runs(root: Path) -> list[Path]:
    """The run directories below a folder, by name."""
    return sorted(path for path in root.iterdir() if (path / "manifest.json").exists())


def result(run: Path) -> dict[str, bytes]:
    """What resuming must not change: the log, and the last checkpoint with its weights and optimizer state."""
    last = max((run / "checkpoints").glob("step-*"))
    return {"log": (run / "metrics.jsonl").read_bytes()} | {
        f"{last.name}/{p.name}": p.read_bytes() for p in last.iterdir()
    }
