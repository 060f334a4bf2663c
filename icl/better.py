"""Is a predictor better than exact Bayes? Nobody is, beyond chance: then it reads what it predicts, or Bayes is wrong.

One paired, one-sided test over all positions at once, for the contract tests and for everything that is measured.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr

from function_classes.spaces import Space
from icl.scoring import categorical

ROUNDING = 1e-5
"""Gains below this share of the null risk (of a nat, for symbols and signs) may be float32 rounding, of Bayes too."""

LEVEL = 1e-3
"""How often a table may say by chance that one of its predictors is better than Bayes."""


class Verdict(NamedTuple):
    """Whether the candidate is better somewhere, how surely, and where (position P stands for the mean)."""

    beats: bool
    p_value: float
    position: int


def beats_bayes(candidate: np.ndarray, bayes: np.ndarray, level: float = LEVEL, nats: bool = False) -> Verdict:
    """Is the candidate's loss below exact Bayes' at any position, or on average? Paired by prompt, one-sided.

    Arguments (N, ...): losses of N prompts. Per position, t = sqrt(N) mean(d) / sd(d) with d = bayes - candidate; the
    least p-value, times the number of positions plus one (Bonferroni), is compared with `level`.
    Power: an advantage of delta standard deviations of d is found with probability 0.99 when
    delta sqrt(N) >= z(1 - level / (P + 1)) + z(0.99); at N = 2048, P = 16, level 1e-3 that is delta = 0.14.
    With `nats`, losses are -log p of what was seen. Then E exp(d) <= 1 for every candidate, so sum(d) over the prompts
    exceeds c with probability at most exp(-c), and the p-value is at least that: a candidate that gains a little on
    all prompts seen and would lose much on a rare one has shown nothing, whatever t says.
    An infinite loss of the candidate decides against it at its position, one of Bayes alone decides for it.
    """
    n = len(bayes)
    losses = [np.asarray(a, np.float64).reshape(n, -1) for a in (candidate, bayes)]
    candidate, bayes = (np.concatenate([a, a.mean(1, keepdims=True)], 1) for a in losses)
    if np.isnan(candidate).any() or np.isnan(bayes).any():
        raise ValueError("losses must not be NaN")
    lost = (np.isinf(candidate) & (candidate != bayes)).any(0)
    won = (np.isinf(bayes) & (candidate != bayes)).any(0) & ~lost
    settled = lost | won
    gain = np.where(settled[None, :] | (candidate == bayes), 0.0, bayes - np.where(settled[None, :], 0.0, candidate))
    mean, spread = gain.mean(0), gain.std(0, ddof=1)
    t = np.divide(np.sqrt(n) * mean, spread, out=np.where(mean > 0, np.inf, 0.0), where=spread > 0)
    t = np.where(won, np.inf, np.where(lost, -np.inf, t))
    p = stdtr(n - 1, -t)  # 1 - F(t), by a function alone: scipy.stats takes most of a second to import
    if nats:
        p = np.maximum(p, np.where(won, 0.0, np.exp(-np.clip(n * mean, 0, 700))))
    p = np.minimum(1.0, p * t.size)
    position = int(np.argmin(p))
    return Verdict(bool(p[position] < level), float(p[position]), position)


def of_losses(losses: Mapping[str, Any], weight: np.ndarray, null: Any, space: Space, tests: int = 1) -> str | None:
    """As `finding`, from what `icl.scoring.score` gives."""
    nats = categorical(space)
    return finding(np.asarray(losses["excess"]), weight, 1.0 if nats else null, nats=nats, tests=tests)


def finding(excess: np.ndarray, weight: np.ndarray, scale: np.ndarray | float, *, nats: bool, tests: int) -> str | None:
    """The sentence about a predictor that is better than exact Bayes beyond chance; None for every other.

    `excess` (prompt, position, step) is its loss minus that of Bayes, `scale` the null risk of every position and step
    (1 for nats), of which float32 may be wrong by `ROUNDING`; so many `tests` share the level.
    """
    # Two infinite losses are equal; one that Bayes alone has is a gain without end.
    gap = np.where(np.isnan(excess), 0.0, excess).astype(np.float64)
    gap = np.where(weight > 0, gap + ROUNDING * np.broadcast_to(scale, gap.shape), 0.0)
    verdict = beats_bayes(
        np.where(gap == -np.inf, 0.0, gap), np.where(gap == -np.inf, np.inf, 0.0), LEVEL / tests, nats
    )
    if not verdict.beats:
        return None
    positions, steps = gap.shape[1:]
    if verdict.position == positions * steps:
        where, gain = "on average", -gap.mean()
    else:
        position, step = divmod(verdict.position, steps)
        where = f"at position {position}" + (f", step {step}" if steps > 1 else "")
        gain = -gap[:, position, step].mean()
    return (
        f"better than exact Bayes by {gain:.2g} {where} (p = {verdict.p_value:.1g}): a leak, or a wrong Bayes predictor"
    )
