"""Experiments: one paper or question a file, as configurations and measures of claims that were written down before.

`reproduce` trains, measures and judges. A file defines EXPERIMENT; it neither trains nor draws. An experiment from
elsewhere, in a file named by --plugin or a module named by an entry point of the group `icl.experiments`, is handed to
`add`.
"""

import importlib
import os
import pkgutil
from pathlib import Path
from typing import Any

from experiments import papers
from experiments.base import Experiment as Experiment
from experiments.base import Measure as Measure
from experiments.base import seeds as seeds
from experiments.measured import Measured as Measured
from experiments.measured import Part as Part
from experiments.measured import exact as exact
from experiments.measured import means as means
from experiments.measured import ratios as ratios
from experiments.papers import Claim as Claim
from experiments.reproduction import configs as configs
from experiments.verdicts import Verdict as Verdict
from experiments.verdicts import judge as judge
from function_classes.fields import ConfigError, Problem, nearest
from function_classes.registry import load_entry_points

_added: dict[str, Experiment] = {}


def add(experiment: Experiment) -> Experiment:
    """Registers an experiment from elsewhere, whose claims stand in `experiment.claims`. Raises ConfigError with
    everything that is wrong with it, and for a name that is taken by one of this package."""
    problems = list(experiment.problems(papers.read(experiment.paper, experiment.claims)))
    if experiment.name in _own():
        problems.append(Problem(experiment.name, "is the name of an experiment of this package"))
    if problems:
        raise ConfigError(problems)
    _added[experiment.name] = experiment
    return experiment


def all_experiments() -> dict[str, Experiment]:
    """Every experiment by its name: of this package, of other distributions, and those that were added."""
    load_entry_points("icl.experiments")
    return _own() | _added


def _own() -> dict[str, Experiment]:
    """Every module of this package that defines EXPERIMENT."""
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


def reproduce(
    name: str,
    *,
    scale: str = "cpu",
    runs: str | os.PathLike[str] = "runs",
    only: str | None = None,
    table: str | os.PathLike[str] | None = None,
    watch: Any = None,
) -> list[Verdict]:
    """The verdicts on an experiment's claims (`experiments.reproduction`), or on the claim `only`; `table`: where the
    scoreboard is to be written (`experiments.scoreboard`), refused before anything is trained if it cannot be."""
    from experiments import reproduction, scoreboard
    from icl.training.session import quiet

    if table is not None:
        scoreboard.read(Path(table))
    verdicts = reproduction.reproduce(get(name), scale=scale, runs=runs, only=only, watch=watch or quiet)
    if table is not None:
        scoreboard.write(Path(table), all_experiments(), runs)
    return verdicts
