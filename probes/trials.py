"""One trial of a probe: a learner whose algorithm is known, at a size and noise of its own, and what the probe decides.

A trial is (subject, variant, seed). The seed draws everything else: one of two sizes of prompts, the noise of labels
and with it whatever weights depend on, the rotation of a rotated learner, the weights of a random or distilled one, and
the prompts that the probe looks at. Few sizes, so that trials share compiled programs, of which weights are arguments.

Rules of decision were tuned on the subjects of `probes.known` and on seeds below 1,000; published rates are of the
subjects of `probes.unseen` and of seeds from 1,000 on. Every subject has a hundred seeds of its own.
"""

import functools
import re
from typing import NamedTuple

import jax
import numpy as np

from function_classes.linear import LinearRegression
from icl.models import Learner
from probes.base import Probe
from probes.known import SUBJECTS, Subject
from probes.truths import TINY, Reading, Truth
from probes.unseen import UNSEEN
from probes.unseen_truths import unseen

SHAPES = ((2, 5), (3, 5))
# A small transformer imitates ridge on three inputs up to 3 % of its mean square after a minute or so: as much as ridge
# and 16 steps of descent differ there, so that nobody could say which of both it is.
DISTILLED = ((2, 5), (2, 6))
NOISES = (0.4, 0.8)
PUBLISHED, SEEDS = 1000, 100
ALL = SUBJECTS | UNSEEN


class Trial(NamedTuple):
    """The seed decides the rest: see above."""

    subject: str
    variant: str
    seed: int

    @property
    def shape(self) -> tuple[int, int]:
        """Dimension of inputs and number of points."""
        shapes = DISTILLED if self.variant == "distilled" else SHAPES
        return shapes[self.seed % len(shapes)]

    @property
    def noise(self) -> float:
        """Standard deviation of the label noise, uniform."""
        low, high = NOISES
        return float(np.float32(low + (high - low) * np.random.default_rng(self.seed).random()))

    @property
    def task(self) -> LinearRegression:
        dim, points = self.shape
        return ALL[self.subject].on(LinearRegression(dim=dim, points=points, noise_std=self.noise))

    def learner(self) -> Learner:
        """Its weights: a distilled one is trained once and kept, since several probes ask about it."""
        return _kept(self) if self.variant == "distilled" else self._built()

    def _built(self) -> Learner:
        build, _ = self._keys()
        return ALL[self.subject].make(self.task, self.variant, build)

    def _keys(self) -> tuple[jax.Array, jax.Array]:
        first, second = jax.random.split(jax.random.fold_in(jax.random.key(0), self.seed))
        return first, second

    def decide(self, reading: Reading) -> str:
        """What the probe of the reading decides."""
        probe, (_, look) = Probe.registry.get(reading.probe, **reading.fields), self._keys()
        return probe.measure(self.learner(), self.task, look, reading.prompts).decision


@functools.lru_cache(maxsize=512)
def _kept(trial: Trial) -> Learner:
    return trial._built()


def trial_of(subject: str, variant: str, number: int) -> Trial:
    """The trial of that number, from 0, of one subject: published seeds for those of `probes.unseen`, others below."""
    if number >= SEEDS:
        raise ValueError(f"a subject has {SEEDS} seeds, this is number {number}")
    names = list(UNSEEN if subject in UNSEEN else SUBJECTS)
    room = SEEDS if subject in UNSEEN else PUBLISHED // len(SUBJECTS)
    first = PUBLISHED if subject in UNSEEN else 0
    return Trial(subject, variant, first + room * names.index(subject) + number % room)


class Cell(NamedTuple):
    """One number of the table: trials of one property in one variant, where it holds or where it does not, which take
    turns among the subjects."""

    reading: Reading
    holds: bool
    variant: str
    subjects: tuple[str, ...]
    published: bool

    def truth(self, subject: str) -> Truth:
        return (unseen(self.reading) if self.published else self.reading.truths)[subject]

    def trial(self, number: int) -> Trial:
        subject = self.subjects[number % len(self.subjects)]
        return trial_of(subject, self.variant, number // len(self.subjects))

    def judge(self, subject: str, decision: str) -> str:
        """right, undecided or wrong."""
        if re.fullmatch(self.truth(subject).right, decision) is not None:
            return "right"
        return "undecided" if re.fullmatch(self.reading.undecided, decision) is not None else "wrong"


VARIANTS = ("plain", "rotated", "distilled", "random")


def cells(reading: Reading, published: bool = True) -> list[Cell]:
    """Those that have subjects, in the order of the table."""
    truths = unseen(reading) if published else reading.truths
    found = []
    for variant in VARIANTS:
        if variant == "distilled" and not reading.function:
            continue
        for holds in (True, False):
            names = tuple(
                name
                for name, truth in truths.items()
                if truth.holds is holds and variant in ALL[name].variants and why_not(reading, name) is None
            )
            if names:
                found.append(Cell(reading, holds, variant, names, published))
    return found


def why_not(reading: Reading, subject: str) -> str | None:
    """None where decisions on this subject are counted, else the reason why not."""
    reason = Probe.registry.get(reading.probe, **reading.fields).reason(_example(subject), ALL[subject].on(TINY))
    if reason is not None:
        return f"does not apply: {reason}"
    truth = (unseen(reading) if subject in UNSEEN else reading.truths).get(subject)
    if truth is None:
        return "counted for other properties"
    return truth.why if truth.holds is None else None


@functools.lru_cache(maxsize=len(ALL))
def _example(subject: str) -> Learner:
    """A small one: whether a probe applies depends on the architecture, not on its size."""
    known: Subject = ALL[subject]
    assert known.build is not None
    return known.build(known.on(TINY), jax.random.key(0))
