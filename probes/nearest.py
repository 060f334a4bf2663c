"""Which reference is the nearest, which are as good as it, and whether the prompts can tell.

    typical(r) = mean over positions of the median over prompts of the distance to r

Least squares has no finite mean distance near k = dim, so the center is a median. Two references are alike where their
own distance is at most 1 % of the mean square that is predicted: no question asks for one of them against the other.
Of those that are not alike the nearest is told from another where the difference of both, over resampled prompts, is
above 0 in 97.5 % of all draws. Prompts are resampled together for all references.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

ALIKE, DRAWS, TAIL = 0.01, 400, 0.025


def typical(values: Float[np.ndarray, "N P"]) -> float:
    """The mean over positions of the median over prompts."""
    return float(np.mean(np.median(values.reshape(*values.shape[:2], -1).sum(-1), 0)))


class Nearest(NamedTuple):
    """Names in the order of their distance, the nearest with those that are like it, and those that may be nearer."""

    typical: dict[str, float]
    like: tuple[str, ...]
    rivals: tuple[str, ...]

    @property
    def order(self) -> list[str]:
        return list(self.typical)

    @property
    def words(self) -> str:
        """The nearest and what is like it, or what cannot be told apart."""
        group = " or ".join(self.like)
        return f"cannot tell {group} from {' or '.join(self.rivals)}" if self.rivals else group


def nearest(gaps: Mapping[str, Float[np.ndarray, "N P"]], apart: Callable[[str, str], float], seed: int = 0) -> Nearest:
    """`gaps` are distances to every reference by prompt and position; `apart` is the typical distance of two of them,
    over the typical size of what is predicted."""
    names = list(gaps)
    values = np.stack([gaps[name] for name in names], -1)
    distance = np.median(values, 0).mean(0)
    order = np.argsort(distance, kind="stable")
    first = int(order[0])
    like = [names[i] for i in order if i == first or apart(names[first], names[i]) <= ALIKE]
    picks = np.random.default_rng([seed, len(values)]).integers(len(values), size=(DRAWS, len(values)))
    drawn = np.stack([np.median(values[pick], 0).mean(0) for pick in picks])
    with np.errstate(invalid="ignore"):
        behind = np.quantile(drawn - drawn[:, first : first + 1], TAIL, axis=0)
    rivals = tuple(names[i] for i in order if names[i] not in like and not behind[i] > 0)
    return Nearest({names[i]: float(distance[i]) for i in order}, tuple(like), rivals)
