"""Arguments and options that several commands share."""

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"icl {importlib.metadata.version('icl-workbench')}")
        raise typer.Exit
    return asked


Version = Annotated[
    bool, typer.Option("--version", help="print the version and exit", callback=_version, is_eager=True)
]
Out = Annotated[Path, typer.Option("--out", help="where runs go, and are looked for")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
Report = Annotated[bool, typer.Option(" /--no-report", help="only train; `icl show` makes the report")]
RunName = Annotated[str, typer.Argument(help="last, a path, a unique prefix, a --name, or depth=4,seed=0")]
Steps = Annotated[int, typer.Option(help="optimizer steps in all")]
Fitted = Annotated[int, typer.Option(min=8, help="prompts that families are fitted on")]
ForClass = Annotated[
    str | None, typer.Option("--for", metavar="CLASS", help="which references apply there, and why not the others")
]
More = Annotated[
    str | None, typer.Option(metavar="NAMES", help="more references for the table, with commas: slow ones, say")
]
Scale = Annotated[str, typer.Option(help="smoke, cpu or paper")]
ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
RUNS = Path("runs")
