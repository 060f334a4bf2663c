"""Does one block in a loop learn an iteration? Yang, Lee, Nowak, Papailiopoulos 2023, at a size for two cores.

Linear regression without noise, where least squares is exact from k = dim on. Loops of one block with a loss over the
last half of the loops, which grow in number during training as the paper's do, and over all; a loop that is too short;
and transformers with blocks of their own. Sizes, steps and the optimizer are ours: the paper trains 500,000 steps.
"""

from collections.abc import Sequence

import numpy as np

from experiments.base import Configs, Experiment, Measure, Runs, seeds
from experiments.measured import Measured, exact, ratios
from function_classes import get
from icl import prng
from icl.handle import Run
from icl.models.base import Learner
from icl.models.looped import loop
from icl.programs import draw, predict

DIM, POINTS, LOOPS, FEW = 5, 16, 12, 4
SEEN = 2 * DIM
DEPTHS = (1, 2, 4, 8)
PROMPTS = {"smoke": 256, "cpu": 4096}
TASK = {"dim": DIM, "points": POINTS, "noise_std": 0.0}


def _configs(count: int, steps: int, width: int) -> Configs:
    sizes = {**TASK, "width": width, "steps": steps}
    growing = {"loops": LOOPS, "loss_window": LOOPS // 2, "loops_start": LOOPS // 2, "loops_every": max(steps // 8, 1)}
    looped = lambda **fields: seeds(count, "linear-regression", model="looped", **sizes, **fields)  # noqa: E731
    stacks = {f"depth {depth}": seeds(count, "linear-regression", depth=depth, **sizes) for depth in DEPTHS}
    return {"last half": looped(**growing), "all loops": looped(loops=LOOPS), "few loops": looped(loops=FEW), **stacks}


def errors(learners: Sequence[Learner], prompts: int) -> np.ndarray:
    """Squared error per dim, (seed, prompt, position), on the same prompts for every learner."""
    law = get("linear-regression", **TASK)
    batch = draw(law, prng.stream(0, "evaluation"), 0, prompts)
    found = [np.asarray(predict(learner, batch).as_mean(law.y_space), float) for learner in learners]
    return (np.stack(found) - np.asarray(batch.ys, float)) ** 2 / DIM


def _seen(learners: Sequence[Learner], scale: str) -> np.ndarray:
    """(seed, 1, prompt): one condition."""
    return errors(learners, PROMPTS[scale])[:, None, :, SEEN]


def _models(runs: Sequence[Run]) -> list[Learner]:
    return [run.model for run in runs]


def near_least_squares(runs: Runs, scale: str) -> Measured:
    found = _seen(_models(runs["last half"]), scale)
    return Measured(ratios(f"squared error per dim at k = {SEEN}", found, np.ones_like(found)))


def fewer_parameters(runs: Runs, scale: str) -> Measured:
    loop_, stack = (runs[name][0].parameters for name in ("last half", "depth 4"))
    return Measured(exact("parameters / those of depth 4", loop_ / stack, seeded=False))


def _more_loops(runs: Sequence[Run], trained: int, scale: str) -> Measured:
    more, as_trained = ([loop(run.model, count) for run in runs] for count in (3 * trained, trained))
    name = f"squared error at {3 * trained} loops / at {trained}"
    return Measured(ratios(name, _seen(more, scale), _seen(as_trained, scale)))


def fixed_point(runs: Runs, scale: str) -> Measured:
    return _more_loops(runs["last half"], LOOPS, scale)


def few_loops_diverge(runs: Runs, scale: str) -> Measured:
    return _more_loops(runs["few loops"], FEW, scale)


def _against(runs: Runs, other: str, scale: str) -> Measured:
    above, below = (_seen(_models(runs[name]), scale) for name in ("last half", other))
    return Measured(ratios(f"squared error / that of {other}", above, below))


def truncation_is_free(runs: Runs, scale: str) -> Measured:
    return _against(runs, "all loops", scale)


def loops_match_depth(runs: Runs, scale: str) -> Measured:
    return _against(runs, "depth 4", scale)


EXPERIMENT = Experiment(
    name="loops",
    paper="loops",
    question="Does one block in a loop learn an iteration that does as well as blocks of their own?",
    scales={
        "smoke": lambda: _configs(2, 8, 8),
        "cpu": lambda: _configs(5, 2000, 64),
    },
    measures={
        "near-least-squares": Measure(near_least_squares, needs=("last half",)),
        "fewer-parameters": Measure(fewer_parameters, needs=("last half", "depth 4")),
        "fixed-point": Measure(fixed_point, needs=("last half",)),
        "few-loops-diverge": Measure(few_loops_diverge, needs=("few loops",)),
        "truncation-is-free": Measure(truncation_is_free, needs=("last half", "all loops")),
        "loops-match-depth": Measure(loops_match_depth, needs=("last half", "depth 4")),
    },
)
