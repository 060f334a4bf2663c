"""Distances of runs to other predictors, and the members of families that describe runs best.

SPD is the mean squared difference of two predictors over prompts and positions, divided by the input dimension
(Akyurek et al. 2022, section 4.1).
"""

import functools
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from experiments.base import Runs
from function_classes.base import Prompt
from icl import prng, references
from icl.handle import Run
from icl.identification import Fitted, best_member
from icl.programs import draw, predict

PROMPTS = {"smoke": 256, "cpu": 16_384, "paper": 16_384}
KEY = prng.stream(0, "evaluation")
SEARCH: dict[str, Any] = {"method": "bounded", "options": {"xatol": 1e-2}}


@functools.lru_cache(maxsize=8)
def _prompts(law: Any, scale: str) -> Prompt:
    return draw(law, KEY, 0, PROMPTS[scale])


@functools.cache
def _answers(run: Run, scale: str) -> np.ndarray:
    return np.asarray(predict(run.model, _prompts(run.task, scale)).as_mean(run.task.y_space), float)


def gaps(run: Run, other: Any, scale: str) -> np.ndarray:
    """(prompt,) squared difference to another predictor, mean over positions, per dim."""
    said = predict(other, _prompts(run.task, scale)).as_mean(run.task.y_space)
    return np.mean((_answers(run, scale) - np.asarray(said, float)) ** 2, 1) / run.task.x_space.features


def to_bayes(runs: Runs, names: tuple[str, ...], scale: str) -> np.ndarray:
    """(seed, condition, prompt) SPD per dim to exact Bayes."""
    found = [[gaps(run, run.task.bayes, scale) for run in runs[name]] for name in names]
    return np.swapaxes(np.asarray(found), 0, 1)


@functools.cache
def penalty(run: Run, law: Any, scale: str) -> Fitted:
    """The ridge penalty that describes a run best on prompts of a class, as `icl identify` fits it."""
    ridge = references.get("ridge", penalty=1.0)
    return best_member(run.model, law, ridge, key=KEY, prompts=min(PROMPTS[scale], 2048))


def few_steps(run: Run, scale: str) -> np.ndarray:
    """(prompt,) distance to gradient descent of at most four steps with one rate for all positions and prompts, at the
    number of steps and the rate that describe the run best."""
    best = []
    for steps in range(1, 5):

        def at(log_rate: float, steps: int = steps) -> np.ndarray:
            return gaps(run, references.get("gradient-descent", steps=steps, rate=float(np.exp(log_rate))), scale)

        found: Any = minimize_scalar(lambda log_rate, at=at: at(log_rate).mean(), bounds=(-6.0, 1.0), **SEARCH)
        best.append(at(found.x))
    return min(best, key=np.mean)
