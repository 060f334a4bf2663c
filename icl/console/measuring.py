"""The commands that measure: maps of sweeps, this installation, this machine's speed, and what mixers can do."""

from pathlib import Path
from typing import Annotated

import typer

from icl.console.arguments import RUNS, AsJson, Fitted, Out, RunName


def add(app: typer.Typer) -> None:
    """Puts the commands of this file beside the others."""
    for command in (phase, doctor, bench, rank):
        app.command()(command)


def doctor(out: Out = RUNS, as_json: AsJson = False) -> None:
    """Check the installation: versions, devices, speed of one matrix product, where runs and programs are kept."""
    from icl.console import machine

    typer.echo(machine.doctor(out, as_json))


def bench(
    what: Annotated[
        str, typer.Argument(help="all, training, mixers, references, packing, sampling or startup")
    ] = "all",
    as_json: AsJson = False,
) -> None:
    """Time training steps, mixers, references, packing and sampling, beside this machine's matmul rate."""
    from icl.console import bench as benchmark

    typer.echo(benchmark.report(what, as_json))


def rank(
    file: Annotated[Path | None, typer.Argument(metavar="[MY_MIXER.py]", help="a file that registers a mixer")] = None,
    only: Annotated[
        str | None, typer.Option(help="these mixers, by name, with commas; softmax and identity too")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="seeds of every run")] = 1,
    steps: Annotated[
        int | None, typer.Option(min=1, help="optimizer steps of every run; none: the usual budget")
    ] = None,
    equal: Annotated[str, typer.Option(help="what all have as much of: parameters or operations")] = "parameters",
    save: Annotated[Path | None, typer.Option(help="also write the page here")] = None,
    as_json: AsJson = False,
) -> None:
    """Capability cards of mixers: four small tasks at equal sizes and an equal budget, beside exact Bayes."""
    from icl.console import ranking

    typer.echo(ranking.report(file, only, seeds, steps, equal, save, as_json))


def phase(
    name: RunName,
    x: Annotated[str, typer.Option("--x", help="setting on the horizontal axis, e.g. depth")],
    y: Annotated[str, typer.Option("--y", help="setting on the vertical axis, e.g. noise_std")],
    save: Annotated[Path, typer.Option(help="file name without its ending")] = Path("phase"),
    prompts: Fitted = 512,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> None:
    """A map over two settings of a sweep, colored by the algorithm that each run has become."""
    from icl.console import reading

    typer.echo(reading.phase(name, out, x, y, save, prompts, as_json))
