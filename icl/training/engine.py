"""The compiled part of training: `chunk` runs any number of steps, one trace for a whole run.

Nothing depends on history but the state: prompt i of step t is drawn from fold_in(seed, stream, t, i), the learning
rate is a function of the step, and a chunk from a to c equals chunks from a to b and b to c bit for bit.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from icl.config import Config
from icl.models.outline import Outline
from icl.programs import options
from icl.training import descent, spreading, validation
from icl.training.gradients import Gradient
from icl.training.keys import program_key as program_key
from icl.training.objective import Objective
from icl.training.state import Data as Data
from icl.training.state import State as State
from icl.training.validation import Validation


class Program:
    """One compiled training program for every member of an ensemble whose `program_key` is this one's.

    Members lie along a first axis of all states, and share the devices of this process (`icl.training.spreading`). What
    a member starts from and how it takes a step is `icl.training.descent`, what its learner is like is `outline`, and
    what it lowers is `objective`.
    """

    usual_packing = staticmethod(spreading.usual_packing)
    split = staticmethod(spreading.split)

    def __init__(self, config: Config, packing: str | None = None, devices: int | None = None):
        self.config = config
        self.traces = 0
        self.spread = spreading.Spread(config, packing, devices)
        self.packing, self.devices = self.spread.packing, self.spread.devices
        self.outline = Outline.of(config.model, config.task, config.training.remat)
        self.paths, self.parameters = self.outline.paths, self.outline.parameters
        self.objective = Objective(config, self.outline)
        self.gradient = Gradient(config, self.objective, self.spread.share_out)
        self._begin = self.spread.members(functools.partial(descent.start, config, self.outline))
        self._start = jax.jit(self._begin, compiler_options=options())
        self._validate = jax.jit(self.spread.members(self.objective.watched), compiler_options=options())
        self._chunk = jax.jit(self._run_chunk, donate_argnums=0)

    def data(self, configs: list[Config]) -> Data:
        """The members' numbers, stacked. `limit` and `teacher` are filled in by `prepare`."""
        return Data.of(configs)

    def shapes(self, data: Data) -> State:
        """Shapes and types of `start(data)`; nothing is computed."""
        return jax.eval_shape(self._begin, data)

    def start(self, data: Data) -> State:
        """Fresh weights and optimizer state for every member."""
        return self._start(data)

    def prepare(self, configs: list[Config], data: Data) -> tuple[Validation, Data]:
        """Every member's validation prompts with what Bayes or the teacher loses on them, and the data with the teacher
        and the loss above which a member counts as diverged."""
        watched, limit, teacher = validation.settle(configs)
        return watched, data._replace(limit=limit, teacher=teacher)

    def chunk(self, state: State, start: int, stop: int, data: Data) -> State:
        """Steps start..stop-1. The state is donated: keep no reference to it."""
        state = self.spread.everywhere(state, len(state.step))
        state = self._chunk(state, np.int32(start), np.int32(stop), data)
        if self.traces > 1:
            raise RuntimeError(f"the training program was traced {self.traces} times; one is the promise")
        return state

    def validate(self, params: PyTree, validation: Validation, constants: PyTree = None) -> dict[str, np.ndarray]:
        """Loss on the validation prompts, its excess over Bayes or the teacher, for every member."""
        return jax.tree.map(np.asarray, self._validate(params, validation, constants))

    def learner(self, params: PyTree, constants: PyTree = None) -> Any:
        """The predictor with these weights and constants (one member's); None: the constants it began with."""
        return self.outline.learner(params, constants)

    def _run_chunk(self, states: State, start: Array, stop: Array, data: Data) -> State:
        self.traces += 1

        def one(state: State, data: Data, start: Array, stop: Array) -> State:
            # One after another, a member that has diverged or waits costs nothing; side by side all take the same time.
            last = jnp.where(state.alive, stop, start) if self.packing == "map" else stop
            take = lambda step, s: descent.descend(self.gradient, step, s, data)  # noqa: E731
            return jax.lax.fori_loop(start, last, take, state)

        return self.spread.members(one)(states, data, shared=(start, stop))
