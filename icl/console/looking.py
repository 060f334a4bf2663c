"""`icl probe`: one probe, every probe that applies, or what there is. The probes themselves are handed in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from function_classes.fields import ConfigError, Problem
from icl.console import reading


def menu(questions: Mapping[str, str], as_json: bool) -> str:
    """The probes and what each of them asks."""
    if as_json:
        return json.dumps(dict(questions))
    lines = [f"{name}\n    {question}" for name, question in questions.items()]
    return "\n".join([*lines, "one of them: icl probe RUN NAME; all that apply: icl probe RUN --all"])


def look(
    probes: Any,
    page: Any,
    names: tuple[str, str | None],
    every: bool,
    save: Path | None,
    prompts: int,
    out: Path,
    as_json: bool,
) -> None:
    """One probe of a run, every probe that applies, or what there is. Raises ConfigError for an unknown probe before a
    run is loaded, and for one that is named beside --all."""
    run_name, probe = names
    if probe is not None and every:
        raise ConfigError([Problem("probe", f"give {probe} or --all, not both")])
    if probe is None and not every:
        return typer.echo(menu(probes.describe(), as_json))
    chosen = None if probe is None else probes.get(probe)
    run = reading.load(run_name, out)
    if warning := reading.warned(run):
        typer.echo(warning, err=as_json)
    if chosen is None:
        return all_that_apply(page, run, save, prompts, as_json)
    one(chosen, run, save, prompts, as_json)


def one(probe: Any, run: Any, save: Path | None, prompts: int, as_json: bool) -> None:
    """Measures, prints and saves one probe."""
    result = probe(run, key=_key(run), prompts=prompts)
    typer.echo(result.to_json() if as_json else result.summary())
    typer.echo(result.save(save or run.path / "report" / f"probe-{result.name}"), err=as_json)


def all_that_apply(page: Any, run: Any, save: Path | None, prompts: int, as_json: bool) -> None:
    """Measures every probe that applies, prints each answer when it is there, and writes the page of all."""
    from icl import report

    said: dict[str, Any] = {}

    def watch(outcome: Any) -> None:
        result = outcome.result
        said[outcome.name] = {"reason": outcome.reason} if result is None else json.loads(result.to_json())
        if not as_json:
            answer = f"does not apply: {outcome.reason}" if result is None else result.answer
            typer.echo(f"{outcome.name}\n    " + answer.replace("\n", "\n    "))

    title, origin = (
        f"Probes of {report.title(run)}",
        f"configuration {run.identity}, step {run.step}, {prompts} prompts",
    )
    outcomes = page.measure_all(run, key=_key(run), prompts=prompts)
    where = page.save_all(outcomes, save or run.path / "report" / "probes", title=title, origin=origin, watch=watch)
    if as_json:
        typer.echo(json.dumps(said))
    typer.echo(where, err=as_json)


def _key(run: Any) -> Any:
    from icl import prng

    return prng.stream(run.seed, "probes")
