"""Does a claim hold? Each clause is decided from 95 % intervals, the claim from its clauses.

For each seed (or so many of them): every seed has its own interval, over prompts; it is inside, wholly outside, or
neither. Median over seeds, and the pooled mean: seeds are drawn with replacement outside, prompts inside. A condition
that fails makes its clause fail. What compares conditions or parts compares them seed by seed, on the same prompts.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.criteria import Clause
from experiments.measured import Measured, Part
from experiments.papers import Claim
from icl.resampling import RESAMPLES, Interval, limits
from icl.runs.strict_json import as_number

FEWEST_SEEDS = 5
HOLDS, FAILS, OPEN = 1, -1, 0
REPRODUCED, CONTRADICTED, INCONCLUSIVE = "reproduced", "contradicted", "inconclusive"
OUT_OF_REACH = "out of reach at this scale"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One clause with what was measured: values (seed, condition), and the interval that decides it.

    `interval` belongs to the median, the mean, or the seed on which the verdict hangs (the worst one, for "each"), at
    the condition nearest to failing; of an order it is the step, of a comparison the ratio. `rows`: how every seed
    (or their median) stands, 1 inside, -1 outside, 0 neither.
    """

    clause: str
    part: str
    conditions: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    interval: Interval
    state: int
    rows: tuple[int, ...] = ()
    needed: str = ""

    def __str__(self) -> str:
        value, low, high = self.interval
        seeds = "; ".join(" ".join(f"{value:.4g}" for value in row) for row in self.values)
        names = f" [{', '.join(self.conditions)}]" if self.conditions != ("",) else ""
        return f"{self.clause}: {self.part}{names} {value:.4g} (95% {low:.4g} to {high:.4g}); by seed {seeds}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The word, why (or what would decide), and the findings behind it."""

    claim: Claim
    scale: str
    word: str
    why: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def seeds(self) -> int:
        return max((len(finding.values) for finding in self.findings), default=0)

    def plain(self) -> dict[str, Any]:
        """JSON values from which `revive` makes the verdict again."""
        return dataclasses.asdict(self) | {"findings": [dataclasses.asdict(f) for f in self.findings]}

    def __str__(self) -> str:
        claim = self.claim
        lines = [f"{self.word}: {claim.statement}"]
        lines += [f"  {claim.id} (basis {claim.basis}); {claim.paper}; source {claim.source}"]
        lines += [f"  {claim.quantity}", f"  criterion: {claim.criterion}; scale {self.scale}"]
        return "\n".join([*lines, *(f"  {f}" for f in self.findings), *([f"  {self.why}"] if self.why else [])])


def revive(tree: Mapping[str, Any]) -> Verdict:
    """The verdict that `plain` wrote down."""
    findings = [
        Finding(
            **{
                **found,
                "conditions": tuple(found["conditions"]),
                "values": tuple(tuple(as_number(row)) for row in found["values"]),
                "interval": Interval(*as_number(found["interval"])),
                "rows": tuple(found["rows"]),
            }
        )
        for found in tree["findings"]
    ]
    return Verdict(**{**tree, "claim": Claim(**tree["claim"]), "findings": tuple(findings)})


def unmeasured(claim: Claim, scale: str, reason: str) -> Verdict:
    """The verdict on a claim that an experiment does not measure at a scale."""
    return Verdict(claim, scale, OUT_OF_REACH, reason)


def judge(claim: Claim, scale: str, measured: Measured) -> Verdict:
    """The verdict. ValueError where what was measured does not fit the clauses of the criterion."""
    clauses = claim.clauses
    try:
        parts = measured.by([clause.text for clause in clauses])
    except ValueError as error:
        raise ValueError(f"{claim.id}: {error}") from None
    findings: list[Finding] = []
    before: Part | None = None
    for clause, part in zip(clauses, parts, strict=True):
        part = _select(clause, part)
        findings.append(
            _presence(clause, part, findings[-1])
            if clause.compare == "present"
            else _find(clause, part, _compared(clause, part, before))
        )
        before = part
    states = [finding.state for finding in findings]
    word = CONTRADICTED if FAILS in states else REPRODUCED if set(states) == {HOLDS} else INCONCLUSIVE
    why = "; ".join(finding.needed for finding in findings if finding.needed) if word == INCONCLUSIVE else ""
    seeds = min((len(part.values) for part in parts if part.seeded), default=FEWEST_SEEDS)
    if scale == "smoke" or seeds < FEWEST_SEEDS:
        word, why = OUT_OF_REACH, "the smoke scale decides nothing" if scale == "smoke" else f"only {seeds} seeds"
    return Verdict(claim, scale, word, why, tuple(findings))


def _select(clause: Clause, part: Part) -> Part:
    """The conditions that the clause speaks of."""
    wanted: list[str] = []
    if clause.levels:
        for level in clause.levels:
            named = [name for name in part.conditions if name.split()[-1:] == [level]]
            wanted += named if len(named) == 1 else [level]
    elif clause.where and not clause.where.startswith("each "):
        wanted = [clause.where]
    elif len(part.conditions) < 2 and (clause.where or clause.compare == "rises"):
        raise ValueError(f"{clause.text!r} needs several conditions, {part.name!r} has one")
    missing = [name for name in wanted if name not in part.conditions]
    if missing:
        raise ValueError(f"{clause.text!r}: {part.name!r} has no condition {missing[0]!r} among {part.conditions}")
    if not wanted:
        return part
    index = [part.conditions.index(name) for name in wanted]
    drawn = None if part.replicates is None else part.replicates[:, index]
    return dataclasses.replace(part, values=part.values[:, index], conditions=tuple(wanted), replicates=drawn)


def _compared(clause: Clause, part: Part, before: Part | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Values (seed, condition) and replicates that lie between the clause's ends where it holds."""
    if clause.compare in ("falls", "rises"):
        way = slice(None) if clause.compare == "rises" else slice(None, None, -1)
        drawn = part.replicates
        return np.diff(part.values[:, way], axis=1), None if drawn is None else np.diff(drawn[:, way], axis=1)
    if clause.compare == "relative" and before is not None:
        if before.values.shape != part.values.shape or (before.replicates is None) != (part.replicates is None):
            raise ValueError(f"{clause.text!r}: {part.name!r} does not pair with {before.name!r}")
        values = part.values / before.values
        if part.replicates is None or before.replicates is None:
            return values, None
        return values, part.replicates / before.replicates
    return part.values, part.replicates


def _find(clause: Clause, part: Part, compared: tuple[np.ndarray, np.ndarray | None]) -> Finding:
    values, drawn = compared
    if clause.over.kind == "count":
        centers = values
        lows, highs = (values, values) if drawn is None else limits(np.moveaxis(drawn, 2, 0))
    else:
        centers = _reduced(clause, values[..., None]).T
        lows, highs = (end[None] for end in limits(_over_seeds(clause, values, drawn, len(values))))
    inside, outside = _inside(clause, lows) & _inside(clause, highs), _outside(clause, lows, highs)
    rows = np.where(outside.any(1), FAILS, np.where(inside.all(1), HOLDS, OPEN))
    need = -(-clause.over.need * len(rows) // clause.over.of) if clause.over.kind == "count" else 1
    state = HOLDS if (rows == HOLDS).sum() >= need else FAILS if (rows != FAILS).sum() < need else OPEN
    with np.errstate(invalid="ignore"):  # an infinite value under an infinite end
        margins = np.fmin(centers - clause.low, clause.high - centers)
    row = np.argsort(-margins.min(1), kind="stable")[need - 1]
    worst = row, np.argmin(margins[row])
    interval = Interval(float(centers[worst]), float(lows[worst]), float(highs[worst]))
    needed = _needed(clause, part, compared, (centers, lows, highs), ~inside & ~outside) if state == OPEN else ""
    values = _plain(part.values)
    return Finding(clause.text, part.name, part.conditions, values, interval, state, tuple(rows.tolist()), needed)


def _presence(clause: Clause, part: Part, before: Finding) -> Finding:
    """An effect, 1 or 0 by seed, that must be there in exactly the seeds in which the clause before holds."""
    there = part.values[:, 0]
    if part.values.shape[1] != 1 or not np.isin(there, (0, 1)).all() or len(there) != len(before.rows):
        raise ValueError(f"{clause.text!r}: {part.name!r} must be 1 or 0 for each of the {len(before.rows)} seeds")
    rows = np.where(there == 1, 1, -1) * np.asarray(before.rows)
    state = FAILS if (rows == FAILS).any() else HOLDS if (rows == HOLDS).all() else OPEN
    share = float(np.mean(rows == HOLDS))
    values = _plain(part.values)
    return Finding(
        clause.text, part.name, part.conditions, values, Interval(share, share, share), state, tuple(rows.tolist())
    )


def _reduced(clause: Clause, drawn: np.ndarray) -> np.ndarray:
    """(seed, condition, R) -> (condition, R)."""
    return np.median(drawn, 0) if clause.over.kind == "median" else drawn.mean(0)


def _over_seeds(clause: Clause, values: np.ndarray, drawn: np.ndarray | None, seeds: int) -> np.ndarray:
    """(R, condition): the median or mean of `seeds` seeds drawn with replacement, each draw on its own prompts. Right
    where all seeds were measured on the same prompts; too wide by what is due to prompts where each had its own."""
    if drawn is None:
        drawn = np.broadcast_to(values[..., None], (*values.shape, RESAMPLES))
    chosen = np.random.default_rng(seeds).integers(seeds, size=(seeds, 1, drawn.shape[2]))
    return _reduced(clause, np.take_along_axis(drawn, chosen, 0)).T


def _inside(clause: Clause, ends: np.ndarray) -> np.ndarray:
    if clause.strict:
        return (ends > clause.low) & (ends < clause.high)
    return (ends >= clause.low) & (ends <= clause.high)


def _outside(clause: Clause, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    if clause.strict:
        return (highs <= clause.low) | (lows >= clause.high)
    return (highs < clause.low) | (lows > clause.high)


def _needed(clause: Clause, part: Part, compared: Any, found: Any, undecided: np.ndarray) -> str:
    """How many prompts or seeds would bring the intervals that straddle an end to one side of it, if their width
    shrinks as 1/sqrt(n) and their center stays."""
    factor = 0.0
    for center, low, high in zip(*(ends[undecided] for ends in found), strict=True):
        for end in (clause.low, clause.high):
            if low <= end <= high:
                half = high - center if end >= center else center - low
                factor = max(factor, (half / abs(end - center)) ** 2 if end != center else math.inf)
    values, drawn = compared
    what, known = "prompts", part.prompts
    if clause.over.kind != "count" and len(values) > 1:
        alone = limits(_over_seeds(clause, values, None, len(values)))
        if drawn is None or np.ptp(alone, 0).max() >= (found[2] - found[1]).max() / 2:
            what, known = "seeds", len(values)
    if not math.isfinite(factor * known):
        return f"no number of {what} would decide: the value lies on the bound, or its interval has no end"
    count = math.ceil(factor * known)
    scale = 10 ** max(len(str(count)) - 2, 0)
    return f"about {-(-count // scale) * scale:,} {what} would decide (now {known:,})"


def _plain(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())
