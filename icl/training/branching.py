"""Runs that begin with what another run has: `extend` trains it longer, `fork` goes on with other settings."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from function_classes.fields import ConfigError, Problem
from icl.config import Config
from icl.handle import Run
from icl.runs import checkpoints, metrics
from icl.runs.directory import RunDirectory, State
from icl.training import packs, placing
from icl.training.engine import Program
from icl.training.stored import loader, of_this_optax


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
    packing = packs.continued(run.directory.packing, steps)
    steps_kept = [s for s in run.steps if s <= shared] if shared else []
    _seed_from(run, config, Path(root or run.path.parent), packing, steps_kept)
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
    _seed_from(run, config, Path(root or run.path.parent), None, [at])
    return config


def program_shapes(config: Config) -> tuple[Any, ...]:
    """Names, shapes and types of everything in a checkpoint."""
    program = Program(config)
    leaves = jax.tree_util.tree_leaves_with_path(program.shapes(program.data([config])))
    return tuple((jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype)) for path, leaf in leaves)


def _seed_from(run: Run, config: Config, root: Path, packing: Mapping[str, Any] | None, steps: Sequence[int]) -> None:
    """A new run directory that begins with copies of the parent's log and checkpoints of some steps. The log comes
    first: a checkpoint ahead of its log would leave a gap there, whenever the process dies. Raises Incompatible, before
    anything is made, where the parent's state is none that training could go on from."""
    place = RunDirectory.place(root, config.dump(), config.identity)
    directory = RunDirectory.open(place) if (place / "status.json").exists() else None
    if directory is not None and (not steps or _trained_on(directory, steps[-1])):
        return
    sources = {step: checkpoints.directory_of(run.directory.checkpoints, step) for step in steps}
    wanted = loader(run.config)[1] if steps else None
    with of_this_optax(run.directory):
        for source in sources.values():
            checkpoints.check(source, wanted)
    if directory is None:
        (pack,) = packs.new([config], [0])
        directory = placing.create(config, root, None, packing or pack.record(0, config))
    if not steps:
        return
    with directory.lock():
        if _trained_on(directory, steps[-1]):
            return
        if metrics.last_step(directory.metrics) < steps[-1]:
            metrics.copy(run.directory.metrics, directory.metrics, steps[-1])
        for step, source in sources.items():
            checkpoints.save(directory.checkpoints, step, checkpoints.load(source, wanted))
        directory.set_status(State.INTERRUPTED, steps[-1], f"continues {run.path.name} from step {steps[-1]}")


def _trained_on(directory: RunDirectory, step: int) -> bool:
    """Whether a run has left the step at which it began."""
    return max(checkpoints.list_names(directory.checkpoints), default=-1) > step
