"""How often is a probe wrong? Its decisions on learners whose algorithm is known, counted.

    missed          it denies a property that the learner has                       (false negative)
    false alarm     it grants a property that the learner does not have             (false positive)

Every trial has prompts of its own, and its own disguise or random weights. Rates are errors / trials with the exact
interval of Clopper and Pearson (1934): the rates p at which as many errors or more, and as few or fewer, have each
at least 2.5 % probability. Trials of one subject are alike but for these; a rate is about these subjects, not all.
"""

import functools
import json
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
from scipy.stats import beta

from icl.models import Learner
from probes.base import Probe
from probes.known import SUBJECTS
from probes.truths import READINGS, TINY, Reading, Truth

HEADER = "Error rates of the probes"
COMMAND = "icl probe --controls --save docs/controls.md"


class Rate(NamedTuple):
    """Errors of some trials, with the interval of Clopper and Pearson. No trial leaves everything open: 0 to 1."""

    errors: int
    trials: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        tail, right = (1 - level) / 2, self.trials - self.errors
        low = float(beta.ppf(tail, self.errors, right + 1)) if self.errors else 0.0
        high = float(beta.ppf(1 - tail, self.errors + 1, right)) if right else 1.0
        return low, high

    def __str__(self) -> str:
        if not self.trials:
            return ""
        low, high = self.interval()
        return f"{self.errors} / {self.trials} ({low:.0%} to {high:.0%})"


class Counted(NamedTuple):
    """The decisions on one subject in one variant, one a trial."""

    reading: Reading
    subject: str
    variant: str
    decisions: tuple[str, ...]

    @property
    def truth(self) -> Truth:
        return self.reading.truths[self.subject]

    @property
    def rate(self) -> Rate:
        wrong = [said for said in self.decisions if re.fullmatch(self.truth.right, said) is None]
        return Rate(len(wrong), len(self.decisions))


def readings(only: str | None = None) -> tuple[Reading, ...]:
    """What is measured of one probe, or of all. ConfigError for an unknown probe."""
    if only is None:
        return READINGS
    name = Probe.registry.get(only).name
    return tuple(reading for reading in READINGS if reading.probe == name)


def why_not(reading: Reading, subject: str) -> str | None:
    """None where decisions on this subject are counted, else the reason why not."""
    reason = Probe.registry.get(reading.probe, **reading.fields).reason(_example(subject), SUBJECTS[subject].on(TINY))
    if reason is not None:
        return f"does not apply: {reason}"
    truth = reading.truths[subject]
    return truth.why if truth.holds is None else None


@functools.lru_cache(maxsize=len(SUBJECTS))
def _example(subject: str) -> Learner:
    """A small one: whether a probe applies depends on the architecture, not on its size."""
    return SUBJECTS[subject].build(SUBJECTS[subject].on(TINY), jax.random.key(0))


def variants(reading: Reading, subject: str) -> tuple[str, ...]:
    """Those of the subject in which the truth of the reading is known."""
    return tuple(v for v in SUBJECTS[subject].variants if reading.function or v != "distilled")


def measure(
    chosen: Iterable[Reading], trials: int | None = None, watch: Callable[[Counted], None] | None = None
) -> list[Counted]:
    """Every counted pair in every variant; `trials` replaces what the readings say. One decision answers all readings
    of the same probe."""
    found: list[Counted] = []
    for reading in chosen:
        for subject in (name for name in SUBJECTS if why_not(reading, name) is None):
            for variant in variants(reading, subject):
                same = next((c for c in found if _shared(c, reading, subject, variant)), None)
                said = same.decisions if same else _decisions(reading, subject, variant, trials or reading.trials)
                found.append(Counted(reading, subject, variant, said))
                if watch is not None:
                    watch(found[-1])
    return found


def _shared(counted: Counted, reading: Reading, subject: str, variant: str) -> bool:
    settings = lambda r: (r.probe, r.task, r.fields, r.trials, r.prompts)  # noqa: E731
    return (counted.subject, counted.variant) == (subject, variant) and settings(counted.reading) == settings(reading)


def _decisions(reading: Reading, subject: str, variant: str, trials: int) -> tuple[str, ...]:
    known, probe = SUBJECTS[subject], Probe.registry.get(reading.probe, **reading.fields)
    task, said = known.on(reading.task), []
    for trial in range(trials):
        build, look = jax.random.split(jax.random.fold_in(jax.random.key(0), trial))
        result = probe(known.make(task, variant, build), task=task, key=look, prompts=reading.prompts)
        said.append(result.decision)
    return tuple(said)


def pooled(found: Iterable[Counted], reading: Reading, variant: str, holds: bool) -> Rate:
    """The rate over all subjects that have the property, or over all that do not."""
    own = [c.rate for c in found if c.reading == reading and c.variant == variant and c.truth.holds is holds]
    return Rate(sum(r.errors for r in own), sum(r.trials for r in own))


def rows(found: list[Counted]) -> list[tuple[str, ...]]:
    """Probe, property, variant, missed, false alarms: one row for every reading and variant that was measured."""
    kinds = dict.fromkeys((c.reading.probe, c.reading.says, c.variant) for c in found)
    named = {(c.reading.probe, c.reading.says): c.reading for c in found}
    return [
        (probe, says, variant, *(str(pooled(found, named[probe, says], variant, holds)) for holds in (True, False)))
        for probe, says, variant in kinds
    ]


def to_json(found: list[Counted]) -> str:
    """Every pair with its truth, decisions, rate and interval."""
    return json.dumps(
        [
            {
                "probe": c.reading.probe,
                "property": c.reading.says,
                "subject": c.subject,
                "variant": c.variant,
                "holds": c.truth.holds,
                "why": c.truth.why,
                "decisions": c.decisions,
                "errors": c.rate.errors,
                "trials": c.rate.trials,
                "interval": c.rate.interval(),
            }
            for c in found
        ]
    )


def markdown(found: list[Counted]) -> str:
    """docs/controls.md: rates by probe and variant, then every subject, and what is not counted with its reason."""
    lines = [f"# {HEADER}", "", f"Generated by `{COMMAND}`; do not edit.", ""]
    lines += ["Decisions on learners whose algorithm is known: errors / trials (exact 95 % interval). *missed*: the"]
    lines += [
        "property holds and is denied; *false alarm*: it does not hold and is granted. *plain* are hand-set weights,"
    ]
    lines += [
        "*rotated* the same function in random other weights, *distilled* transformers trained to imitate it, which"
    ]
    lines += ["count where the decision is about the function alone, *random* weights as at the start of training.", ""]
    lines += _table(("probe", "property", "variant", "missed", "false alarms"), rows(found))
    for reading in dict.fromkeys((c.reading.probe, c.reading.says) for c in found):
        own = [c for c in found if (c.reading.probe, c.reading.says) == reading]
        lines += ["", *_section(own[0].reading, own)]
    lines += ["", "## subjects", ""]
    lines += _table(("subject", "algorithm"), [(name, known.algorithm) for name, known in SUBJECTS.items()])
    return "\n".join(lines) + "\n"


def _section(reading: Reading, own: list[Counted]) -> list[str]:
    task, fields = reading.task, ", ".join(f"{name}={value}" for name, value in reading.fields.items())
    where = f"linear-regression, dim={task.dim}, points={task.points}, noise_std={task.noise_std:g}"
    settings = f"{where}; {reading.prompts} prompts a trial" + (f"; {fields}" if fields else "")
    cells = [
        (c.subject, c.variant, "yes" if c.truth.holds else "no", c.truth.why, str(c.rate), _tally(c.decisions))
        for c in own
    ]
    header = ("subject", "variant", "holds", "because", "errors", "decisions")
    skipped = [(name, reason) for name in SUBJECTS if (reason := why_not(reading, name)) is not None]
    lines = [f"## {reading.probe}: {reading.says}", "", f"Rule: {Probe.registry.find(reading.probe).rule}.", ""]
    lines += [f"Measured on {settings}.", "", *_table(header, cells)]
    return [*lines, "", "Not counted:", "", *_table(("subject", "because"), skipped)] if skipped else lines


def _tally(decisions: tuple[str, ...]) -> str:
    return ", ".join(f"{decisions.count(said)} x {said}" for said in sorted(set(decisions)))


def _table(header: tuple[str, ...], cells: list[tuple[str, ...]]) -> list[str]:
    line = lambda row: "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"  # noqa: E731
    return [line(header), "|" + "---|" * len(header), *map(line, cells)]
