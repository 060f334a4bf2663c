"""Bootstrap over prompts: the same resamples for everything that is compared, one matrix product per reduction."""

from typing import NamedTuple

import numpy as np
from scipy.special import bdtrik

RESAMPLES = 1000
LEVEL = 0.95
LARGEST = 1e30


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def resamples(prompts: int, count: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """(count, prompts) multinomial weights: how often each prompt was drawn, over the number of prompts."""
    generator = np.random.default_rng([seed, prompts])
    drawn = generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=count)
    return drawn.astype(np.float32) / prompts


def apply(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """weights (R, N) on values (N, ...) -> (R, ...). An infinite value makes infinite what contains it, and only that
    (0 times infinity is not a number in a plain product)."""
    flat = values.reshape(len(values), -1)
    infinite = np.isposinf(flat)
    finite = np.where(infinite, 0, flat)
    # Descent at a rate that diverges on rare prompts has errors beyond float32, which is twice as fast otherwise.
    wide = finite.size > 0 and not np.abs(finite).max() < LARGEST
    result = weights @ finite.astype(np.float64 if wide else np.float32)
    if infinite.any():
        result[weights @ infinite.astype(np.float32) > 0] = np.inf
    return result.reshape(len(weights), *values.shape[1:])


def weighted(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """weights * values, and 0 where the weight is 0 whatever the value."""
    return np.multiply(weights, values, out=np.zeros(values.shape), where=weights > 0)


def limits(draws: np.ndarray) -> np.ndarray:
    """(2, ...): the ends of the central 95 % of draws along the first axis. Infinite and undefined draws sort last."""
    ordered = np.sort(draws, 0)
    tail = (1 - LEVEL) / 2 * (len(draws) - 1)
    return ordered[[round(tail), round(len(draws) - 1 - tail)]]


def median_limits(count: int) -> tuple[int, int]:
    """Ranks (from 0) of the ordered sample between which the median lies with probability at least 95 %, for any law
    of independent values: the number of values below it is Binomial(count, 1/2)."""
    below = bdtrik((1 - LEVEL) / 2, count, 0.5)
    low = max(int(below), 0) if np.isfinite(below) else 0
    return low, count - 1 - low


def mean_interval(values: np.ndarray, weights: np.ndarray) -> Interval:
    """The mean of values (N,) with its interval."""
    low, high = limits(apply(weights, values))
    return Interval(float(np.mean(values)), float(low), float(high))


def mean_intervals(values: np.ndarray, weights: np.ndarray) -> list[Interval]:
    """The means of values (N, n) over the first axis with their intervals: one matrix product for all."""
    low, high = limits(apply(weights, values))
    return [Interval(*map(float, ends)) for ends in zip(np.mean(values, 0), low, high, strict=True)]
