"""Long trials of what must never happen: `python -m tests.soak` kills, flips bits, gives odd settings, packs members.

Each kind says how many of its trials held; the first that does not is printed whole, with the seed that repeats it, and
the command ends with 1. CI runs a few of each kind; all of them take about an hour on two cores.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.shell import TINY, icl, only, result, start, talk, wait

SEED = 20261129
PAIR = ["run", *TINY, "--seeds", "2", "--no-report"]
SINGLE = ["run", *TINY, "--no-report"]


class Failed(Exception):
    """A trial that did not hold, in words."""


def check(holds: bool, *words: Any) -> None:
    if not holds:
        raise Failed(" ".join(map(str, words)))


def results(root: Path) -> dict[str, Any]:
    return {path.name: result(path) for path in sorted(root.iterdir()) if (path / "manifest.json").exists()}


def kills(count: int, root: Path, rng: random.Random) -> Iterator[None]:
    """A process killed at a file operation or at any instant, or asked to end, up to three times; then the same command
    again, or `resume`: the bytes of a run that nobody disturbed."""
    whole = {}
    for name, words in (("single", SINGLE), ("pair", PAIR)):
        said = icl(*words, "--out", root / name)
        check(said.code == 0, said)
        whole[name] = results(root / name)
    for trial in range(count):
        name, words = rng.choice([("single", SINGLE), ("pair", PAIR)])
        place = root / f"kill-{trial}"
        story = [name]
        for _ in range(rng.randint(1, 3)):
            if rng.random() < 0.6:
                at = rng.randint(1, 200)
                story.append(f"kill@{at}")
                icl(*words, "--out", place, ICL_FAULT=f"kill@{at}")
            else:
                number, after = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]), rng.uniform(0.3, 7)
                story.append(f"{signal.Signals(number).name} after {after:.1f} s")
                process = start(*words, "--out", place)
                time.sleep(after)
                process.send_signal(number)
                ended = wait(process)
                check(ended.code in (0, -signal.SIGKILL, 128 + number), trial, story, ended)
        listed, again = talk(["runs", "--out", place], [*words, "--out", place])
        check(listed.code == 0, trial, story, listed)
        check(again.code == 0, trial, story, again)
        check(results(place) == whole[name], trial, story, "ends with other bytes")
        shutil.rmtree(place)
        yield


def flips(count: int, root: Path, rng: random.Random) -> Iterator[None]:
    """One bit of one file of a run: it is read as it was, or called damaged; no traceback, no other model."""
    from icl.console import reading
    from icl.handle import load
    from icl.runs.errors import RunError

    said = icl(*SINGLE, "--out", root / "good")
    check(said.code == 0, said)
    model = weights(load("last", root / "good"))
    for trial in range(count):
        place = root / f"flip-{trial}"
        shutil.copytree(root / "good", place)
        run = only(place)
        file = rng.choice(sorted(path for path in run.rglob("*") if path.is_file() and path.stat().st_size))
        data = bytearray(file.read_bytes())
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(bytes(data))
        story = trial, file.relative_to(run), bit
        try:
            listed = reading.listing(place, False)
            check("finished" in listed or "damaged" in listed, *story, listed)
            with contextlib.suppress(RunError):
                reading.compare("depth=1", place, False)
            with contextlib.suppress(RunError):
                found = weights(load("last", place))
                check(all(map(np.array_equal, found, model)), *story, "another model")
        except RunError as error:
            raise Failed(f"{story}: a listing ended with {error}") from error
        shutil.rmtree(place)
        yield


def weights(run: Any) -> list[np.ndarray]:
    import equinox as eqx
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(run.model, eqx.is_array))]


ODD: list[Any] = [
    *(0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 1e308, 1e-308, float("nan"), float("inf"), 2.5, 3e9, 1e18),
    *("", "nan", "1e5", "none", "softmax", "x" * 10**5, "\x1b[31m", "../..", "λ", "1,2,3", True, False, None),
    *([], [1], [[[]]], {}, {"name": "softmax"}, {"name": 3}, {"nosuch": 1}, b"bytes", object(), {1: 2}, (1, 2)),
]


def odd(count: int, root: Path, rng: random.Random) -> Iterator[None]:
    """Settings nobody should give: accepted or refused with every problem named, within two seconds."""
    from function_classes.base import FunctionClass, NotAvailable
    from function_classes.fields import ConfigError
    from icl.config import Config, sections
    from icl.runs.query import flatten
    from icl.training import memory

    names = FunctionClass.registry.names()
    Config.create("linear-regression")
    for trial in range(count):
        task = rng.choice(names)
        paths = [f"{part}.{name}" for part, fields in sections({"task": {"name": task}}).items() for name in fields]
        paths += [
            *flatten(Config.create(task).dump()),
            "seed",
            "nosuch",
            "model.nosuch.deep",
            "task",
            "model",
            "training",
        ]
        chosen = {path: rng.choice(ODD) for path in rng.sample(paths, rng.randint(1, 3))}
        began = time.monotonic()
        try:
            memory.check([Config.create(task, **chosen)])
        except (ConfigError, NotAvailable) as error:
            check(0 < len(str(error)) < 20_000, trial, task, list(chosen), "a message of", len(str(error)))
        except Exception as error:
            raise Failed(f"{trial}: {task} with {str(chosen)[:300]}: {traceback.format_exc()[-1500:]}") from error
        took = time.monotonic() - began
        check(took < 2, trial, task, str(chosen)[:300], f"took {took:.1f} s")
        yield


def pairs(count: int, root: Path, rng: random.Random) -> Iterator[None]:
    """Members by devices, 1 x 1 to 8 x 8: each trains, and says on how many devices."""
    from tests.training.test_packs import grid

    every = list(itertools.product(range(1, 9), range(1, 9)))
    for members, devices in every[:count]:
        with contextlib.redirect_stderr(io.StringIO()):
            grid(root / "pairs", [(members, devices)])
        yield


KINDS = {"kills": (kills, 130), "flips": (flips, 400), "odd": (odd, 900), "pairs": (pairs, 64)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, (_, usual) in KINDS.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--seed", type=int, default=SEED)
    words = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, (trials, _) in KINDS.items():
            count, held, began = getattr(words, name), 0, time.monotonic()
            root = Path(folder) / name
            root.mkdir()
            try:
                for _ in trials(count, root, random.Random(words.seed)) if count else ():
                    held += 1
            except Failed as error:
                failed = 1
                print(f"{name}: trial {held} of seed {words.seed} does not hold: {error}", flush=True)
            print(json.dumps({"kind": name, "held": held, "of": count, "seconds": round(time.monotonic() - began)}))
    return failed


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main())
