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
    answer: bool = True,
) -> int:
    """Trains what the words of `icl run` ask for and prints the report. Returns the exit code."""
    from function_classes.fields import ConfigError, Problem
    from icl import custom
    from icl.console import options
    from icl.training import memory

    if task is None and preset is None and file is None:
        message = "which function class? icl run linear-regression (icl list function-classes)"
        raise ConfigError([Problem("", message)])
    if task is not None:
        task = custom.resolve(task)
    configs = options.configs(task, settings, preset, file)
    _share_cores(configs, out)
    memory.check(configs)
    if dry:
        typer.echo(json.dumps([c.dump() for c in configs]) if as_json else "\n\n".join(plan(c, out) for c in configs))
        return 0
    return _train(configs, out, name=name, fresh=fresh, as_json=as_json, answer=answer)


def again(query: str, out: Path, **ways: Any) -> int:
    """Continues every unfinished run that the query names."""
    from icl.handle import load_all

    runs = load_all(query, out)
    return _train([run.config for run in runs], out, directories=[run.directory for run in runs], **ways)


def longer(query: str, steps: int, out: Path, **ways: Any) -> int:
    """Trains longer versions of the runs that the query names, beside them."""
    from icl.handle import load_all
    from icl.training.session import extend

    runs = load_all(query, out)
    out = _beside(runs[0])
    _share_cores([run.config for run in runs], out, [run.directory for run in runs])
    for run in runs:
        if not run.config.training.schedule.prefix(run.config.training.steps):
            schedule = run.config.training.schedule.name
            message = f"{run.path.name}: {schedule} depends on the number of steps, so training begins from the start"
            typer.echo(message, err=True)
    return _train([extend(run, steps, root=out) for run in runs], out, **ways)


def _beside(run: Any) -> Path:
    """Where a run lives, if it was named by a link the place that the link leads to."""
    return (run.path.resolve() if run.path.is_symlink() else run.path).parent


def branch(query: str, at: int, settings: Sequence[tuple[str, str]], out: Path, **ways: Any) -> int:
    """Continues a checkpoint of a run with other settings."""
    from icl.console import options
    from icl.handle import load
    from icl.training.session import fork

    run = load(query, out)
    out = _beside(run)
    return _train([fork(run, at, options.changes(settings, run.config), root=out)], out, **ways)


def _report(run: Any) -> str:
    """A run's report; where it is damaged, the reason, since the other runs have theirs."""
    from icl.console import reading
    from icl.runs.errors import NotARun

    try:
        return reading.report(run)
    except NotARun as error:
        return f"there is no report: {error}"


def _share_cores(configs: Sequence[Any], out: Path, directories: Sequence[Any] | None = None) -> None:
    """As many devices as unfinished runs had before, so that they go on with the same bits; else one a core."""
    from icl.console.machine import share_cores
    from icl.runs.directory import RunDirectory, State

    if directories is None:
        paths = [RunDirectory.place(out, config.dump(), config.identity) for config in configs]
        directories = [RunDirectory.open(path) for path in paths if (path / "status.json").exists()]
    ended = (State.FINISHED, State.DIVERGED)
    before = [one.packing.get("devices") for one in directories if one.status.state not in ended]
    share_cores(len(configs), max((count for count in before if isinstance(count, int)), default=None))


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
            f"{config.rate:g}, {training.schedule.name}; seed {config.seed}"
            + ("" if training.teacher is None else f"; imitates {training.teacher.label}"),
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


def _train(
    configs: list[Any],
    out: Path,
    *,
    name: str | None = None,
    fresh: bool = False,
    as_json: bool = False,
    answer: bool = True,
    directories: Sequence[Any] | None = None,
) -> int:
    from icl.console import reading
    from icl.console.machine import keep_programs
    from icl.runs.directory import State
    from icl.training.session import farewell, run_all

    keep_programs()
    _share_cores(configs, out, directories)
    for config in configs[:1]:
        typer.echo(plan(config, out), err=True)
    if len(configs) > 1:
        typer.echo(f"          and {len(configs) - 1} more", err=True)
    with Display() as display:
        session = run_all(configs, root=out, name=name, watch=display, fresh=fresh, directories=directories)
    for run in session.runs:
        status = run.directory.status
        for warning in status.warnings:
            typer.echo(f"warning: {run.path.name}: {warning}", err=True)
        if status.state in (State.DIVERGED, State.INTERRUPTED):
            typer.echo(f"{run.path}: {status}", err=True)
    if session.outcome.interrupted is not None:
        typer.echo(farewell([run.directory for run in session.runs], out, name), err=True)
        return session.outcome.exit_code
    finished = [run for run in session.runs if run.finished]
    reports = [_report(run) for run in finished] if answer else [str(run.path) for run in finished]
    if as_json:
        typer.echo(json.dumps([reading.plain(run) for run in finished]))
    elif len(finished) == 1:
        typer.echo(reports[0])
    elif finished:
        typer.echo(reading.comparison(finished))
    for error in session.outcome.busy:
        typer.echo(f"error: left out, {error}", err=True)
    return session.outcome.exit_code
