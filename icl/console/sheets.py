"""`icl plot CLASS` and `icl gallery --classes`: what function classes look like before anything is trained on them."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import typer

from function_classes.base import FunctionClass, names
from function_classes.fields import ConfigError, Problem
from icl import custom, prng, references, style
from icl.console import options
from icl.console.machine import keep_programs
from icl.pages import document
from icl.runs import atomic
from icl.sheets import sheet

PROMPTS = 512


def draw(task: str, settings: Sequence[tuple[str, str]], save: Path, more: str | None = None) -> str:
    """A sample prompt and the table as text, with `more` references by name; the sheet as PNG and PDF."""
    keep_programs()
    config = options.configs(custom.resolve(task), settings, None, None)[0]
    chosen: Any = config.task
    named = references.chosen(more, chosen) if more else None
    drawn = sheet(chosen, seed=config.seed, prompts=PROMPTS, more=named)
    paths = style.save(drawn.figure, save, origin=f"function class {chosen.name}")
    sample = repr(chosen.sample(jax.random.fold_in(prng.stream(config.seed, "evaluation"), 0)))
    return "\n".join([sample, "", str(drawn.table), *map(str, paths)])


def gallery(classes: bool, save: Path) -> Path:
    """The sheets of all registered classes with their defaults, and the page of them, whose path is returned. Says on
    standard error what is drawn. Raises ConfigError where nothing is asked for."""
    if not classes:
        raise ConfigError([Problem("gallery", "of what? icl gallery --classes")])
    keep_programs()
    body = []
    for name in names():
        typer.echo(name, err=True)
        task: Any = FunctionClass.registry.get(name)
        style.save(sheet(task, prompts=PROMPTS).figure, save / name, origin=f"function class {name}")
        body += _section(task)
    page = save / "function-classes.html"
    atomic.write_atomic(
        page, document("Function classes", body, f"defaults of every class, {PROMPTS} prompts").encode()
    )
    return page


def _section(task: Any) -> list[str]:
    name, kind = task.name, task.bayes_kind
    what = " ".join((type(task).__doc__ or "").split("\n\n")[0].split())
    optimal = kind.kind + (f": {kind.detail}" if kind.detail else "")
    return [
        f'<h2 id="{name}">{name}</h2>',
        f"<p>{html.escape(what)}</p>",
        f'<p><img src="{name}.png" alt="sheet of {name}"></p>',
        f'<p class="answer">{html.escape(task.lesson)}</p>',
        f'<p class="rule">Bayes: {html.escape(optimal)}. <a href="{name}.pdf">PDF</a></p>',
    ]
