"""Settling the numbers of references: prompts of their own, what to come close to, and a search on a log grid."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Prompt
from function_classes.spaces import Real, Signs
from icl.programs import call, draw, predict


class Fold(NamedTuple):
    """Prompts for calibration with what a mean should come close to and the weight of each position."""

    prompts: Prompt
    target: Float[Array, "B P"]
    weight: Float[Array, "B P"]


def fold(task: FunctionClass, key: PRNGKeyArray, prompts: int) -> Fold:
    """The target is the exact Bayes mean where there is one, else the noiseless function, else y.

    E(y - g)^2 = E(y - b)^2 + E(b - g)^2 for every predictor g and the Bayes mean b, so the best number is the same
    and its estimate less noisy. Not so where what is scored differs from what is shown: there y is replaced by it.
    """
    batch = draw(task, key, 0, prompts)
    target = batch.scores.astype(jnp.float32)
    if batch.targets is None and task.bayes_kind.exact:
        target = predict(task.bayes, batch).as_mean(task.y_space)
    elif batch.targets is None and task.oracle_known and isinstance(task.y_space, Real | Signs):
        target = call(task.oracle, batch).as_mean(task.y_space)
    weight = jnp.ones(target.shape) if batch.scored is None else batch.scored
    return Fold(batch.hide(), target, weight)


def search(loss: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray:
    """The minimum over a positive number, for each column of `start` (G, n) separately.

    `loss` takes (G, n) and returns (G, n). A grid of nine between the neighbors of the best of `start`, then a
    parabola in the logarithm. Losses that are not finite never win.
    """
    values = loss(start)
    best, _ = _lowest(start, values)
    low, high = _neighbors(start, best)
    fine = np.exp(np.linspace(np.log(low), np.log(high), 9))
    values = loss(fine)
    best, values = _lowest(fine, values)
    middle = np.clip(best, 1, len(fine) - 2)
    columns = np.arange(fine.shape[1])
    before, at, after = (values[middle + shift, columns] for shift in (-1, 0, 1))
    curvature = before - 2 * at + after
    valley = np.isfinite(curvature) & (curvature > 0)
    shift = np.where(valley, 0.5 * (before - after) / np.where(valley, curvature, 1), best - middle)
    spacing = np.log(fine[1]) - np.log(fine[0])
    return np.exp(np.log(fine[middle, columns]) + np.clip(shift, -1, 1) * spacing)


def _lowest(grid: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.where(np.isfinite(values), values, np.inf)
    return np.argmin(values, 0), values


def _neighbors(grid: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    columns = np.arange(grid.shape[1])
    return grid[np.maximum(best - 1, 0), columns], grid[np.minimum(best + 1, len(grid) - 1), columns]
