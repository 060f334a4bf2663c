"""`icl reproduce`: the wait and the verdicts. What is reproduced is handed in."""

import json
from pathlib import Path
from typing import Any

import typer

from icl.console.machine import cores, keep_programs, share_cores
from icl.console.progress import Display


def report(experiments: Any, name: str, scoreboard: Path | None, as_json: bool, **ways: Any) -> None:
    """Trains, measures, prints every verdict, and says where the scoreboard was written."""
    keep_programs()
    share_cores(cores())
    with Display() as display:
        verdicts = experiments.reproduce(name, table=scoreboard, watch=display, **ways)
    typer.echo(json.dumps([v.plain() for v in verdicts]) if as_json else "\n".join(map(str, verdicts)))
    if scoreboard is not None:
        typer.echo(scoreboard, err=as_json)
