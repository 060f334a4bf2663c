"""The runs of one program: their places, what each goes on from, and what it stores."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from icl.config import Config
from icl.runs import checkpoints
from icl.runs.cadence import Cadence
from icl.runs.directory import RunDirectory
from icl.runs.metrics import MetricsLog, last_step
from icl.training.engine import Data, Program, State
from icl.training.stored import of_this_optax
from icl.training.stored import skeleton as skeleton


class Seat(NamedTuple):
    """A run at its place in a program, and what is to be said of how it goes on."""

    place: int
    config: Config
    directory: RunDirectory
    notes: tuple[str, ...] = ()


@dataclasses.dataclass
class Member:
    """One run of an ensemble while it trains. `first` is the step it goes on from, with the state `stored`."""

    place: int
    config: Config
    directory: RunDirectory
    log: MetricsLog
    cadence: Cadence
    first: int
    stored: Any = None
    stopped: bool = False

    def keeps(self, step: int) -> bool:
        """Whether the checkpoint of this step was asked for: cadence, the last step all longer runs share, the end."""
        training = self.config.training
        shared = training.schedule.prefix(training.steps)
        return self.cadence.due(step, training.steps) or step in (0, shared, training.steps)

    def store(self, step: int, state: State) -> None:
        """The checkpoint of a step. No checkpoint is ever ahead of its log."""
        self.log.sync()
        checkpoints.save(self.directory.checkpoints, step, state)
        checkpoints.drop(self.directory.rolling)

    def roll(self, step: int, state: State) -> None:
        """The newest state, beside the checkpoints that were asked for, in place of the one before."""
        self.log.sync()
        checkpoints.save(self.directory.rolling, step, state)
        checkpoints.drop(self.directory.rolling, step)


def newest(seat: Seat, wanted: State) -> checkpoints.Loaded | None:
    """The state to go on from. A checkpoint whose rows of the log are missing is passed over: training would leave a
    gap there that nothing fills. Raises Incompatible where the newest is intact and does not fit."""
    directory = seat.directory
    for folder in (directory.checkpoints, directory.rolling):
        checkpoints.clean(folder)
    every, last = seat.config.training.log_every, last_step(directory.metrics)
    # Rows written at another interval (it is not science) say nothing about which ones are missing.
    same = directory.config.get("training", {}).get("log_every") == every
    usable = lambda step: not same or step // every * every <= last  # noqa: E731
    with of_this_optax(directory):
        return checkpoints.load_newest(directory.checkpoints, wanted, directory.rolling, usable=usable)


def begin(program: Program, members: Sequence[Member], places: int, data: Data) -> State:
    """Fresh states where a member begins. All other places are at rest: those of members that go on from a stored
    state wait for `join`, and empty ones for nothing."""
    if all(member.stored is not None for member in members):
        state = jax.tree.map(lambda a: jnp.asarray(np.stack([a] * places)), members[0].stored)
    else:
        state = program.start(data)
    fresh = {member.place for member in members if member.stored is None}
    return dataclasses.replace(state, alive=jnp.asarray([place in fresh for place in range(places)]))


def join(state: State, members: Sequence[Member], step: int) -> State:
    """Puts members that go on from this step at their places."""
    joining = [member for member in members if member.stored is not None and member.first == step]
    if not joining:
        return state
    host = jax.tree.map(np.array, jax.device_get(state))
    for member in joining:
        for whole, own in zip(jax.tree.leaves(host), jax.tree.leaves(member.stored), strict=True):
            whole[member.place] = own
        member.stored = None
    return jax.tree.map(jnp.asarray, host)
