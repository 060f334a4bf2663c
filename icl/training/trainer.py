"""Training as it happens on disk: chunks between boundaries, rows of the log, checkpoints, interrupts, divergence.

Boundaries (log, checkpoint, end) are functions of the absolute step, and the chunk program gives the same bits however
its steps are split; so a run that was interrupted anywhere ends with the same files as one that was not.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from icl.config import Config
from icl.runs import checkpoints
from icl.runs.cadence import Cadence
from icl.runs.directory import RunDirectory
from icl.runs.directory import State as Standing
from icl.runs.metrics import MetricsLog, cut_back
from icl.runs.signals import Interruption
from icl.training.engine import Data, Program, State
from icl.training.validation import Validation

# Chunks are kept about this long so that an interrupt, and the progress shown, never wait for more.
CHUNK_SECONDS = 0.5


@dataclasses.dataclass
class Progress:
    """What a watcher is told after every chunk. `seconds` have passed since step `timed_from`, so that compilation is
    not counted; `loss` is the mean over members since the last row of the log, and `excess` is over `floor`."""

    step: int
    steps: int
    timed_from: int
    members: int
    loss: float = float("nan")
    excess: float | None = None
    seconds: float = 0.0
    phase: str = "training"
    floor: str = "Bayes"


Watcher = Callable[[Progress], None]


def floor(config: Config) -> str:
    """What the excess of the log is over."""
    teacher = config.training.teacher
    return "Bayes" if teacher is None else f"teacher {teacher.label}"


@dataclasses.dataclass
class Member:
    """One run of an ensemble while it trains."""

    config: Config
    directory: RunDirectory
    log: MetricsLog
    cadence: Cadence
    stopped: bool = False

    def keeps(self, step: int) -> bool:
        """Whether the checkpoint of this step was asked for: cadence, the last step all longer runs share, the end."""
        training = self.config.training
        shared = training.schedule.prefix(training.steps)
        return self.cadence.due(step, training.steps) or step in (0, shared, training.steps)


def fit(
    program: Program,
    runs: Sequence[tuple[Config, RunDirectory]],
    watch: Watcher,
    interruption: Interruption,
) -> None:
    """Trains all runs, which share one program and one starting step, to their last step.

    Every directory is locked meanwhile. Once an interruption is requested, all are checkpointed at the end of the
    current chunk. A member that diverges is frozen with its last finite weights and named; the others go on.
    """
    with contextlib.ExitStack() as stack:
        for _, directory in runs:
            stack.enter_context(directory.lock())
        configs = [config for config, _ in runs]
        watch(Progress(0, configs[0].training.steps, 0, len(runs), phase="compiling"))
        data = program.data(configs)
        state, first, damaged = _restore(program, runs, data)
        validation, data = program.prepare(configs, data)
        members = []
        for (config, directory), warnings in zip(runs, damaged, strict=True):
            cut_back(directory.metrics, first)
            log = stack.enter_context(MetricsLog(directory.metrics))
            members.append(Member(config, directory, log, Cadence.parse(config.training.checkpoint_every)))
            directory.set_status(Standing.RUNNING, first, warnings=warnings)
        _Fit(program, members, data, validation, watch, interruption).run(state, first)


def skeleton(program: Program, data: Data) -> State:
    """Shapes and types of one member's state, as checkpoints hold it."""
    shapes = program.shapes(data)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), shapes)


def _restore(
    program: Program, runs: Sequence[tuple[Config, RunDirectory]], data: Data
) -> tuple[State, int, list[tuple[str, ...]]]:
    """The members' newest checkpoints stacked, or fresh states, all at the same step; and what was passed over."""
    wanted, found, damaged = skeleton(program, data), [], []
    for _, directory in runs:
        checkpoints.clean(directory.checkpoints)
        loaded = checkpoints.load_newest(directory.checkpoints, wanted)
        found.append(loaded)
        damaged.append(() if loaded is None else tuple(map(str, loaded.damaged)))
    steps = {0 if loaded is None else loaded.step for loaded in found}
    if len(steps) > 1:
        raise ValueError(f"runs trained together must stand at one step, not {sorted(steps)}")
    if any(loaded is None for loaded in found):
        return program.start(data), 0, damaged
    trees = [loaded.tree for loaded in found if loaded is not None]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees), steps.pop(), damaged


class _Fit:
    """One call of `fit`, after everything has been opened."""

    def __init__(
        self,
        program: Program,
        members: list[Member],
        data: Data,
        validation: Validation,
        watch: Watcher,
        interruption: Interruption,
    ):
        self.program, self.members, self.data, self.validation = program, members, data, validation
        self.watch, self.interruption = watch, interruption
        self.steps = members[0].config.training.steps
        self.log_every = members[0].config.training.log_every
        self.loss, self.excess = float("nan"), None

    def run(self, state: State, first: int) -> None:
        step, began, timed_from, pace = first, time.monotonic(), first, 1
        if first == 0:
            self._save(state, 0, range(len(self.members)))
        while step < self.steps and not all(member.stopped for member in self.members):
            if self.interruption.requested is not None:
                return self._interrupt(state, step)
            stop = self._boundary(step, pace)
            start = time.monotonic()
            state = self.program.chunk(state, step, stop, self.data)
            jax.block_until_ready(state.step)
            elapsed = time.monotonic() - start
            if step == first:
                began, timed_from = time.monotonic(), stop
            else:
                pace = max(1, min(2 * (stop - step), int(CHUNK_SECONDS * (stop - step) / max(elapsed, 1e-6))))
            step = stop
            self._freeze(state, step)
            state = self._record(state, step)
            due = [i for i, m in enumerate(self.members) if not m.stopped and m.keeps(step)]
            self._save(state, step, due)
            seconds = time.monotonic() - began
            numbers = timed_from, len(self.members), self.loss, self.excess, seconds
            self.watch(Progress(step, self.steps, *numbers, floor=floor(self.members[0].config)))
        self._finish()

    def _boundary(self, step: int, pace: int) -> int:
        """Where the chunk from `step` ends: the next row, checkpoint or end, or sooner so that it stays short."""
        log = (step // self.log_every + 1) * self.log_every
        stop = min(self.steps, log, step + pace)
        kept = (s for s in range(step + 1, stop) if any(m.keeps(s) for m in self.members))
        return next(kept, stop)

    def _record(self, state: State, step: int) -> State:
        """Writes a row for every member that still trains, at the steps that have one."""
        if step % self.log_every and step != self.steps:
            return state
        measured = self.program.validate(state.params, self.validation)
        losses = np.asarray(state.total) / np.maximum(np.asarray(state.count), 1)
        for index, member in enumerate(self.members):
            if not member.stopped:
                numbers = {name: float(values[index]) for name, values in measured.items()}
                member.log.append([{"step": step, "loss": float(losses[index]), **numbers}])
        going = [i for i, member in enumerate(self.members) if not member.stopped]
        if going:
            self.loss = float(np.mean(losses[going]))
            self.excess = float(np.mean(measured["excess"][going])) if "excess" in measured else None
        return dataclasses.replace(state, total=jnp.zeros_like(state.total), count=jnp.zeros_like(state.count))

    def _freeze(self, state: State, step: int) -> None:
        alive = np.asarray(state.alive)
        for index, member in enumerate(self.members):
            if alive[index] or member.stopped:
                continue
            last = int(state.step[index])
            # A checkpoint taken there while all was well differs in its flags, and resuming from it comes back here.
            if last not in checkpoints.list_checkpoints(member.directory.checkpoints):
                self._save(state, last, [index])
            if not member.stopped:
                self._stop(index, last, self.program.paths[int(state.culprit[index])])

    def _stop(self, index: int, step: int, leaf: str) -> None:
        """Names what diverged: the status says at which step, worst in which leaf, and what to try."""
        member, limit = self.members[index], float(self.data.limit[index])
        member.stopped = True
        member.log.sync()
        training, rate = member.config.training, member.config.rate
        loss = f"above {limit:.3g} or not finite" if math.isfinite(limit) else "not finite"
        slower = min(rate / 10, type(training.optimizer).default_rate)
        member.directory.set_status(
            Standing.DIVERGED,
            step,
            f"from here the loss is {loss}, worst in {leaf.lstrip('.')}, at learning rate {rate:g}; "
            f"try --learning-rate {slower:.1g} or --clip 1",
        )

    def _save(self, state: State, step: int, which: Sequence[int]) -> None:
        """Checkpoints of members whose weights are finite; the others have diverged since their last one."""
        if not which:
            return
        host = jax.device_get(state)
        for index in which:
            member, one = self.members[index], jax.tree.map(lambda a: a[index], host)  # noqa: B023
            sound = map(np.all, map(np.isfinite, jax.tree.leaves(one.params)))
            bad = next((path for path, fine in zip(self.program.paths, sound, strict=True) if not fine), None)
            if bad is not None:
                self._stop(index, max(checkpoints.list_checkpoints(member.directory.checkpoints)), bad)
                continue
            member.log.sync()
            checkpoints.save(member.directory.checkpoints, step, one)

    def _interrupt(self, state: State, step: int) -> None:
        going = [i for i, member in enumerate(self.members) if not member.stopped]
        self._save(state, step, going)
        for index in going:
            if not self.members[index].stopped:
                self.members[index].directory.set_status(Standing.INTERRUPTED, step)

    def _finish(self) -> None:
        for member in self.members:
            if not member.stopped:
                checkpoints.prune(member.directory.checkpoints, member.keeps)
                member.directory.set_status(Standing.FINISHED, self.steps)
