"""A run as an object: its configuration, its model at any step, its log. Reading changes nothing on disk."""

import functools
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from function_classes import sources
from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import ConfigError
from function_classes.problems import shown
from icl import custom, identity
from icl.config import Config
from icl.models import given
from icl.models.outline import Outline
from icl.runs import checkpoints, metrics
from icl.runs.directory import RunDirectory, State
from icl.runs.errors import Incompatible, NotARun, NotFound
from icl.runs.query import find, find_all
from icl.training.state import BESIDE_LEARNER

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
        try:
            return Config.from_tree(self.directory.config)
        except ConfigError as error:
            reason = "; ".join(map(str, error.problems))
            raise NotARun(
                self.path / "config.json", f"is no configuration of this version: {reason}; {self._code}"
            ) from None

    @property
    def task(self) -> FunctionClass:
        return self.config.task

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def source_known(self) -> bool:
        """Whether the code of its class and learner is known, so that the same request returns this run."""
        if sources.is_unknown(self.directory.config) or "plugins" in self.directory.manifest:
            return not sources.is_unknown(self.directory.config)
        try:
            return identity.names_code_of(self.config, self.directory.config)
        except NotARun:  # said where the configuration is asked for
            return True

    @property
    def _code(self) -> str:
        """How to get at the code from elsewhere that a run names."""
        found = self.directory.manifest.get("plugins") or [{}]
        words = [f"install {one['distribution']}" for one in found if one.get("distribution")]
        files = dict.fromkeys(one["file"] for one in found if one.get("file") and not one.get("distribution"))
        words += [f"icl --plugin {shlex.quote(file)} ..." for file in files]
        usual = "code of your own comes with icl --plugin my_file.py ..., or icl.load(..., task=Cubic)"
        return f"the code it was trained with comes with: {', '.join(words)}" if words else usual

    @property
    def state(self) -> State:
        return self.directory.status.state

    @property
    def finished(self) -> bool:
        return self.state is State.FINISHED

    @property
    def caveat(self) -> str | None:
        """What anyone who measures `model` has to know first: that it is not the end of a training that went well.
        None for a finished run at its last step."""
        status, steps = self.directory.status, self.config.training.steps
        taken = f"this is the model of step {self.step} of {steps}"
        if status.state is State.DIVERGED:
            return f"training diverged at step {status.step}; {taken}, the last one with finite weights"
        if status.state is not State.FINISHED:
            return f"{status.state.value}; {taken}, and says nothing about the trained one"
        return None if self.step == steps else f"{taken}, and says nothing about the trained one"

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of the log: step, loss, validation_loss and, where Bayes is known, excess over it; with a
        teacher, losses and excess are against the teacher."""
        return metrics.read(self.directory.metrics)

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that have a checkpoint, in order."""
        return tuple(checkpoints.list_checkpoints(self.directory.checkpoints))

    @property
    def step(self) -> int:
        """The step `model` is taken from: the newest checkpoint, or the one given to `at`. Raises NotARun where the
        newest is damaged: an older model must never pass for it."""
        if self._step is not None:
            return self._step
        intact, named = self.steps, checkpoints.list_names(self.directory.checkpoints)
        if not named:
            raise NotARun(self.directory.checkpoints, f"holds no checkpoint; {self._remedy}")
        if intact[-1:] != named[-1:]:
            raise NotARun(
                checkpoints.directory_of(self.directory.checkpoints, named[-1]), f"is damaged; {self._remedy}"
            )
        return named[-1]

    @property
    def _remedy(self) -> str:
        return f"train it from its newest intact checkpoint: icl resume {self.path.name}"

    @functools.cached_property
    def model(self) -> Any:
        """The trained predictor at `step`. Of the checkpoint only what belongs to the predictor is read, so it does not
        matter what an optimizer left there. Raises NotARun where that is damaged or of another shape."""
        outline = _outline(self.config)
        wanted = {"params": outline.params, "constants": outline.constants}
        try:
            path = checkpoints.directory_of(self.directory.checkpoints, self.step)
            stored = checkpoints.load_parts(path, wanted, BESIDE_LEARNER)
        except Incompatible:
            raise
        except NotARun as error:
            raise NotARun(error.path, f"{error.reason}; {self._remedy}") from None
        return outline.learner(stored["params"], stored["constants"])

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return _outline(self.config).parameters

    def at(self, step: int) -> "Run":
        """The run as it was at a step that has a checkpoint. Raises NotFound with the nearest one."""
        if step not in self.steps:
            near = min(self.steps, key=lambda s: abs(s - step), default=None)
            hint = "it has none at all" if near is None else f"the nearest is at step {near}"
            raise NotFound(f"{self.path.name} has no checkpoint at step {shown(step)}; {hint}")
        return Run(self.directory, step)

    def trajectory(self) -> Iterator["Run"]:
        """The run at every checkpoint, from the first to the last."""
        return (self.at(step) for step in self.steps)

    def __repr__(self) -> str:
        return f"Run({self.path.name}, {self.directory.status})"


@functools.lru_cache(maxsize=8)
def _outline(config: Config) -> Outline:
    return Outline.of(config.model, config.task, config.training.remat)


def load(
    query: Any = "last",
    root: str | os.PathLike[str] = DEFAULT_ROOT,
    *,
    model: Any = None,
    task: type[FunctionClass] | None = None,
) -> Run:
    """The run named by `last`, a path, a unique prefix, its name, or a query such as "depth=4,seed=0".

    A run of your own code that was trained in another process needs that code again: `model`, a module of the same
    class and shapes, or `task`, the function class.
    """
    if isinstance(query, Run):
        return query
    if not isinstance(query, str | os.PathLike):
        how = "icl.load('last'), icl.load('depth=4,seed=0') or icl.load(path)"
        raise NotAvailable(f"load: expected a text or a path that names a run, got {query!r}; say {how}")
    if not isinstance(query, str):
        below = Path(root) / query
        query = below if below.exists() and not Path(query).exists() else query
    run = Run(find(root, query) if isinstance(query, str) else RunDirectory.open(query))
    if task is not None:
        custom.open_with(task, str(run.directory.config["task"].get("name", "")))
    if model is not None:
        given.remember(model, str(run.directory.config["model"].get("source", "")))
    return run


def load_all(query: str, root: str | os.PathLike[str] = DEFAULT_ROOT) -> tuple[Run, ...]:
    """Every run a query names, oldest first."""
    return tuple(Run(directory) for directory in find_all(root, query))
