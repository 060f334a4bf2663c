"""`icl run`, `resume`, `extend` and `fork`: what will be trained, the wait, and the answer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from icl.console.progress import Display, clock


def start(
    task: str | None,
    settings: Sequence[tuple[str, str]],
    preset: str | None,
    file: Path | None,
    out: Path,
    *,
    name: str | None,
    fresh: bool,
    dry: bool,
    as_json: bool,
) -> int:
    """Trains what the words of `icl run` ask for and prints the report. Returns the exit code."""
    from function_classes.fields import ConfigError, Problem
    from icl import custom
    from icl.console import options

    if task is None and preset is None and file is None:
        message = "which function class? icl run linear-regression (icl list function-classes)"
        raise ConfigError([Problem("", message)])
    if task is not None:
        task = custom.resolve(task)
    configs = options.configs(task, settings, preset, file)
    if dry:
        typer.echo(json.dumps([c.dump() for c in configs]) if as_json else "\n\n".join(plan(c, out) for c in configs))
        return 0
    return _train(configs, out, name=name, fresh=fresh, as_json=as_json)


def again(query: str, out: Path, as_json: bool) -> int:
    """Continues every unfinished run that the query names."""
    from icl.runs.directory import State
    from icl.runs.handle import load_all

    runs = load_all(query, out)
    diverged = [run for run in runs if run.state is State.DIVERGED]
    for run in diverged:
        typer.echo(f"{run.path.name}: {run.directory.status}", err=True)
    going = [run for run in runs if run not in diverged]
    return _train([run.config for run in going], out, as_json=as_json) if going else 3


def longer(query: str, steps: int, out: Path, as_json: bool) -> int:
    """Trains longer versions of the runs that the query names."""
    from icl.runs.handle import load_all
    from icl.training.session import extend

    return _train([extend(run, steps, root=out) for run in load_all(query, out)], out, as_json=as_json)


def branch(query: str, at: int, settings: Sequence[tuple[str, str]], out: Path, as_json: bool) -> int:
    """Continues a checkpoint of a run with other settings."""
    from function_classes.plain import parse
    from icl.runs.handle import load
    from icl.training.session import fork

    changes = {name: parse(text) for name, text in settings}
    return _train([fork(load(query, out), at, changes, root=out)], out, as_json=as_json)


def plan(config: Any, out: Path) -> str:
    """What will be trained, before anything is compiled."""
    import jax

    from icl.layouts import Signature
    from icl.runs.directory import RunDirectory
    from icl.training.engine import Program

    program = Program(config)
    task, model, training = config.task, config.model, config.training
    signature = Signature.of(task)
    tokens = model.layout.length(task.points, signature), model.layout.features(signature)
    path = RunDirectory.place(out, config.dump(), config.identity)
    return "\n".join(
        [
            f"task      {_fields(task)}",
            f"model     {_fields(model)}: {program.parameters:,} parameters",
            f"prompt    {task.points} positions as {tokens[0]} {model.layout.name} tokens of {tokens[1]} channels",
            f"training  {training.steps} steps of {training.batch} prompts, {training.optimizer.name} at "
            f"{config.rate:g}, {training.schedule.name}; seed {config.seed}",
            f"device    {jax.devices()[0].device_kind} ({jax.default_backend()}), {jax.device_count()} of them",
            f"time      about {clock(_estimate(program, config, tokens[0]))} with compilation, roughly",
            f"run       {path}",
        ]
    )


def _estimate(program: Any, config: Any, tokens: int) -> float:
    """Seconds, from the operations of a step (6 per parameter and token) and the rate of one matrix product here."""
    from icl.console.machine import matmul_rate

    operations = 6.0 * program.parameters * tokens * config.training.batch
    return 15 + config.training.steps * (operations / (0.35 * matmul_rate()) + 2e-3)


def _fields(value: Any) -> str:
    """A configuration object in one line: its name and the fields that are not at their defaults, sizes first."""
    from function_classes import fields

    words = []
    for field in fields.settings(type(value)):
        item = getattr(value, field.name)
        if field.name in ("dim", "points", "noise_std", "depth", "width", "heads") or item != field.default:
            words.append(f"{field.name}={item.name if isinstance(item, fields.Fields) else item}")
    return f"{value.name}({', '.join(words)})"


def _train(configs: list[Any], out: Path, *, name: str | None = None, fresh: bool = False, as_json: bool) -> int:
    from icl.console import reading
    from icl.console.machine import keep_programs
    from icl.runs.directory import State
    from icl.training.session import run_all

    keep_programs()
    for config in configs[:1]:
        typer.echo(plan(config, out), err=True)
    if len(configs) > 1:
        typer.echo(f"          and {len(configs) - 1} more", err=True)
    with Display() as display:
        session = run_all(configs, root=out, name=name, watch=display, fresh=fresh)
    for run in session.runs:
        if run.state in (State.DIVERGED, State.INTERRUPTED):
            typer.echo(f"{run.path}: {run.directory.status}", err=True)
    if session.outcome.interrupted is not None:
        typer.echo(f"continue with: icl resume {session.runs[0].path.name} --out {out}", err=True)
        return session.outcome.exit_code
    finished = [run for run in session.runs if run.finished]
    reports = [reading.report(run) for run in finished]
    if as_json:
        typer.echo(json.dumps([reading.plain(run) for run in finished]))
    elif len(finished) == 1:
        typer.echo(reports[0])
    elif finished:
        typer.echo(reading.comparison(finished))
    return session.outcome.exit_code
