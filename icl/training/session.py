"""From configurations to finished runs: finds what exists, packs what can train together, trains and resumes."""

import contextlib
import itertools
import os
import shlex
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from function_classes import plain
from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import ConfigError, Problem
from icl import axes, doors
from icl.config import Config
from icl.handle import DEFAULT_ROOT, Run
from icl.models import given
from icl.runs import provenance
from icl.runs.directory import RunDirectory, State, check_name
from icl.runs.errors import Busy, Diverged, RunError
from icl.signals import Interruption, interruptible
from icl.training import inspection, memory, packs, placing
from icl.training.branching import extend as extend
from icl.training.branching import fork as fork
from icl.training.engine import Program
from icl.training.members import Seat
from icl.training.packs import Pack
from icl.training.trainer import Progress, Watcher, fit


class Outcome(NamedTuple):
    """How training ended: the exit code a shell command would return, the signal that stopped it, if any, and one error
    for every run that was left out because another process writes to it."""

    exit_code: int
    interrupted: int | None = None
    busy: tuple[Busy, ...] = ()


class Session(NamedTuple):
    """What `run_all` did: the runs in the order of their configurations, and how it ended."""

    runs: tuple[Run, ...]
    outcome: Outcome


def quiet(progress: Progress) -> None:
    """A watcher that shows nothing."""


def train(
    config: Config | None = None,
    *,
    task: FunctionClass | None = None,
    model: Any = None,
    root: str | os.PathLike[str] = DEFAULT_ROOT,
    name: str | None = None,
    watch: Watcher = quiet,
    **settings: Any,
) -> Run:
    """Trains one configuration and returns its run; an unfinished run is resumed, a finished one returned as it is.

    Instead of a configuration: `train(task=MyTask(), model=MyModule(key=key), steps=2000)` with a function class and a
    module of your own (either may be left out) and settings by path or bare name.
    Raises Diverged when training diverges, StorageError when the disk refuses; after Ctrl-C the run is checkpointed
    and KeyboardInterrupt raised.
    """
    if config is not None and not isinstance(config, Config):
        raise NotAvailable(f"config: {_no_config(config)}")
    if config is not None and (task is not None or model is not None):
        raise ConfigError([Problem("config", "give either a configuration or task= and model=, not both")])
    if config is None:
        if task is None:
            raise ConfigError([Problem("task", "missing: icl.train(config) or icl.train(task=...)")])
        doors.task(task)
        if model is not None:
            remembered = given.remember(model)
            doors.predictor(model, task, "model")
            settings = {"model": plain.dump(remembered)} | settings
        config = Config.create(task, **settings)
    elif settings:
        config = config.change(**settings)
    session = run_all([config], root=root, name=name, watch=watch, leave=False)
    if session.outcome.interrupted is not None:
        raise KeyboardInterrupt
    if session.outcome.busy:
        raise session.outcome.busy[0]
    (run,) = session.runs
    if run.state is State.DIVERGED:
        raise Diverged(f"{run.path.name}: {run.directory.status}")
    return run


def sweep(
    config: Config,
    grid: Mapping[str, Any],
    *,
    root: str | os.PathLike[str] = DEFAULT_ROOT,
    name: str | None = None,
    watch: Watcher = quiet,
) -> tuple[Run, ...]:
    """Trains every combination of a grid's values, by path: `sweep(config, {"model.depth": [1, 2], "seed": range(3)})`.

    One value need not be a list. Members that differ in seeds, rates and other float fields only train as one program.
    A run that another process writes to is left out, with a warning.
    """
    session = run_all(expand(config, grid), root=root, name=name, watch=watch, leave=False)
    if session.outcome.interrupted is not None:
        raise KeyboardInterrupt
    for error in session.outcome.busy:
        warnings.warn(f"left out: {error}", stacklevel=2)
    return session.runs


def _no_config(value: Any) -> str:
    """What was given in place of a configuration, and what to write."""
    if isinstance(value, str):
        return f"expected a configuration, got the text {value!r}; write icl.Config.create({value!r})"
    if isinstance(value, FunctionClass):
        return f"expected a configuration, got the function class {value.name}; write icl.train(task=...)"
    return f"expected a configuration, got {type(value).__name__}; write icl.Config.create('linear-regression')"


def _values(values: Any) -> Iterable[Any]:
    """The values of one path of a grid, arrays of one number as numbers. A text, a number or a table of settings is one
    value; what has no end is cut off by whoever counts."""
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable) or getattr(values, "shape", None) == ():
        return [values]
    if not isinstance(values, np.ndarray | jax.Array):
        return values
    return [value.item() if not value.shape else value for value in values]


def expand(config: Config, grid: Mapping[str, Any]) -> list[Config]:
    """The configurations of a grid, the last path varying fastest. Raises ConfigError for every invalid member."""
    if not isinstance(config, Config):
        raise NotAvailable(f"config: {_no_config(config)}")
    if not isinstance(grid, Mapping):
        raise NotAvailable(f"grid: expected paths and their values, {{'model.depth': [1, 2]}}, got {doors.say(grid)}")
    choices = [axes.values(path, _values(values)) for path, values in grid.items()]
    axes.count_members(choices)
    problems = dict.fromkeys(Problem(path, "no values") for path, c in zip(grid, choices, strict=True) if not c)
    configs = []
    for values in itertools.product(*choices):
        try:
            configs.append(config.change(**dict(zip(grid, values, strict=True))))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(problems)
    return configs


def run_all(
    configs: Sequence[Config],
    *,
    root: str | os.PathLike[str] = DEFAULT_ROOT,
    name: str | None = None,
    watch: Watcher = quiet,
    fresh: bool = False,
    leave: bool = True,
    directories: Sequence[RunDirectory] | None = None,
) -> Session:
    """Brings every configuration to its last step. The worst exit code of all groups is the session's.

    `directories` are the runs to continue, one for each configuration, wherever they are; without them a run lives
    below `root`, under a name that its configuration gives. Runs that another process writes to are left out and named
    in the outcome; raises the first Busy where there is nothing else to train.
    """
    check_name(name)
    if reasons := provenance.refusals():
        raise ConfigError([Problem("jax", reason) for reason in reasons])
    memory.check(configs)
    if directories is None:
        inspection.inspect(configs)
    with interruptible(leave) as interruption:
        if directories is None:
            places, created = placing.find(configs, Path(root), name, fresh)
        else:
            places, created = list(directories), []
            for config, directory in zip(configs, places, strict=True):
                _check_identity(config, directory)
        interruption.farewell = lambda: farewell(places, root, name)
        busy: list[Busy] = []
        plan = packs.recorded(configs, places, placing.unfinished(configs, places))
        for pack in plan:
            if interruption.requested is None:
                busy += _train(pack, configs, places, watch, interruption, created)
        if busy and len(plan) == 1 and len(busy) == len(plan[0].seats):
            raise busy[0]
        diverged = any(directory.status.state is State.DIVERGED for directory in places)
        code = interruption.exit_code or (5 if busy else 3 if diverged else 0)
        interruption.farewell = None
    return Session(tuple(map(Run, places)), Outcome(code, interruption.requested, tuple(busy)))


def _check_identity(config: Config, directory: RunDirectory) -> None:
    """Raises ConfigError where a run's configuration means another run now, whose steps must not follow on its own."""
    if directory.identity == config.identity_as(directory.config):
        return
    recorded = str(directory.manifest.get("matmul_precision"))
    before, now = "None" if recorded == "default" else recorded, str(provenance.precision())
    if before != now:
        reason = f"was trained with matrix products of precision {before}, now they have {now}; set it back to go on"
    else:
        reason = (
            "was trained by another version of icl, in which the same settings mean something else; train it anew "
            "from its config.json, or go on with that version"
        )
    raise ConfigError([Problem(str(directory.path), reason)])


def farewell(places: Sequence[RunDirectory], root: str | os.PathLike[str], name: str | None) -> str:
    """What an interrupted command says: how to go on."""
    one = places[0].path if len(places) == 1 else None
    known = name or (None if one is None else one.name if one.parent == Path(root) else str(one))
    if known is None:
        return "interrupted; continue with: the same command"
    where = f" --out {shlex.quote(str(root))}" if name or (one is not None and one.parent == Path(root)) else ""
    return f"interrupted; continue with: icl resume {shlex.quote(known)}{where}"


def _train(
    pack: Pack,
    configs: Sequence[Config],
    directories: Sequence[RunDirectory],
    watch: Watcher,
    interruption: Interruption,
    created: Sequence[RunDirectory],
) -> list[Busy]:
    """Trains the runs of one pack. Where that fails they say so, and those that this command made and that hold nothing
    are removed."""
    program = Program(configs[min(pack.seats.values())], pack.mode, pack.devices)
    seats = [
        Seat(place, configs[index], directories[index], _notes(pack, program, directories[index]))
        for place, index in sorted(pack.seats.items())
    ]
    try:
        return fit(program, seats, pack.places, watch, interruption)
    except (RunError, KeyboardInterrupt):
        raise
    except Exception as error:
        for seat in seats:
            with contextlib.suppress(RunError):
                if seat.directory in created:
                    seat.directory.discard()
                if (seat.directory.path / "status.json").exists():
                    with seat.directory.lock():
                        step = seat.directory.status.step
                        seat.directory.set_status(State.FAILED, step, f"{type(error).__name__}: {error}"[:500])
        raise
    finally:
        interruption.unsaved(False)


def _notes(pack: Pack, program: Program, directory: RunDirectory) -> tuple[str, ...]:
    """Why a run that goes on may differ in its last digits from one that was never stopped; nothing where it began."""
    if not directory.begun or not directory.status.step:
        return ()
    notes = [] if pack.known else ["packing unknown, last digits may differ from those of a run that was not stopped"]
    if len(program.devices) != pack.devices:
        notes.append(f"trained on {pack.devices} devices, now on {len(program.devices)}: last digits may differ")
    return (*notes, *provenance.changes(directory.manifest))
