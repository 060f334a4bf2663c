"""A run as an object: its configuration, its model at any step, its log. Reading changes nothing on disk."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from function_classes.base import FunctionClass
from icl.config import Config
from icl.models import given
from icl.models.base import Learner
from icl.runs import checkpoints, metrics
from icl.runs.directory import RunDirectory, State
from icl.runs.errors import NotARun, NotFound
from icl.runs.query import find, find_all
from icl.training.engine import Program
from icl.training.trainer import skeleton

DEFAULT_ROOT = "runs"


class Run:
    """One run on disk. `model`, `task`, `config` and `metrics` are read when first asked for."""

    def __init__(self, directory: RunDirectory, step: int | None = None):
        self.directory = directory
        self._step = step

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def identity(self) -> str:
        return self.directory.identity

    @property
    def name(self) -> str:
        """The alias given with --name, else the directory's name."""
        return self.directory.name or self.path.name

    @functools.cached_property
    def config(self) -> Config:
        return Config.from_tree(self.directory.config)

    @property
    def task(self) -> FunctionClass:
        return self.config.task

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def state(self) -> State:
        return self.directory.status.state

    @property
    def finished(self) -> bool:
        return self.state is State.FINISHED

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of the log: step, loss, validation_loss and, where Bayes is known, excess."""
        return metrics.read(self.directory.metrics)

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that have a checkpoint, in order."""
        return tuple(checkpoints.list_checkpoints(self.directory.checkpoints))

    @property
    def step(self) -> int:
        """The step `model` is taken from: the newest checkpoint, or the one given to `at`."""
        if self._step is not None:
            return self._step
        if not self.steps:
            raise NotARun(self.directory.checkpoints, "holds no checkpoint yet")
        return self.steps[-1]

    @functools.cached_property
    def model(self) -> Learner:
        """The trained predictor at `step`. Raises NotARun for a checkpoint that is damaged or of another shape."""
        program, wanted = loader(self.config)
        state = checkpoints.load(checkpoints.directory_of(self.directory.checkpoints, self.step), wanted)
        return program.learner(state.params)

    def at(self, step: int) -> "Run":
        """The run as it was at a step that has a checkpoint. Raises NotFound with the nearest one."""
        if step not in self.steps:
            near = min(self.steps, key=lambda s: abs(s - step), default=None)
            raise NotFound(f"{self.path.name} has no checkpoint at step {step}; the nearest is {near}")
        return Run(self.directory, step)

    def trajectory(self) -> Iterator["Run"]:
        """The run at every checkpoint, from the first to the last."""
        return (self.at(step) for step in self.steps)

    def __repr__(self) -> str:
        return f"Run({self.path.name}, {self.directory.status})"


@functools.lru_cache(maxsize=8)
def loader(config: Config) -> tuple[Program, Any]:
    """The program of a configuration, and the shapes its checkpoints hold."""
    program = Program(config)
    return program, skeleton(program, program.data([config]))


def load(query: str = "last", root: str | os.PathLike[str] = DEFAULT_ROOT, *, model: Any = None) -> Run:
    """The run named by `last`, a path, a unique prefix, its name, or a query such as "depth=4,seed=0".

    `model` is needed for a run whose learner was a module of your own, trained in another process.
    """
    run = Run(find(root, query))
    if model is not None:
        given.remember(model, str(run.directory.config["model"].get("source", "")))
    return run


def load_all(query: str, root: str | os.PathLike[str] = DEFAULT_ROOT) -> tuple[Run, ...]:
    """Every run a query names, oldest first."""
    return tuple(Run(directory) for directory in find_all(root, query))
