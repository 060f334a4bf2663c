"""What an experiment is: named configurations at several scales, and a measure for every claim of a paper."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import papers
from experiments.measured import Measured
from experiments.papers import Claim
from function_classes.fields import Problem, nearest
from icl.config import Config
from icl.handle import Run

Configs = Mapping[str, Sequence[Config]]
Runs = Mapping[str, Sequence[Run]]


@dataclasses.dataclass(frozen=True)
class Measure:
    """How a claim is measured: `of(runs by configuration name, scale)`.

    `needs` names the configurations it reads; None: all. `remark` says of a claim that was contradicted what was tried
    and what we believe; it stands beside that verdict alone. `version` is raised when `of` gives another value on the
    same runs, and its verdicts are then measured again; nothing else of the code is part of their key.
    """

    of: Callable[[Runs, str], Measured]
    needs: tuple[str, ...] | None = None
    remark: str = ""
    version: int = 1


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One paper or question: what is trained at each scale, and how its claims are measured.

    `paper` names the file of claims, below `experiments/claims/` or, without its ending, in `claims`: a folder, for an
    experiment from elsewhere the one that its file is in. A scale (smoke, cpu, paper) makes name -> configurations that
    differ in their seed only (`seeds`); what no claim needs is trained for figures. `unmeasured` says by scale which
    claims are out of reach there, and why.
    """

    name: str
    paper: str
    question: str
    scales: Mapping[str, Callable[[], Configs]]
    measures: Mapping[str, Measure]
    unmeasured: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    claims: Path = papers.FOLDER

    def problems(self, claims: Mapping[str, Claim]) -> Iterable[Problem]:
        """Claims with neither measure nor reason, and names that mean nothing. `claims` are those of the paper."""
        for scale in self.scales:
            reasons = self.unmeasured.get(scale, {})
            for claim in claims:
                if claim not in self.measures and claim not in reasons:
                    yield Problem(self.name, f"claim {claim!r} has neither a measure nor a reason at scale {scale!r}")
        named = {*self.measures, *(claim for reasons in self.unmeasured.values() for claim in reasons)}
        for claim in named - set(claims):
            yield Problem(self.name, f"{self.paper} makes no claim {claim!r}{nearest(claim, claims)}")
        for scale in set(self.unmeasured) - set(self.scales):
            yield Problem(self.name, f"no scale {scale!r}{nearest(scale, self.scales)}")


def seeds(count: int, task: Any, /, **settings: Any) -> list[Config]:
    """Configurations with the seeds 0..count-1, from the arguments of `Config.create`."""
    return [Config.create(task, seed=seed, **settings) for seed in range(count)]
