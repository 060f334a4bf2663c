"""Commands that read runs: list, show, compare, identify, phase. They change nothing but a missing report."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from function_classes.fields import nearest
from icl.console.machine import keep_programs
from icl.runs.atomic import read_bytes
from icl.runs.errors import NotARun, NotFound, StorageError


def load(name: str, out: Path) -> Any:
    """The run that a query names, ready to compute with."""
    from icl.handle import load as load_run

    keep_programs()
    return load_run(name, out)


def report(run: Any) -> str:
    """The summary of a finished run with the paths of its report, which is made where it does not exist yet."""
    from icl import report as reports

    where = run.directory.report
    if where.is_symlink():
        raise NotARun(where, "is a symbolic link; runs hold plain files only")
    summary = where / "summary.txt"
    if not os.path.lexists(summary):
        reports.make(run)
    files = sorted(path.name for path in where.iterdir())
    try:
        text = read_bytes(summary).decode()
    except UnicodeDecodeError as error:
        raise NotARun(
            summary, f"is damaged: {error.reason} at byte {error.start}; remove it to have it made again"
        ) from None
    return f"{text}\n{where}/\n  " + "  ".join(files)


def warned(run: Any) -> str:
    """The line that stands before every answer about a run that has not finished, or diverged; empty for others."""
    return "" if run.caveat is None else f"warning: {run.path.name}: {run.caveat}"


def say(lines: Iterable[str]) -> None:
    """On standard error, which leaves results in JSON what they are."""
    for line in filter(None, lines):
        typer.echo(line, err=True)


def plain(run: Any) -> dict[str, Any]:
    """A run as plain JSON values."""
    from icl.runs.strict_json import as_number

    status = run.directory.status
    log = run.metrics if run.directory.metrics.is_file() else {}
    return {
        "path": str(run.path),
        "name": run.directory.name,
        "identity": run.identity,
        "state": status.state.name.lower(),
        "step": status.step,
        "source_known": run.source_known,
        "config": run.directory.config,
        "last": {key: as_number(values[-1].item()) for key, values in log.items() if len(values)},
    }


def cite(name: str, out: Path) -> str:
    """BibTeX of a paper by its key, or of what a run used."""
    from icl import citations

    if name in citations.library():
        return citations.paper(name)
    try:
        return citations.bibliography(load(name, out).config)
    except NotFound:
        if nearest(name, citations.library()):
            citations.paper(name)  # says which paper was meant
        raise


def listing(out: Path, as_json: bool) -> str:
    """All runs below a root, oldest first, and what is damaged there."""
    from icl.handle import Run
    from icl.runs.query import list_runs

    found = list_runs(out)
    known, damaged = _intact([Run(directory) for directory in found.runs])
    damaged = [*found.damaged, *damaged]
    if as_json:
        say(f"damaged: {error}" for error in damaged)
        return json.dumps([fields for _, fields in known])
    rows = [("run", "name", "state", "step")]
    for run, fields in known:
        state = fields["state"] + ("" if run.source_known else ", source unknown")
        rows.append((run.path.name, run.directory.name or "", state, str(fields["step"])))
    lines = _columns(rows) if known else [f"no runs in {out}; train one with: icl run linear-regression --depth 4"]
    return "\n".join(lines + [f"damaged: {error}" for error in damaged])


def _intact(runs: Iterable[Any]) -> tuple[list[tuple[Any, dict[str, Any]]], list[NotARun]]:
    """The runs that can be read, with their plain values, and one error for every other one."""
    known, damaged = [], []
    for run in runs:
        try:
            known.append((run, plain(run)))
        except NotARun as error:
            damaged.append(error)
    return known, damaged


def show(name: str, out: Path, as_json: bool) -> str:
    """One run: status, settings that differ from the defaults (all of them, as stored, where the code that they name is
    not at hand), and its report."""
    run = load(name, out)
    if as_json:
        return json.dumps(plain(run))
    status = run.directory.status
    lines = [f"{run.path}  {status}", *(f"warning: {text}" for text in status.warnings)]
    if not run.source_known:
        lines.append("source unknown: nobody kept the code that it was trained with, so no request returns this run")
    try:
        lines.append(str(run.config))
        measurable = run.source_known
    except NotARun as error:
        if run.source_known and not run.directory.manifest.get("plugins"):
            raise
        lines += [json.dumps(run.directory.config), error.reason]
        measurable = False
    if run.finished and (measurable or (run.directory.report / "summary.txt").exists()):
        try:
            lines += ["", report(run)]
        except StorageError as error:
            lines += ["", f"there is no report, and none can be made here: {error}"]
    return "\n".join(lines)


def compare(name: str, out: Path, as_json: bool) -> str:
    """Settings that differ between runs, and their last numbers. Raises NotARun where all of them are damaged."""
    from icl.handle import load_all

    runs = load_all(name, out)
    known, damaged = _intact(runs)
    if not known and damaged:
        raise damaged[0]
    if not as_json:
        return comparison(runs)
    say(f"damaged: {error}" for error in damaged)
    return json.dumps([fields for _, fields in known])


def comparison(runs: Sequence[Any]) -> str:
    """A table of runs: the settings in which they differ, state, last row of the log; a line for each damaged one."""
    known, damaged = _intact(runs)
    runs = [run for run, _ in known]
    flat = [_flat(run.directory.config) for run in runs]
    paths = sorted({path for tree in flat for path in tree})
    paths = [path for path in paths if len({json.dumps(tree.get(path)) for tree in flat}) > 1]
    logs = [fields["last"] for _, fields in known]
    measured = [key for key in ("loss", "validation_loss", "excess") if any(key in log for log in logs)]
    short = [path.split(".", 1)[-1] for path in paths]
    heads = [path if short.count(name) > 1 else name for path, name in zip(paths, short, strict=True)]
    rows = [("run", *heads, "state", *measured)]
    for run, tree, log in zip(runs, flat, logs, strict=True):
        numbers = [f"{log[key]:.4g}" if isinstance(log.get(key), float) else "" for key in measured]
        state = run.directory.status.state.name.lower()
        rows.append((run.path.name, *(str(tree.get(path, "")) for path in paths), state, *numbers))
    lines = _columns(rows) if runs else []
    return "\n".join([*lines, *(f"damaged: {error}" for error in damaged)])


def identify(name: str, out: Path, prompts: int, as_json: bool) -> str:
    """Which algorithm a run has become, or every run of a sweep."""
    from icl import identification as identifying
    from icl import prng
    from icl.handle import load_all
    from icl.training.memory import check_prompts

    keep_programs()
    runs = load_all(name, out)
    for run in runs:
        check_prompts(run.task, prompts)
    found = [
        identifying.identify(run.model, run.task, key=prng.stream(run.seed, "identification"), prompts=prompts)
        for run in runs
    ]
    if as_json:
        say(map(warned, runs))
        texts = [one.to_json() for one in found]
        return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    lines = [f"{run.path.name} is {one.sentence()}" for run, one in zip(runs, found, strict=True)]
    return "\n".join(line for pair in zip(map(warned, runs), lines, strict=True) for line in pair if line)


def phase(name: str, out: Path, x: str, y: str, save: Path, prompts: int, as_json: bool) -> str:
    """The map of a sweep as text, and the paths of its picture."""
    from icl import phase as maps
    from icl import style
    from icl.handle import load_all
    from icl.training.memory import check_prompts

    keep_programs()
    runs = load_all(name, out)
    for run in runs:
        check_prompts(run.task, prompts)
    found = maps.phase(runs, x, y, prompts)
    paths = style.save(found.plot(), save, origin="runs " + " ".join(run.identity for run in runs))
    return json.dumps(found.plain()) if as_json else "\n".join([str(found), *map(str, paths)])


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix else key
        found |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return found


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
