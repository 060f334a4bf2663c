"""What training carries from step to step, and the numbers that it depends on: data of one compiled program."""

from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt

from function_classes.base import FunctionClass
from icl.training.optimizers import Optimizer
from icl.training.schedules import Schedule


class State(eqx.Module):
    """What a checkpoint holds. `total` and `count` sum the losses since the last row of the log; `constants` are the
    arrays of the learner that are no parameters (`icl.models.anatomy`), None where it has none."""

    params: PyTree
    optimizer: PyTree
    step: Int[Array, "*M"]
    total: Float[Array, "*M"]
    count: Int[Array, "*M"]
    alive: Bool[Array, "*M"]
    culprit: Int[Array, "*M"]
    constants: PyTree = None


class Data(NamedTuple):
    """Everything numerical that members' training depends on: data of the program, so sweeps over it share one."""

    task: FunctionClass
    optimizer: Optimizer
    schedule: Schedule
    seed: UInt[Array, "M"]
    rate: Float[Array, "M"]
    clip: Float[Array, "M"] | None
    steps: Int[Array, "M"]
    limit: Float[Array, "M"]
    teacher: Any = None
