"""What an experiment is: configurations at several scales, and claims with a criterion that is fixed beforehand."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from icl.config import Config
from icl.handle import Run
from icl.resampling import Interval, limits


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement, the quantity that decides it, and the criterion `quantity < below` on the median over seeds.

    `measure(runs)` returns one value per run. `source` says who asserts it.
    """

    statement: str
    source: str
    quantity: str
    below: float
    measure: Callable[[Sequence[Run]], Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One question: what is trained at each scale (seeds included), and what is claimed about it."""

    name: str
    question: str
    configs: Mapping[str, Callable[[], list[Config]]]
    claims: tuple[Claim, ...]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim with what was measured: the median over seeds, its bootstrap interval, and every seed's value."""

    claim: Claim
    scale: str
    values: tuple[float, ...]
    measured: Interval

    @property
    def word(self) -> str:
        """reproduced, contradicted, inconclusive where the interval straddles the criterion; at the smoke scale, and
        with fewer than five seeds, nothing is decided."""
        if self.scale == "smoke" or len(self.values) < 5:
            return "out of reach at this scale"
        if self.measured.high < self.claim.below:
            return "reproduced"
        return "contradicted" if self.measured.low >= self.claim.below else "inconclusive"

    def plain(self) -> dict[str, Any]:
        return {
            "claim": self.claim.statement,
            "source": self.claim.source,
            "quantity": self.claim.quantity,
            "criterion": f"below {self.claim.below:g}",
            "scale": self.scale,
            "measured": list(self.measured),
            "seeds": list(self.values),
            "verdict": self.word,
        }

    def __str__(self) -> str:
        value, low, high = self.measured
        seeds = ", ".join(f"{v:.4g}" for v in self.values)
        return (
            f"{self.word}: {self.claim.statement}\n  {self.claim.quantity} = {value:.4g} (95% {low:.4g}-{high:.4g}), "
            f"criterion below {self.claim.below:g}; seeds {seeds}; {self.claim.source}; scale {self.scale}"
        )


def judge(claim: Claim, scale: str, runs: Sequence[Run], resamples: int = 2000) -> Verdict:
    """Measures a claim on runs that differ in their seed."""
    values = np.asarray(claim.measure(runs), float)
    draws = np.random.default_rng(0).choice(values, (resamples, len(values)))
    (low,), (high,) = limits(np.median(draws, 1, keepdims=True))
    return Verdict(claim, scale, tuple(values.tolist()), Interval(float(np.median(values)), float(low), float(high)))
