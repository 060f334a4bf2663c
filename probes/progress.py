"""Do layers progress along a curve: gradient descent at one rate, or Newton's method at one start and penalty?

    on the curve     a layer whose nearest member leaves at most a tenth of the mean square of what it says
    explained        1 - sum |(f_l - f_l-1) - (m_l - m_l-1)|^2 / sum |f_l - f_l-1|^2 over the layers l on the curve, m_l
                     the member nearest to layer l

A curve has one number of steps for all positions and prompts and one rate for all layers, so what a layer changes must
be what further steps change. Ridge that takes in one example after another is on Newton's curve too, since one example
changes little; but it changes what those steps do not. Rate, start and penalty are fitted to the layers.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from icl.references.gradient_descent import Modes

# Shares: left by the nearest member, explained of changes where layers progress and where they do not, and told apart.
LEFT, EXPLAINED, UNEXPLAINED, NEARER = 0.1, 0.8, 0.5, 2.0
# Members as near as this share of the mean square count as one: the one of fewest steps.
EQUAL = 1e-3
RELATIVE_RATES = np.geomspace(0.02, 2.2, 48)


class Curve(NamedTuple):
    """Predictions of the members of one family at one choice of its other numbers, and what those are, in words."""

    steps: np.ndarray
    said: Float[np.ndarray, "M N P"]
    words: str


class Fit(NamedTuple):
    """The nearest member of every layer: its number of steps, the share that it leaves, what changes it explains."""

    steps: tuple[int, ...]
    left: tuple[float, ...]
    explained: float
    words: str

    @property
    def first(self) -> int:
        """The layer, from 0, from which on all are on the curve; their number where the last is not."""
        off = np.flatnonzero(np.asarray(self.left) > LEFT)
        return int(off[-1]) + 1 if len(off) else 0

    @property
    def candidate(self) -> bool:
        """At least two numbers of steps on the curve that are not 0, none smaller than the one before."""
        steps = self.steps[self.first :]
        return len({s for s in steps if s}) > 1 and all(a <= b for a, b in itertools.pairwise(steps))

    @property
    def progresses(self) -> bool | None:
        """None where it cannot be told."""
        if not self.candidate or self.explained < UNEXPLAINED:
            return False
        return True if self.explained >= EXPLAINED else None

    @property
    def distance(self) -> float:
        return float(np.mean(self.left))


def fit(layers: Float[np.ndarray, "L N P"], curve: Curve) -> Fit:
    """One curve, as it is."""
    said, members = layers.reshape(len(layers), -1), curve.said.reshape(len(curve.said), -1)
    size = np.mean(said**2, 1)
    gaps = np.mean(members**2, 1)[None] - 2 * said @ members.T / said.shape[1] + size[:, None]
    gaps = np.maximum(gaps, 0)
    close = gaps <= gaps.min(1, keepdims=True) + EQUAL * size[:, None]
    at = np.argmax(close, 1)
    gap = gaps[np.arange(len(gaps)), at]
    # A layer that says exactly 0 is at no step, with nothing left.
    left = np.where(size > 0, gap / np.where(size > 0, size, 1), np.where(gap > 0, np.inf, 0.0))
    found = Fit(tuple(map(int, curve.steps[at])), tuple(map(float, left)), 0.0, curve.words)
    own, other = np.diff(said[found.first :], axis=0), np.diff(members[at][found.first :], axis=0)
    moved = np.sum(own**2)
    explained = 1 - float(np.sum((own - other) ** 2) / moved) if moved > 0 else 0.0
    return found._replace(explained=explained)


def best(layers: Float[np.ndarray, "L N P"], curves: Iterator[Curve]) -> Fit:
    """The curve that leaves least, a layer that is not on it counting as one at its edge."""
    return min((fit(layers, curve) for curve in curves), key=_cost)


def _cost(found: Fit) -> float:
    return float(np.sum(np.minimum(found.left, LEFT)))


def descent(
    layers: Float[np.ndarray, "L N P"], modes: Modes, steps: list[int], at: np.ndarray, bound: np.ndarray
) -> Fit:
    """Gradient descent at the rate, the same for all layers and positions, at which least is left: the best of a grid
    in units of 1 / (mean largest curvature), then of three finer ones around it."""
    curvatures, loads = (np.asarray(a, np.float64)[:, at] for a in modes)
    numbers, unit = np.asarray([0, *steps]), 1 / float(np.mean(curvatures[..., -1]))

    def curve(rate: float) -> Curve:
        shrunk = rate * curvatures
        with np.errstate(over="ignore", invalid="ignore"):
            left = (1 - shrunk)[None] ** numbers[:, None, None, None]
            gain = np.where(
                shrunk > 1e-9, (1 - left) / np.where(shrunk > 1e-9, curvatures, 1), numbers[:, None, None, None] * rate
            )
            said = np.sum(loads * gain, -1)
        return Curve(numbers, clipped(np.nan_to_num(said, nan=np.inf), bound), f"at rate {rate:.2g}")

    rates, spread = RELATIVE_RATES * unit, RELATIVE_RATES[1] / RELATIVE_RATES[0]
    found, rate = _best_rate(layers, curve, rates)
    for _ in range(3):
        found, rate = _best_rate(layers, curve, rate * np.geomspace(1 / spread, spread, 9))
        spread = spread**0.25
    return found


def _best_rate(layers: np.ndarray, curve: Callable[[float], Curve], rates: np.ndarray) -> tuple[Fit, float]:
    fits = [(fit(layers, curve(float(rate))), float(rate)) for rate in rates]
    return min(fits, key=lambda pair: _cost(pair[0]))


def clipped(said: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Least squares is heavy-tailed near k = dim: few prompts would decide."""
    return np.clip(said, -bound, bound)


def along(fits: dict[str, Fit]) -> tuple[str, ...] | None:
    """The family along which layers progress: one, or none of them. None where it cannot be told: where changes are
    explained by half, or by two families of which neither is twice as near."""
    found = [name for name, one in fits.items() if one.progresses]
    if not found:
        return None if any(one.progresses is None for one in fits.values()) else ()
    near, *others = sorted(found, key=lambda name: fits[name].distance)
    if others and fits[others[0]].distance < NEARER * fits[near].distance:
        return None
    return (near,)
