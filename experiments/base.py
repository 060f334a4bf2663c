"""What an experiment is: named configurations at several scales, and a measure for every claim of a paper."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.measured import Measured
from experiments.papers import Claim
from function_classes.fields import Problem, nearest
from icl.config import Config
from icl.handle import Run

Configs = Mapping[str, Sequence[Config]]
Runs = Mapping[str, Sequence[Run]]
Measure = Callable[[Runs, str], Measured]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One paper or question: what is trained at each scale, and how its claims are measured.

    `paper` names the file of `experiments/claims/`. A scale (smoke, cpu, paper) makes name -> configurations that
    differ in their seed only (`seeds`). A measure takes the runs by configuration name and the scale; `needs` says
    which names, where not all; what no claim needs is trained for figures. `unmeasured` says by scale which claims are
    out of reach there, and why. `remarks` says of a claim that was contradicted what was tried and what we believe; it
    stands beside that verdict alone.
    """

    name: str
    paper: str
    question: str
    scales: Mapping[str, Callable[[], Configs]]
    measures: Mapping[str, Measure]
    needs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    unmeasured: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    remarks: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def problems(self, claims: Mapping[str, Claim]) -> Iterable[Problem]:
        """Claims with neither measure nor reason, and names that mean nothing. `claims` are those of the paper."""
        for scale in self.scales:
            reasons = self.unmeasured.get(scale, {})
            for claim in claims:
                if claim not in self.measures and claim not in reasons:
                    yield Problem(self.name, f"claim {claim!r} has neither a measure nor a reason at scale {scale!r}")
        named = {*self.measures, *self.needs, *self.remarks, *(c for r in self.unmeasured.values() for c in r)}
        for claim in named - set(claims):
            yield Problem(self.name, f"{self.paper} makes no claim {claim!r}{nearest(claim, claims)}")
        for scale in set(self.unmeasured) - set(self.scales):
            yield Problem(self.name, f"no scale {scale!r}{nearest(scale, self.scales)}")


def seeds(count: int, task: Any, /, **settings: Any) -> list[Config]:
    """Configurations with the seeds 0..count-1, from the arguments of `Config.create`."""
    return [Config.create(task, seed=seed, **settings) for seed in range(count)]
