"""The command `icl`: every door of the house, opened lazily, so that `icl --help` starts no backend."""

import atexit
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from icl.console import measuring
from icl.console.arguments import (
    ANYTHING,
    RUNS,
    AsJson,
    Fitted,
    ForClass,
    More,
    Out,
    Report,
    RunName,
    Scale,
    Steps,
    Version,
)

app = typer.Typer(
    help="The workbench for the science of in-context learning: train, identify, compare, draw.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _main(
    plugin: Annotated[list[Path] | None, typer.Option(help="a Python file of yours to load first")] = None,
    version: Version = False,
) -> None:
    for path in plugin or []:
        from icl import custom

        custom.load(path)


@app.command(context_settings=ANYTHING)
def run(
    context: typer.Context,
    task: Annotated[str | None, typer.Argument(metavar="CLASS", help="function class, or ./my_task.py:Cubic")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=10_000, help="train seeds 0..N-1 as one program")] = None,
    name: Annotated[str | None, typer.Option(help="an alias for the run or the sweep")] = None,
    preset: Annotated[str | None, typer.Option(help="a paper's recipe, e.g. garg-2022")] = None,
    config: Annotated[Path | None, typer.Option(help="a TOML file of settings")] = None,
    out: Out = RUNS,
    fresh: Annotated[bool, typer.Option("--fresh", help="train anew; the old run is moved to runs/replaced")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be trained, and stop")] = False,
    report: Report = True,
    as_json: AsJson = False,
    show_help: Annotated[bool, typer.Option("--help", help="every setting of CLASS with its default")] = False,
) -> None:
    """Train on a function class: `icl run linear-regression --depth 4`. Comma lists make a sweep."""
    from icl.console import options

    if show_help:
        from icl.console import helping

        return typer.echo(helping.run_help(context.get_help(), options.split(task, context.args)[0]))
    from icl.console import training

    task, words = options.split(task, context.args)
    settings = options.pairs(words, [p.opts[0] for p in context.command.params if p.opts])
    if seeds is not None:
        settings.append(("seed", ",".join(map(str, range(seeds)))))
    ways: Any = {"name": name, "fresh": fresh, "dry": dry_run, "as_json": as_json, "answer": report}
    _exit(training.start(task, settings, preset, config, out, **ways))


@app.command()
def resume(name: RunName = "last", out: Out = RUNS, report: Report = True, as_json: AsJson = False) -> None:
    """Continue an interrupted run, bit for bit as if it had never stopped."""
    from icl.console import training

    _exit(training.again(name, out, as_json=as_json, answer=report))


@app.command()
def extend(
    name: RunName = "last", steps: Steps = 0, out: Out = RUNS, report: Report = True, as_json: AsJson = False
) -> None:
    """Train a run for more steps in all; what the longer run shares with it is not repeated."""
    from icl.console import training

    _exit(training.longer(name, steps, out, as_json=as_json, answer=report))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def fork(
    context: typer.Context,
    name: RunName = "last",
    at: Annotated[int, typer.Option(help="step of a checkpoint")] = 0,
    out: Out = RUNS,
    report: Report = True,
    as_json: AsJson = False,
) -> None:
    """Continue a checkpoint with other settings: `icl fork last --at 800 --set training.learning_rate=1e-4`."""
    from icl.console import options, training

    chosen, words = options.split(name, context.args)
    settings = options.pairs(words, ["--at", "--set"])
    _exit(training.branch(chosen or "last", at, settings, out, as_json=as_json, answer=report))


@app.command()
def runs(out: Out = RUNS, as_json: AsJson = False) -> None:
    """List all runs."""
    from icl.console import reading

    typer.echo(reading.listing(out, as_json))


@app.command()
def show(name: RunName = "last", out: Out = RUNS, as_json: AsJson = False) -> None:
    """Show a run: configuration, status, and its report."""
    from icl.console import reading

    typer.echo(reading.show(name, out, as_json))


@app.command()
def compare(name: RunName, out: Out = RUNS, as_json: AsJson = False) -> None:
    """A table over all runs that a name or query matches: settings that differ, final numbers."""
    from icl.console import reading

    typer.echo(reading.compare(name, out, as_json))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def evaluate(
    context: typer.Context,
    name: RunName = "last",
    on: Annotated[str | None, typer.Option(help="another function class")] = None,
    shift: Annotated[list[str] | None, typer.Option(help="a change of the prompts, e.g. scale-inputs=2")] = None,
    points: Annotated[int | None, typer.Option(help="prompt length")] = None,
    loops: Annotated[int | None, typer.Option(min=1, help="of a model in a loop: how often it runs")] = None,
    prompts: Annotated[int, typer.Option(min=2, help="number of prompts")] = 1024,
    references: More = None,
    csv: Annotated[Path | None, typer.Option(help="also write the long table here")] = None,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> None:
    """Measure a run on its own class, on a shifted one, or on another, whose fields are flags as in `icl run`."""
    from icl.console import evaluating, options

    chosen, words = options.split(name, context.args)
    fields, where = options.pairs(words, ["--on", "--shift", "--set"]), (chosen or "last", out, on, shift or [])
    typer.echo(evaluating.evaluate(*where, points, loops, prompts, csv, as_json, references, fields))


@app.command()
def identify(name: RunName = "last", prompts: Fitted = 1024, out: Out = RUNS, as_json: AsJson = False) -> None:
    """Which algorithm is it? Best member of every family, with intervals, and what cannot be told apart. Of a sweep:
    one line for every run."""
    from icl.console import reading

    typer.echo(reading.identify(name, out, prompts, as_json))


@app.command()
def probe(
    name: RunName = "last",
    probe_name: Annotated[str | None, typer.Argument(metavar="PROBE", help="a probe; none: what there is")] = None,
    every: Annotated[bool, typer.Option("--all", help="every probe that applies, and one page of pictures")] = False,
    controls: Annotated[bool, typer.Option("--controls", help="no run: error rates where the truth is known")] = False,
    only: Annotated[str | None, typer.Option(metavar="PROBE", help="with --controls: of one probe")] = None,
    save: Annotated[Path | None, typer.Option(help="folder for numbers and pictures; file for --controls")] = None,
    kept: Annotated[Path | None, typer.Option(help="with --controls: file of trials, to go on where it ends")] = None,
    prompts: Annotated[int, typer.Option(help="number of prompts")] = 256,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> None:
    """Look into a run: `icl probe last implicit-weights`, `--all`. How far to trust it: `icl probe --controls`."""
    import probes.controls
    import probes.controls_page
    import probes.page
    from icl.console import control, looking

    if controls:
        return control.report(probes.controls, probes.controls_page, only, save, kept, as_json)
    looking.look(probes, probes.page, (name, probe_name), every, save, prompts, out, as_json)


@app.command("list", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def list_(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="function-classes, references, mixers, ...")] = "",
    task: ForClass = None,
    as_json: AsJson = False,
) -> None:
    """What there is of a kind. `icl list references --for CLASS`: which apply there; fields of CLASS are flags."""
    import experiments
    import figures
    import probes
    from icl.console import catalog, options

    settings = options.pairs(context.args, ["--for", "--json"])
    extra = {"probes": probes.describe, "experiments": experiments.describe, "figures": figures.describe}
    typer.echo(catalog.listing(kind, extra, as_json, task, settings))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def plot(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="CLASS")],
    save: Annotated[Path, typer.Option(help="file name without its ending")] = Path("sheet"),
    references: More = None,
) -> None:
    """Draw a function class without training: errors of Bayes and the references by position."""
    from icl.console import options, sheets

    chosen, words = options.split(task, context.args)
    typer.echo(sheets.draw(chosen or task, options.pairs(words, ["--save", "--references", "--set"]), save, references))


@app.command()
def gallery(
    classes: Annotated[bool, typer.Option("--classes", help="the sheets of all function classes")] = False,
    save: Annotated[Path, typer.Option(help="folder for the page and its pictures")] = Path("gallery"),
) -> None:
    """One page with the sheet of every function class, and what to take from it."""
    from icl.console import sheets

    typer.echo(sheets.gallery(classes, save))


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="a figure (icl list figures)")],
    scale: Scale = "cpu",
    save: Annotated[Path, typer.Option(help="folder for the figure")] = Path("figures-out"),
    out: Out = RUNS,
) -> None:
    """Draw a figure from finished runs; says how to train what is missing."""
    import figures

    for path in figures.draw(name, scale=scale, runs=out, save=save):
        typer.echo(path)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="an experiment (icl list experiments)")],
    scale: Scale = "cpu",
    only: Annotated[str | None, typer.Option(metavar="CLAIM", help="one claim, and the runs it needs")] = None,
    scoreboard: Annotated[Path | None, typer.Option(help="also write the table of all claims here")] = None,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> None:
    """Train what an experiment needs, measure its claims, and say which hold."""
    import experiments
    from icl.console import reproducing

    reproducing.report(experiments, name, scoreboard, as_json, scale=scale, only=only, runs=out)


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="a Python file of yours")]) -> None:
    """What holds of the classes, references, mixers, models, layouts, heads and optimizers in a file, and what not."""
    from icl.console import checking

    _exit(checking.report(file))


@app.command()
def cite(name: RunName = "last", out: Out = RUNS) -> None:
    """BibTeX of exactly what a run used, or of a paper: `icl cite garg-2022`."""
    from icl.console import reading

    typer.echo(reading.cite(name, out))


measuring.add(app)


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)


def main() -> None:
    """The console script: every foreseeable failure is a message with a fix and an exit code, never a traceback."""
    from icl import signals
    from icl.console import failures

    atexit.register(signals.over)
    sys.exit(failures.shielded(lambda: app(standalone_mode=False)))


if __name__ == "__main__":
    main()
