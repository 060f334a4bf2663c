"""Figures: one family a file, each runnable as `python -m figures.NAME`, by `icl figure NAME`, and from a notebook.

A figure file defines QUESTION and `draw(runs, scale) -> (matplotlib figure, caption, where its numbers come from)`; it
finds its runs by configuration and never trains. A figure from elsewhere, in a file named by --plugin or a module named
by an entry point of the group `icl.figures`, is registered with `add`.
"""

import argparse
import importlib
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from function_classes.fields import ConfigError, Problem, nearest
from function_classes.registry import load_entry_points
from icl import style
from icl.handle import Run
from icl.runs import atomic
from icl.runs.directory import RunDirectory
from icl.runs.errors import NotFound

Draw = Callable[[Path, str], tuple[Any, str, str]]


class Figure(NamedTuple):
    """A question, and what draws the answer."""

    question: str
    draw: Draw


_added: dict[str, Figure] = {}


def add(name: str, question: str) -> Callable[[Draw], Draw]:
    """Decorator: registers a function `draw(runs, scale)` from elsewhere as a figure. Raises ConfigError for the name
    of a figure of this package."""
    if name in _own():
        raise ConfigError([Problem("figure", f"{name!r} is the name of a figure of this package")])

    def register(draw: Draw) -> Draw:
        _added[name] = Figure(question, draw)
        return draw

    return register


def all_figures() -> dict[str, Figure]:
    """Every figure by its name: of this package, of other distributions, and those that were added."""
    load_entry_points("icl.figures")
    return _own() | _added


def _own() -> dict[str, Figure]:
    names = [m.name for m in pkgutil.iter_modules(__path__)]
    modules = {name.replace("_", "-"): importlib.import_module(f"figures.{name}") for name in names}
    return {name: Figure(module.QUESTION, module.draw) for name, module in modules.items()}


def describe() -> dict[str, str]:
    """Name -> question."""
    return {name: figure.question for name, figure in all_figures().items()}


def draw(
    name: str,
    *,
    scale: str = "cpu",
    runs: str | os.PathLike[str] = "runs",
    save: str | os.PathLike[str] = "figures-out",
) -> list[Path]:
    """Draws a figure family into PNG and PDF with its caption as text beside them. Raises NotFound with the command
    that trains what is missing, ConfigError for an unknown figure."""
    known = all_figures()
    if name not in known:
        raise ConfigError([Problem("figure", f"unknown figure {name!r}{nearest(name, known)}")])
    figure, caption, origin = known[name].draw(Path(runs), scale)
    paths = list(style.save(figure, Path(save) / name, origin=origin))
    text = Path(save) / f"{name}.txt"
    atomic.write_atomic(text, (caption + "\n").encode())
    return [*paths, text]


def find(configs: list[Any], runs: Path, command: str) -> list[Run]:
    """The finished runs of these configurations. Raises NotFound with the command that trains what is missing."""
    found = []
    for config in configs:
        path = RunDirectory.place(runs, config.dump(), config.identity)
        run = Run(RunDirectory.open(path)) if (path / "status.json").exists() else None
        if run is None or not run.finished:
            raise NotFound(f"{path} is not trained; train what is missing with: {command}")
        found.append(run)
    return found


def main(name: str) -> None:
    """The command line of one figure file."""
    parser = argparse.ArgumentParser(description=all_figures()[name].question)
    parser.add_argument("--scale", default="cpu")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--out", default="figures-out")
    words = parser.parse_args()
    for path in draw(name, scale=words.scale, runs=words.runs, save=words.out):
        print(path)
