"""Experiments: one paper or question a file, as configurations and claims. `reproduce` trains, measures and judges."""

import importlib
import os
import pkgutil
from typing import Any

from experiments.base import Claim as Claim
from experiments.base import Experiment as Experiment
from experiments.base import Verdict as Verdict
from experiments.base import judge as judge
from function_classes.fields import ConfigError, Problem, nearest


def all_experiments() -> dict[str, Experiment]:
    """Every module of this package that defines EXPERIMENT, by the experiment's name."""
    modules = [importlib.import_module(f"experiments.{m.name}") for m in pkgutil.iter_modules(__path__)]
    found = [module.EXPERIMENT for module in modules if hasattr(module, "EXPERIMENT")]
    return {experiment.name: experiment for experiment in found}


def describe() -> dict[str, str]:
    """Name -> question."""
    return {name: experiment.question for name, experiment in all_experiments().items()}


def get(name: str) -> Experiment:
    """An experiment. Raises ConfigError with the nearest name."""
    known = all_experiments()
    if name not in known:
        raise ConfigError([Problem("experiment", f"unknown experiment {name!r}{nearest(name, known)}")])
    return known[name]


def configs(experiment: Experiment, scale: str) -> list[Any]:
    """What is trained at a scale. Raises ConfigError for a scale the experiment does not have."""
    if scale not in experiment.configs:
        raise ConfigError(
            [Problem("scale", f"{experiment.name} has no scale {scale!r}{nearest(scale, experiment.configs)}")]
        )
    return experiment.configs[scale]()


def reproduce(
    name: str, *, scale: str = "cpu", runs: str | os.PathLike[str] = "runs", watch: Any = None
) -> list[Verdict]:
    """Trains what is missing, found by configuration hash and resumable after a kill, then judges every claim.

    Raises KeyboardInterrupt after an interrupt, Diverged where a run has diverged.
    """
    from icl.runs.errors import Diverged
    from icl.training.session import quiet, run_all

    experiment = get(name)
    session = run_all(configs(experiment, scale), root=runs, name=f"{name}-{scale}", watch=watch or quiet)
    if session.outcome.interrupted is not None:
        raise KeyboardInterrupt
    broken = [run for run in session.runs if not run.finished]
    if broken:
        raise Diverged(f"{broken[0].path}: {broken[0].directory.status}; its claims cannot be judged")
    return [judge(claim, scale, session.runs) for claim in experiment.claims]
