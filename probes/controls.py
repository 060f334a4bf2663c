"""How often is a probe wrong? Its decisions on learners whose algorithm is known, counted.

    missed          it denies a property that the learner has                       (false negative)
    false alarm     it grants a property that the learner does not have             (false positive)
    cannot tell     it says so: no error, and counted apart

For every property, variant and side trials are made (`probes.trials`) until 60 of them are decided, 75 at most. A rate
is errors over decided trials with the exact interval of Clopper and Pearson (1934): the rates p at which as many errors
or more, and as few or fewer, have each at least 2.5 % probability. A probe decides about a property where no number of
its table has more than one error, or more than a fifth that it cannot tell; else it reports numbers only.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from scipy.special import betaincinv

from probes.base import Probe
from probes.trials import Cell, cells
from probes.truths import READINGS, Reading

COMMAND = "icl probe --controls --save docs/controls.md"
DECIDED, DRAWN, ALLOWED, UNDECIDED = 60, 75, 1, 0.2


class Rate(NamedTuple):
    """Errors of some trials, with the interval of Clopper and Pearson. No trial leaves everything open: 0 to 1."""

    errors: int
    trials: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        tail, right = (1 - level) / 2, self.trials - self.errors
        low = float(betaincinv(self.errors, right + 1, tail)) if self.errors else 0.0
        high = float(betaincinv(self.errors + 1, right, 1 - tail)) if right else 1.0
        return low, high

    def __str__(self) -> str:
        if not self.trials:
            return ""
        low, high = self.interval()
        return f"{self.errors} / {self.trials} ({low:.1%} to {high:.1%})"


class Said(NamedTuple):
    """The decision of one trial, and whether it is right, wrong or undecided."""

    subject: str
    seed: int
    decision: str
    verdict: str


class Counted(NamedTuple):
    """The trials of one number of the table, in their order."""

    cell: Cell
    said: tuple[Said, ...]

    def count(self, verdict: str, subject: str | None = None) -> int:
        return sum(one.verdict == verdict and subject in (None, one.subject) for one in self.said)

    def rate(self, subject: str | None = None) -> Rate:
        wrong = self.count("wrong", subject)
        return Rate(wrong, wrong + self.count("right", subject))

    @property
    def undecided(self) -> int:
        return self.count("undecided")

    def fails(self) -> str | None:
        """None, or why the probe must not decide."""
        rate = self.rate()
        if rate.errors > ALLOWED:
            return f"{rate.errors} errors"
        if self.undecided > UNDECIDED * len(self.said):
            return f"cannot tell in {self.undecided} of {len(self.said)}"
        return None if rate.trials >= DECIDED else f"{rate.trials} decided trials"


def readings(only: str | None = None) -> tuple[Reading, ...]:
    """What is measured of one probe, or of all. ConfigError for an unknown probe."""
    if only is None:
        return READINGS
    name = Probe.registry.get(only).name
    return tuple(reading for reading in READINGS if reading.probe == name)


def measure(
    chosen: Iterable[Reading],
    decided: int = DECIDED,
    drawn: int = DRAWN,
    *,
    published: bool = True,
    kept: Path | None = None,
    watch: Callable[[Counted, bool], None] | None = None,
) -> list[Counted]:
    """Every cell of every reading: trials until so many are decided, or so many are drawn. A trial that is in the file
    `kept` is not made again unless the probe's settings or rule have changed since; what is made is appended to it.
    `watch` sees a cell after every new trial, and when it is complete."""
    known, found = Kept(kept), []
    for reading in chosen:
        for cell in cells(reading, published):
            one = Counted(cell, ())
            for number in range(drawn):
                trial = cell.trial(number)
                decision = known.get(reading, trial)
                if decision is None:
                    started = time.monotonic()
                    decision = trial.decide(reading)
                    known.add(reading, trial, decision, time.monotonic() - started)
                said = Said(trial.subject, trial.seed, decision, cell.judge(trial.subject, decision))
                one = Counted(cell, (*one.said, said))
                complete = one.rate().trials >= decided or number == drawn - 1
                if watch is not None:
                    watch(one, complete)
                if complete:
                    break
            found.append(one)
    return found


class Kept:
    """Decisions by trial, in a file of one JSON object a line, or in memory alone. A last line that was cut is left
    out. Several properties of one probe share its decisions."""

    def __init__(self, path: Path | None):
        self.path, self.known = path, {}
        text = path.read_text(encoding="utf-8") if path is not None and path.exists() else ""
        if path is not None and text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            self.known[row["settings"], row["subject"], row["variant"], row["seed"]] = row["decision"]

    def get(self, reading: Reading, trial: Any) -> str | None:
        return self.known.get((settings(reading), *trial))

    def add(self, reading: Reading, trial: Any, decision: str, seconds: float) -> None:
        self.known[(settings(reading), *trial)] = decision
        if self.path is None:
            return
        dim, points = trial.shape
        row = {"probe": reading.probe, "subject": trial.subject, "variant": trial.variant, "seed": trial.seed}
        row |= {"dim": dim, "points": points, "noise_std": trial.noise, "decision": decision}
        row |= {"seconds": round(seconds, 3), "settings": settings(reading)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def settings(reading: Reading) -> str:
    """What a decision depends on beside its trial: the probe, its fields and prompts, its rule in words."""
    rule = Probe.registry.find(reading.probe).rule
    parts = [reading.probe, sorted(reading.fields.items()), reading.prompts, rule]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def to_json(found: list[Counted]) -> str:
    """Every cell with its rate, interval, and all its trials."""
    return json.dumps(
        [
            {
                "probe": c.cell.reading.probe,
                "property": c.cell.reading.says,
                "variant": c.cell.variant,
                "holds": c.cell.holds,
                "errors": c.rate().errors,
                "trials": c.rate().trials,
                "undecided": c.undecided,
                "interval": c.rate().interval(),
                "fails": c.fails(),
                "said": [one._asdict() for one in c.said],
            }
            for c in found
        ]
    )


def rows(found: list[Counted]) -> list[tuple[str, ...]]:
    """Probe, property, variant, missed, false alarms: one row for every reading and variant that was measured."""
    kinds = dict.fromkeys((c.cell.reading.probe, c.cell.reading.says, c.cell.variant) for c in found)
    rates = {(c.cell.reading.says, c.cell.variant, c.cell.holds): _words(c) for c in found}
    return [(*kind, *(rates.get((*kind[1:], holds), "") for holds in (True, False))) for kind in kinds]


def _words(counted: Counted) -> str:
    return f"{counted.rate()}, cannot tell {counted.undecided}"
