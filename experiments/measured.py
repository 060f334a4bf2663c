"""What a measure returns: for each clause of the criterion an array of values with its uncertainty over prompts.

Values are (seed, condition). Replicates (seed, condition, R) are the same quantity on R resamples of the prompts, the
same resamples for everything in a part; what was not measured on prompts has none. A measure shows all seeds and
conditions the same prompts where it can: comparisons are then paired, and intervals no wider than they must be.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icl.resampling import apply, resamples

BLOCKS = 4096
"""Above this many prompts, equal blocks of them are resampled: their means are as independent as prompts are."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The values that one clause speaks of, by seed and condition.

    `seeded` is False where nothing depends on a seed (weights set by hand, closed forms); there is then one row.
    ValueError where shapes disagree or a number is undefined (infinite ones are allowed).
    """

    name: str
    values: np.ndarray
    conditions: tuple[str, ...] = ("",)
    replicates: np.ndarray | None = None
    prompts: int = 0
    seeded: bool = True

    def __post_init__(self):
        shape = self.values.shape
        if self.values.ndim != 2 or not shape[0] or shape[1] != len(self.conditions):
            raise ValueError(f"{self.name}: expected values (seed, {len(self.conditions)} conditions), got {shape}")
        if len(set(self.conditions)) != len(self.conditions):
            raise ValueError(f"{self.name}: two conditions have one name: {', '.join(self.conditions)}")
        if not self.seeded and shape[0] != 1:
            raise ValueError(f"{self.name}: {shape[0]} rows, where nothing depends on a seed")
        drawn = self.replicates
        if drawn is not None and (drawn.ndim != 3 or drawn.shape[:2] != shape or self.prompts < 2):
            raise ValueError(f"{self.name}: replicates {drawn.shape} of {self.prompts} prompts do not fit {shape}")
        if np.isnan(self.values).any() or (drawn is not None and np.isnan(drawn).any()):
            raise ValueError(f"{self.name}: undefined numbers among what was measured")


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the clauses of a criterion speak of: the part of the only one, or parts by the words of each clause (as
    `Clause.text` has them), where a part may stand for several."""

    parts: Part | Mapping[str, Part]

    @property
    def all(self) -> tuple[Part, ...]:
        return (self.parts,) if isinstance(self.parts, Part) else tuple(self.parts.values())

    def by(self, clauses: Sequence[str]) -> tuple[Part, ...]:
        """The parts in the order of these clauses. ValueError where their words do not agree."""
        found = {clauses[0]: self.parts} if isinstance(self.parts, Part) else dict(self.parts)
        if set(found) != set(clauses):
            raise ValueError(f"measured for the clauses {sorted(found)}, and the criterion has {list(clauses)}")
        return tuple(found[clause] for clause in clauses)


def exact(name: str, values: Any, conditions: Sequence[str] = ("",), *, seeded: bool = True) -> Part:
    """Values (seed, condition), (seed,) or () that no drawing of prompts changes."""
    values = np.asarray(values, float)
    values = values.reshape(1, -1) if not seeded else values.reshape(len(np.atleast_1d(values)), -1)
    return Part(name, values, tuple(conditions), seeded=seeded)


def means(name: str, per_prompt: Any, conditions: Sequence[str] = ("",), *, seeded: bool = True) -> Part:
    """Means over prompts of (seed, condition, prompt)."""
    return ratios(name, per_prompt, np.ones(np.shape(per_prompt)), conditions, seeded=seeded)


def ratios(name: str, above: Any, below: Any, conditions: Sequence[str] = ("",), *, seeded: bool = True) -> Part:
    """sum(above) / sum(below) over prompts, paired by prompt; both (seed, condition, prompt)."""
    above, below = np.asarray(above, float), np.asarray(below, float)
    if above.ndim != 3 or above.shape != below.shape:
        raise ValueError(f"{name}: expected two arrays (seed, condition, prompt), got {above.shape}, {below.shape}")
    prompts = above.shape[2]
    starts = np.arange(min(prompts, BLOCKS)) * prompts // min(prompts, BLOCKS)
    tops, bottoms = (np.moveaxis(np.add.reduceat(a, starts, 2), 2, 0) for a in (above, below))
    weights = resamples(len(starts))
    drawn = np.moveaxis(apply(weights, tops) / apply(weights, bottoms), 0, 2)
    return Part(name, above.sum(2) / below.sum(2), tuple(conditions), drawn, prompts, seeded)
