"""From configurations to finished runs: finds what exists, packs what can train together, resumes, extends, forks."""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from function_classes import plain
from function_classes.base import FunctionClass
from function_classes.fields import ConfigError, Problem
from icl import custom, members
from icl.config import Config
from icl.handle import DEFAULT_ROOT, Run, loader
from icl.models import given
from icl.runs import checkpoints, metrics, provenance
from icl.runs.directory import RunDirectory, State
from icl.runs.errors import AlreadyARun, Diverged, NotARun
from icl.runs.signals import interruptible
from icl.training import memory
from icl.training.engine import Program, program_key
from icl.training.trainer import Progress, Watcher, fit


class Outcome(NamedTuple):
    """How training ended: the exit code a shell command would return, and the signal that stopped it, if any."""

    exit_code: int
    interrupted: int | None = None


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
    if config is not None and (task is not None or model is not None):
        raise ConfigError([Problem("config", "give either a configuration or task= and model=, not both")])
    if config is None:
        if task is None:
            raise ConfigError([Problem("task", "missing: icl.train(config) or icl.train(task=...)")])
        custom.register(type(task))
        if model is not None:
            settings = {"model": plain.dump(given.remember(model))} | settings
        config = Config.create(task, **settings)
    elif settings:
        config = config.change(**settings)
    session = run_all([config], root=root, name=name, watch=watch, leave=False)
    if session.outcome.interrupted is not None:
        raise KeyboardInterrupt
    (run,) = session.runs
    if run.state is State.DIVERGED:
        raise Diverged(f"{run.path.name}: {run.directory.status}")
    return run


def sweep(
    config: Config,
    grid: Mapping[str, Iterable[Any]],
    *,
    root: str | os.PathLike[str] = DEFAULT_ROOT,
    name: str | None = None,
    watch: Watcher = quiet,
) -> tuple[Run, ...]:
    """Trains every combination of a grid's values, by path: `sweep(config, {"model.depth": [1, 2], "seed": range(3)})`.

    Members that differ in seeds, rates and other float fields only train as one program.
    """
    session = run_all(expand(config, grid), root=root, name=name, watch=watch, leave=False)
    if session.outcome.interrupted is not None:
        raise KeyboardInterrupt
    return session.runs


def expand(config: Config, grid: Mapping[str, Iterable[Any]]) -> list[Config]:
    """The configurations of a grid, the last path varying fastest. Raises ConfigError for every invalid member."""
    axes = [members.values(path, grid[path]) for path in grid]
    members.count_members(axes)
    configs, problems = [], {}
    for values in itertools.product(*axes):
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
) -> Session:
    """Brings every configuration to its last step. The worst exit code of all groups is the session's."""
    memory.check(configs)
    with interruptible(leave) as interruption:
        directories = [_place(config, root, name, fresh) for config in configs]
        for group in groups(configs, directories):
            if interruption.requested is None:
                runs = [(configs[i], directories[i]) for i in group]
                fit(Program(configs[group[0]]), runs, watch, interruption)
        diverged = any(directory.status.state is State.DIVERGED for directory in directories)
        outcome = Outcome(interruption.exit_code or (3 if diverged else 0), interruption.requested)
    return Session(tuple(Run(directory) for directory in directories), outcome)


def groups(configs: Sequence[Config], directories: Sequence[RunDirectory]) -> list[list[int]]:
    """Indices of unfinished runs that share a program, their number of steps and the step they stand at.

    A run whose last checkpoint has been damaged since is unfinished again.
    """
    found: dict[Any, list[int]] = {}
    for index, (config, directory) in enumerate(zip(configs, directories, strict=True)):
        training, state, step = config.training, directory.status.state, _stands_at(directory)
        if state is State.DIVERGED or (state is State.FINISHED and step == training.steps):
            continue
        key = program_key(config), training.steps, training.log_every, step
        if not any(directories[i].path == directory.path for i in found.get(key, [])):
            found.setdefault(key, []).append(index)
    return list(found.values())


def _stands_at(directory: RunDirectory) -> int:
    """The step of the newest checkpoint that is intact: where training will go on."""
    for step, path in reversed(checkpoints.list_checkpoints(directory.checkpoints).items()):
        with contextlib.suppress(NotARun):
            checkpoints.verify(path)
            return step
    return 0


def _place(config: Config, root: str | os.PathLike[str], name: str | None, fresh: bool) -> RunDirectory:
    """The directory of a configuration: the existing one, or a new one."""
    tree = config.dump()
    path = RunDirectory.place(root, tree, config.identity)
    if (path / "status.json").exists():
        directory = RunDirectory.open(path)
        if not fresh:
            return directory if name in (None, directory.name) else directory.called(name)
        with directory.lock():
            shutil.move(path, _aside(path))
    manifest = provenance.manifest(tree, config.identity)
    try:
        return RunDirectory.create(root, tree, config.identity, manifest, name)
    except AlreadyARun:  # made by another process since we looked; its lock decides
        return RunDirectory.open(path)


def _aside(path: Path) -> Path:
    """Where an earlier run goes when the same configuration is trained anew: nothing is ever deleted."""
    for number in itertools.count(1):
        candidate = path.parent / "replaced" / f"{path.name}-{number}"
        if not candidate.exists():
            candidate.parent.mkdir(parents=True, exist_ok=True)
            return candidate
    raise AssertionError("unreachable")


def extend(run: Run, steps: int, *, root: str | os.PathLike[str] | None = None) -> Config:
    """The configuration of a longer run, with a directory that starts from what both runs share.

    With a schedule whose first steps do not depend on the length (constant, warmup-stable-decay) the longer run is
    bitwise what it would have been from the start; with any other it does start there. Raises ConfigError for steps
    that are not more than the run's.
    """
    training = run.config.training
    if steps <= training.steps:
        raise ConfigError([Problem("training.steps", f"must be above the run's {training.steps}, got {steps}")])
    config = run.config.change(**{"training.steps": steps, "training.schedule": training.schedule})
    shared = training.schedule.prefix(training.steps)
    _seed_from(run, config, shared, Path(root or run.path.parent))
    return config


def fork(run: Run, at: int, settings: Mapping[str, Any], *, root: str | os.PathLike[str] | None = None) -> Config:
    """The configuration of a run that continues another one's checkpoint with changed settings.

    Its identity records the parent and the step. Layout and schedule are the parent's unless they are named: the
    weights read the one and have lived through the other. Raises NotFound where there is no such checkpoint.
    """
    run = run.at(at)
    kept = {"model.layout": run.config.model.layout, "training.schedule": run.config.training.schedule}
    config = run.config.change(**(kept | {**settings, "origin": f"{run.identity}@{at}"}))
    if config.training.steps <= at:
        message = f"must be above the step of the fork, {at}, got {config.training.steps}"
        raise ConfigError([Problem("training.steps", message)])
    if program_shapes(config) != program_shapes(run.config):
        message = "a fork keeps the parent's weights and optimizer state, so nothing may change their shapes"
        raise ConfigError([Problem("model", message)])
    _seed_from(run, config, at, Path(root or run.path.parent), exactly=True)
    return config


def program_shapes(config: Config) -> tuple[Any, ...]:
    """Names, shapes and types of everything in a checkpoint."""
    program = Program(config)
    leaves = jax.tree_util.tree_leaves_with_path(program.shapes(program.data([config])))
    return tuple((jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype)) for path, leaf in leaves)


def _seed_from(run: Run, config: Config, limit: int, root: Path, exactly: bool = False) -> None:
    """A new run directory that begins with copies of the parent's checkpoints and log up to a step."""
    steps = [s for s in run.steps if (s == limit if exactly else s <= limit)]
    directory = _place(config, root, None, False)
    if directory.status.step or not steps or (steps[-1] == 0 and not exactly):
        return
    with directory.lock():
        _, wanted = loader(run.config)
        for step in steps:
            source = checkpoints.directory_of(run.directory.checkpoints, step)
            checkpoints.save(directory.checkpoints, step, checkpoints.load(source, wanted))
        metrics.copy(run.directory.metrics, directory.metrics, steps[-1])
        directory.set_status(State.INTERRUPTED, steps[-1], f"continues {run.path.name} from step {steps[-1]}")
