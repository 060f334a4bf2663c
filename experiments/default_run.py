"""Is the default run of `icl run linear-regression` nearer to exact Bayes than gradient descent can explain?

Reference: sixteen steps of gradient descent on the prompt, from zero, at the best rate for every position, are at
squared distance .0134 per dim from exact Bayes at dim 5, 16 points, noise .5 (mean over positions, by Monte Carlo).
The criterion is half of that.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments.base import Claim, Experiment
from icl import prng
from icl.config import Config
from icl.handle import Run
from icl.programs import draw, predict

SIXTEEN_STEPS = 0.0134
PROMPTS = 4096


def distance_to_bayes(runs: Sequence[Run]) -> list[float]:
    """Squared distance to the Bayes mean per dim, averaged over positions, on prompts that no run has seen."""

    def one(run: Run) -> float:
        batch = draw(run.task, prng.stream(run.seed, "evaluation"), 0, PROMPTS)
        space = run.task.y_space
        gap = predict(run.model, batch).as_mean(space) - predict(run.task.bayes, batch).as_mean(space)
        return float(jnp.mean(gap**2)) / run.task.x_space.features

    return jax.tree.map(one, list(runs), is_leaf=lambda r: isinstance(r, Run))


def _configs(seeds: int, **settings: Any) -> list[Config]:
    return [Config.create("linear-regression", seed=seed, **settings) for seed in range(seeds)]


EXPERIMENT = Experiment(
    name="default-run",
    question="Is the default run nearer to exact Bayes than gradient descent with sixteen steps could be?",
    configs={
        "smoke": lambda: _configs(2, depth=1, width=16, heads=2, steps=20),
        "cpu": lambda: _configs(5),
    },
    claims=(
        Claim(
            statement="the default run is nearer to exact Bayes than half the distance of 16 gradient steps at the "
            "best rate for every position",
            source="this project",
            quantity="squared distance to exact Bayes per dim, mean over positions, median over seeds",
            below=SIXTEEN_STEPS / 2,
            measure=distance_to_bayes,
        ),
    ),
)
