"""Training as it happens on disk: chunks between boundaries, rows of the log, checkpoints, interrupts, divergence.

Boundaries (log, checkpoint, end) are functions of the absolute step, and the chunk program gives the same bits however
its steps are split; so a run that was interrupted anywhere ends with the same files as one that was not. Members of one
program that stand at different steps (a kill may come between their checkpoints) begin one after another: whoever is
ahead waits in its place, and takes up its own stored state at its own step.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from icl.config import Config
from icl.runs import checkpoints
from icl.runs.cadence import Cadence
from icl.runs.directory import State as Standing
from icl.runs.errors import Busy
from icl.runs.metrics import MetricsLog, cut_back
from icl.signals import Interruption
from icl.training.engine import Data, Program, State
from icl.training.members import Member, Seat, begin, join, newest, skeleton

# Chunks are kept about this long so that an interrupt, and the progress shown, never wait for more.
CHUNK_SECONDS = 0.5
# How often a status says at which step training is; less often where writing it takes longer than this share of time.
STATUS_SECONDS, STATUS_SHARE = 10.0, 0.01


@dataclasses.dataclass
class Progress:
    """What a watcher is told after every chunk. `seconds` have passed since step `timed_from`, so that compilation is
    not counted; `loss` is the mean over members since the last row of the log, and `excess` is over `floor`. `notes`
    are sentences that someone should read before training begins."""

    step: int
    steps: int
    timed_from: int
    members: int
    loss: float = float("nan")
    excess: float | None = None
    seconds: float = 0.0
    phase: str = "training"
    floor: str = "Bayes"
    notes: tuple[str, ...] = ()


Watcher = Callable[[Progress], None]


def floor(config: Config) -> str:
    """What the excess of the log is over."""
    teacher = config.training.teacher
    return "Bayes" if teacher is None else f"teacher {teacher.label}"


def fit(
    program: Program,
    seats: Sequence[Seat],
    places: int,
    watch: Watcher,
    interruption: Interruption,
) -> list[Busy]:
    """Trains all runs, which share one program of so many `places`, to their last step.

    Every directory is locked meanwhile; runs that another process writes to are left out and returned. Once an
    interruption is requested, all are checkpointed at the end of the current chunk. A member that diverges is frozen
    with its last finite weights and named; the others go on.
    """
    with contextlib.ExitStack() as stack:
        free, busy, warned = [], [], []
        for seat in seats:
            try:
                warning = stack.enter_context(seat.directory.lock())
            except Busy as error:
                busy.append(error)
            else:
                free.append(seat)
                warned.append(() if warning is None else (warning,))
        if not free:
            return busy
        steps = free[0].config.training.steps
        notes = tuple(dict.fromkeys(note for seat in free for note in seat.notes))
        watch(Progress(0, steps, 0, len(free), phase="compiling", notes=notes))
        # An empty place computes what the first run does, and its results go nowhere.
        configs = [free[0].config] * places
        for seat in free:
            configs[seat.place] = seat.config
        data = program.data(configs)
        wanted = skeleton(program, data)
        found = [newest(seat, wanted) for seat in free]
        members = []
        for seat, loaded, extra in zip(free, found, warned, strict=True):
            first = 0 if loaded is None else loaded.step
            cut_back(seat.directory.metrics, first)
            log = stack.enter_context(MetricsLog(seat.directory.metrics))
            cadence = Cadence.parse(seat.config.training.checkpoint_every)
            stored = None if loaded is None else loaded.tree
            members.append(Member(seat.place, seat.config, seat.directory, log, cadence, first, stored))
            damaged = () if loaded is None else tuple(map(str, loaded.damaged))
            seat.directory.set_status(Standing.RUNNING, first, warnings=(*seat.notes, *extra, *damaged))
        _Fit(program, members, places, data, watch, interruption).run(configs)
    return busy


class _Fit:
    """One call of `fit`, after everything has been opened."""

    def __init__(
        self,
        program: Program,
        members: list[Member],
        places: int,
        data: Data,
        watch: Watcher,
        interruption: Interruption,
    ):
        self.program, self.members, self.places, self.data = program, members, places, data
        self.watch, self.interruption = watch, interruption
        training = members[0].config.training
        self.steps, self.log_every = training.steps, training.log_every
        minutes = [m.config.training.save_minutes for m in members]
        self.save_seconds = 60 * min((m for m in minutes if m is not None), default=math.inf)
        self.loss, self.excess = float("nan"), None
        self.stored = self.shown = time.monotonic()
        self.pause = STATUS_SECONDS

    @property
    def going(self) -> list[Member]:
        """Members whose state moves at the moment."""
        return [m for m in self.members if not m.stopped and m.stored is None]

    def run(self, configs: Sequence[Config]) -> None:
        first = min(member.first for member in self.members)
        with self._leaving(first):
            self.validation, self.data = self.program.prepare(list(configs), self.data)
            state = join(begin(self.program, self.members, self.places, self.data), self.members, first)
            if first < self.steps:
                # Compiled while nothing can be lost.
                self.program.validate(state.params, self.validation, state.constants)
            if first == 0:
                self._save(state, 0, self.going)
        step, began, timed_from, pace = first, time.monotonic(), first, 1
        self.stored = time.monotonic()
        while step < self.steps and not all(member.stopped for member in self.members):
            if self.interruption.requested is not None:
                return self._interrupt(state, step)
            stop = self._boundary(step, pace)
            start = time.monotonic()
            # Until the first chunk is there, it compiles, and leaving loses nothing.
            with self._leaving(first) if step == first else contextlib.nullcontext():
                state = self.program.chunk(state, step, stop, self.data)
                jax.block_until_ready(state.step)
            self.interruption.unsaved(True)
            elapsed = time.monotonic() - start
            if step == first:
                began, timed_from = time.monotonic(), stop
            else:
                pace = max(1, min(2 * (stop - step), int(CHUNK_SECONDS * (stop - step) / max(elapsed, 1e-6))))
            step = stop
            self._freeze(state, step)
            state = self._record(state, step)
            self._save(state, step, [m for m in self.going if m.keeps(step)])
            self._keep_up(state, step)
            state = join(state, self.members, step)
            seconds = time.monotonic() - began
            numbers = timed_from, len(self.members), self.loss, self.excess, seconds
            self.watch(Progress(step, self.steps, *numbers, floor=floor(self.members[0].config)))
        self._finish()
        self.interruption.unsaved(False)

    @contextlib.contextmanager
    def _leaving(self, first: int) -> Iterator[None]:
        """While this lasts nothing is unsaved: a signal ends the process at once, and statuses say where it stood."""
        before = self.interruption.farewell

        def farewell() -> str:
            for member in self.members:
                member.directory.set_status(Standing.INTERRUPTED, member.first)
            return "interrupted" if before is None else before()

        self.interruption.farewell = farewell
        try:
            yield
        finally:
            self.interruption.farewell = before

    def _boundary(self, step: int, pace: int) -> int:
        """Where the chunk from `step` ends: the next row, checkpoint, waiting member or end, or sooner so that it stays
        short."""
        log = (step // self.log_every + 1) * self.log_every
        waiting = [m.first for m in self.members if m.stored is not None]
        stop = min(self.steps, log, step + pace, *waiting)
        kept = (s for s in range(step + 1, stop) if any(m.keeps(s) for m in self.members))
        return next(kept, stop)

    def _record(self, state: State, step: int) -> State:
        """Writes a row for every member that still trains, at the steps that have one."""
        if step % self.log_every and step != self.steps:
            return state
        measured = self.program.validate(state.params, self.validation, state.constants)
        losses = np.asarray(state.total) / np.maximum(np.asarray(state.count), 1)
        for member in self.going:
            numbers = {name: float(values[member.place]) for name, values in measured.items()}
            member.log.append([{"step": step, "loss": float(losses[member.place]), **numbers}])
        if going := [member.place for member in self.going]:
            self.loss = float(np.mean(losses[going]))
            self.excess = float(np.mean(measured["excess"][going])) if "excess" in measured else None
        return dataclasses.replace(state, total=jnp.zeros_like(state.total), count=jnp.zeros_like(state.count))

    def _freeze(self, state: State, step: int) -> None:
        alive = np.asarray(state.alive)
        for member in self.going:
            if alive[member.place]:
                continue
            last = int(state.step[member.place])
            # A checkpoint taken there while all was well differs in its flags, and resuming from it comes back here.
            if last not in checkpoints.list_checkpoints(member.directory.checkpoints):
                self._save(state, last, [member])
            if not member.stopped:
                self._stop(member, last, self.program.paths[int(state.culprit[member.place])])

    def _stop(self, member: Member, step: int, leaf: str) -> None:
        """Names what diverged: the status says at which step, worst in which leaf, and what to try."""
        limit = float(self.data.limit[member.place])
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

    def _save(self, state: State, step: int, which: Sequence[Member], rolling: bool = False) -> None:
        """Checkpoints of members whose weights are finite; the others have diverged since their last one."""
        if not which:
            return
        if not rolling and len(which) == len(self.going):
            self.stored = time.monotonic()
        host = jax.device_get(state)
        for member in which:
            one = jax.tree.map(lambda a: a[member.place], host)  # noqa: B023
            sound = map(np.all, map(np.isfinite, jax.tree.leaves(one.params)))
            bad = next((path for path, fine in zip(self.program.paths, sound, strict=True) if not fine), None)
            if bad is not None:
                self._stop(member, max(checkpoints.list_checkpoints(member.directory.checkpoints)), bad)
            elif rolling:
                member.roll(step, one)
            else:
                member.store(step, one)

    def _keep_up(self, state: State, step: int) -> None:
        """By the clock: the newest state on disk, and a status that says how far training is."""
        now = time.monotonic()
        if now - self.stored >= self.save_seconds and step < self.steps:
            self._save(state, step, self.going, rolling=True)
            self.stored = time.monotonic()
        if now - self.shown >= self.pause:
            for member in self.going:
                member.directory.set_status(Standing.RUNNING, step)
            self.shown = time.monotonic()
            self.pause = max(STATUS_SECONDS, (self.shown - now) / STATUS_SHARE)

    def _interrupt(self, state: State, step: int) -> None:
        self._save(state, step, self.going)
        for member in self.members:
            if not member.stopped:
                member.directory.set_status(Standing.INTERRUPTED, step if member.stored is None else member.first)
        self.interruption.unsaved(False)

    def _finish(self) -> None:
        for member in self.members:
            if not member.stopped:
                checkpoints.prune(member.directory.checkpoints, member.keeps)
                checkpoints.drop(member.directory.rolling)
                member.directory.set_status(Standing.FINISHED, self.steps)
