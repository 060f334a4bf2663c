"""`icl reproduce`: trains what is missing, measures what has not been measured, judges every claim."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from experiments import papers, results
from experiments.base import Configs, Experiment
from experiments.papers import Claim
from experiments.results import Entry
from experiments.verdicts import CONTRADICTED, Verdict, judge, unmeasured
from function_classes.fields import ConfigError, Problem, nearest
from icl.handle import Run
from icl.runs.errors import Diverged
from icl.training.session import quiet, run_all


def configs(experiment: Experiment, scale: str) -> Configs:
    """What is trained at a scale, by name. Raises ConfigError for a scale the experiment does not have."""
    if scale not in experiment.scales:
        raise ConfigError(
            [Problem("scale", f"{experiment.name} has no scale {scale!r}{nearest(scale, experiment.scales)}")]
        )
    return experiment.scales[scale]()


def reproduce(
    experiment: Experiment,
    *,
    scale: str = "cpu",
    runs: str | os.PathLike[str] = "runs",
    only: str | None = None,
    watch: Any = quiet,
) -> list[Verdict]:
    """The verdicts on the claims of an experiment, or on one of them, in the order of the paper's file.

    Runs are found by configuration hash and resumed after a kill; every verdict is on disk before the next claim is
    measured, and is measured again only when something it depends on has changed.
    Raises ConfigError for an unknown scale or claim, KeyboardInterrupt after an interrupt, Diverged where a run that a
    claim needs has diverged (when all other claims have been judged).
    """
    named, claims = configs(experiment, scale), papers.read(experiment.paper, experiment.claims)
    if problems := list(experiment.problems(claims)):
        raise ConfigError(problems)
    if only is not None and only not in claims:
        raise ConfigError([Problem("only", f"{experiment.paper} makes no claim {only!r}{nearest(only, claims)}")])
    wanted = [claim for claim in claims.values() if only in (None, claim.id)]
    path = results.place(runs, experiment.name, scale)
    entries = results.load(path)
    reasons = experiment.unmeasured.get(scale, {})
    keys = {claim.id: _key(experiment, claim, scale, named) for claim in wanted if claim.id not in reasons}
    pending = [c for c in wanted if c.id in keys and (c.id not in entries or entries[c.id].key != keys[c.id])]
    asked = {name for claim in pending for name in _needs(experiment, claim, named)}
    if only is None:
        asked |= set(named).difference(*(_needs(experiment, claim, named) for claim in claims.values()))
    found = _train({name: named[name] for name in named if name in asked}, f"{experiment.name}-{scale}", runs, watch)
    broken = {}
    for claim in wanted:
        if claim.id in reasons:
            entry = Entry("", results.version(), unmeasured(claim, scale, reasons[claim.id]))
        elif claim in pending:
            mine = {name: found[name] for name in _needs(experiment, claim, named)}
            lost = [run for group in mine.values() for run in group if not run.finished]
            if lost:
                broken[claim.id] = lost[0]
                continue
            verdict = judge(claim, scale, experiment.measures[claim.id].of(mine, scale))
            entry = Entry(keys[claim.id], results.version(), verdict)
        else:
            entry = entries[claim.id]
        if entry.verdict.word == CONTRADICTED:
            remark = experiment.measures[claim.id].remark
            entry = entry._replace(verdict=dataclasses.replace(entry.verdict, why=remark))
        if entry != entries.get(claim.id):
            entries[claim.id] = entry
            results.add(path, claim.id, entry)
    if broken:
        lines = [f"{claim}: {run.path}: {run.directory.status}" for claim, run in broken.items()]
        raise Diverged("cannot be judged, since a run it needs has no end: " + "; ".join(lines))
    return [entries[claim.id].verdict for claim in wanted]


def _train(named: Configs, alias: str, runs: str | os.PathLike[str], watch: Any) -> dict[str, tuple[Run, ...]]:
    """The runs by name; seeds and float settings train as one program."""
    flat = [config for group in named.values() for config in group]
    session = run_all(flat, root=runs, name=alias, watch=watch)
    if session.outcome.interrupted is not None:
        raise KeyboardInterrupt
    if session.outcome.busy:  # no verdict on a run that somebody is still training
        raise session.outcome.busy[0]
    trained = iter(session.runs)
    return {name: tuple(next(trained) for _ in group) for name, group in named.items()}


def _needs(experiment: Experiment, claim: Claim, named: Mapping[str, Any]) -> tuple[str, ...]:
    """The configurations a claim is measured on. Raises ConfigError for a name that the scale does not have."""
    measure = experiment.measures.get(claim.id)
    needed = tuple(named) if measure is None or measure.needs is None else measure.needs
    for name in needed:
        if name not in named:
            message = f"claim {claim.id!r} needs configurations {name!r}{nearest(name, named)}"
            raise ConfigError([Problem(experiment.name, message)])
    return needed


def _key(experiment: Experiment, claim: Claim, scale: str, named: Configs) -> str:
    identities = {name: [c.identity for c in named[name]] for name in _needs(experiment, claim, named)}
    return results.key(claim, scale, identities, experiment.measures[claim.id].version)
