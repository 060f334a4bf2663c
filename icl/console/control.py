"""`icl probe --controls`: error rates of the probes. What is measured is handed in."""

from pathlib import Path
from typing import Any

import typer

from icl.console.machine import keep_programs
from icl.runs import atomic


def report(controls: Any, page: Any, only: str | None, save: Path | None, kept: Path | None, as_json: bool) -> None:
    """Measures, says on standard error what is done, prints the table or JSON, and writes Markdown where asked to.
    Trials are kept in a file where one is named, and those that are there are not made again."""
    chosen = controls.readings(only)
    keep_programs()
    if kept is not None:
        atomic.make_directory(kept.parent)
    found = controls.measure(chosen, kept=kept, watch=_watch)
    typer.echo(controls.to_json(found) if as_json else _text(controls.rows(found)))
    if save is not None:
        atomic.make_directory(save.parent)
        atomic.write_atomic(save, page.markdown(found).encode())
        typer.echo(save, err=as_json)


def _watch(counted: Any, complete: bool) -> None:
    if complete:
        cell, side = counted.cell, "holds" if counted.cell.holds else "does not hold"
        said = f"{cell.reading.probe}: {cell.reading.says}: {cell.variant}, {side}: {counted.rate()}"
        typer.echo(f"{said}, cannot tell {counted.undecided}", err=True)


def _text(rows: list[tuple[str, ...]]) -> str:
    """One block for every property of a probe, one line for every variant."""
    lines, last = [], None
    for probe, says, variant, missed, alarms in rows:
        if (probe, says) != last:
            lines.append(f"{probe}: {says}")
            last = probe, says
        rates = [f"{word} {rate}" for word, rate in (("missed", missed), ("false alarms", alarms)) if rate]
        lines.append(f"    {variant:<8} " + "; ".join(rates))
    return "\n".join(lines)
