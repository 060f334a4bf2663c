"""What training carries from step to step, and the numbers that it depends on: data of one compiled program."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt

from function_classes.base import FunctionClass
from icl.config import Config
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


BESIDE_LEARNER = frozenset(State.__dataclass_fields__) - {"params", "constants"}
"""The parts of a state that only training has a use for."""


class Data(NamedTuple):
    """Everything numerical that members' training depends on: data of the program, so sweeps over it share one. `limit`
    is the loss above which a member counts as diverged, and `teacher` whom it imitates, if any."""

    task: FunctionClass
    optimizer: Optimizer
    schedule: Schedule
    seed: UInt[Array, "M"]
    rate: Float[Array, "M"]
    clip: Float[Array, "M"] | None
    steps: Int[Array, "M"]
    limit: Float[Array, "M"]
    teacher: Any = None

    @classmethod
    def of(cls, configs: Sequence[Config]) -> "Data":
        """The members' numbers, stacked. No limit, no teacher: both need prompts to be drawn."""

        def one(config: Config) -> Data:
            training = config.training
            task, optimizer, schedule = jax.tree.map(np.float32, (config.task, training.optimizer, training.schedule))
            # NumPy scalars, of one member; they become the arrays that `Data` promises when members are stacked.
            numbers: dict[str, Any] = {
                "seed": np.uint32(config.seed),
                "rate": np.float32(config.rate),
                "clip": None if training.clip is None else np.float32(training.clip),
                "steps": np.int32(training.steps),
                "limit": np.float32(np.inf),
            }
            return cls(task, optimizer, schedule, **numbers)

        return jax.tree.map(lambda *leaves: np.stack(leaves), *map(one, configs))
