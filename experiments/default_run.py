"""Is the default run of `icl run linear-regression` nearer to exact Bayes than gradient descent can explain?

Reference: sixteen steps of gradient descent on the prompt, from zero, at the best rate for every position, are at
squared distance .0134 per dim from exact Bayes at dim 5, 16 points, noise .5 (mean over positions, by Monte Carlo).
The criterion is half of that.
"""

import numpy as np

from experiments.base import Experiment, Measure, Runs, seeds
from experiments.measured import Measured, means
from icl import prng
from icl.handle import Run
from icl.programs import draw, predict

PROMPTS = 4096


def distance_to_bayes(runs: Runs, scale: str) -> Measured:
    """Squared distance to the Bayes mean per dim, averaged over positions, on the same prompts for all seeds."""
    return Measured(means("distance to Bayes per dim", [[_gaps(run)] for run in runs["default"]]))


def _gaps(run: Run) -> np.ndarray:
    batch, space = draw(run.task, prng.stream(0, "evaluation"), 0, PROMPTS), run.task.y_space
    gap = predict(run.model, batch).as_mean(space) - predict(run.task.bayes, batch).as_mean(space)
    return np.mean(np.asarray(gap, float) ** 2, 1) / run.task.x_space.features


EXPERIMENT = Experiment(
    name="default-run",
    paper="default-run",
    question="Is the default run nearer to exact Bayes than gradient descent with sixteen steps could be?",
    scales={
        "smoke": lambda: {"default": seeds(2, "linear-regression", depth=1, width=16, heads=2, steps=20)},
        "cpu": lambda: {"default": seeds(5, "linear-regression")},
    },
    measures={
        "nearer-than-sixteen-steps": Measure(distance_to_bayes),
    },
)
