"""What stands at the end of a run: the table, which algorithm it is, two figures, all in `report/`."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from function_classes import plain
from icl import plots, prng, references, style
from icl.config import Config
from icl.evaluation import evaluate
from icl.handle import Run
from icl.identification import Identification, identify
from icl.runs import atomic
from icl.tables import Table
from icl.training.teaching import settle


class Report(NamedTuple):
    """A run's answer: the long table, what was identified, and the files written."""

    table: Table
    identification: Identification
    files: tuple[Path, ...]


def predictors(run: Run, task: Any = None) -> dict[str, Any]:
    """The model, its teacher where it had one, exact Bayes where there is one, and the standard references of the run's
    class (or of `task`). The teacher is settled on the run's own class."""
    task = run.task if task is None else task
    found: dict[str, Any] = {"model": run.model}
    teacher = run.config.training.teacher
    if teacher is not None and teacher.applies(task) is None:
        found["teacher"] = settle(teacher, run.task)
    if task.bayes_kind.kind != "none":
        found["bayes"] = task.bayes
    wanted = run.config.evaluation.references
    known = references.standard(task) if wanted == "standard" else {"null": references.get("null")}
    return found | known


def make(run: Run) -> Report:
    """Evaluates, identifies and draws a run, and writes table.csv, identify.json, summary.txt and the figures.

    The prompts come from the run's evaluation stream, which shares none with training.
    """
    task, config, where = run.task, run.config, run.directory.report
    atomic.make_directory(where)
    table = evaluate(
        predictors(run), task, key=prng.stream(config.seed, "evaluation"), prompts=config.evaluation.prompts
    )
    key = prng.stream(config.seed, "identification")
    identification = identify(run.model, task, key=key, prompts=config.evaluation.prompts)
    with atomic.storage(where, "write the report to"):
        table.to_csv(where / "table.csv")
        origin = f"configuration {run.identity}, step {run.step}"
        errors = plots.error_by_position(table, title(run))
        files = style.save(errors, where / "error_by_position", origin=origin)
        log = run.metrics
        if log["step"].size:  # a run of no steps has no curve
            floor = "exact Bayes" if config.training.teacher is None else "the teacher"
            curve = plots.learning_curve({run.name: log}, title(run), unit(config), floor)
            files += style.save(curve, where / "learning_curve", origin=origin)
    summary = summarise(run, table, identification)
    atomic.write_atomic(where / "identify.json", (identification.to_json() + "\n").encode())
    atomic.write_atomic(where / "found.json", (json.dumps(table.found, indent=1) + "\n").encode())
    atomic.write_atomic(where / "summary.txt", (summary + "\n").encode())
    return Report(table, identification, (where / "table.csv", *files, where / "summary.txt"))


def title(run: Run) -> str:
    """The run in a few words: class, layout and settings that nobody would guess are part of every result."""
    model = run.config.model
    depth, width = getattr(model, "depth", None), getattr(model, "width", None)
    size = "" if depth is None else f"depth {depth}, " if width is None else f"depth {depth}, width {width}, "
    return f"{plain.named(run.task)}: {size}{model.layout.name} tokens"


def unit(config: Config) -> str:
    """Of what training minimizes."""
    return "squared error" if config.task.y_space.kind == "real" and config.model.metric is None else "nats"


def summarise(run: Run, table: Table, identification: Identification) -> str:
    """The text a run ends with: averages over positions, then one plain sentence."""
    metrics, teacher = set(table["metric"].tolist()), run.config.training.teacher
    error = "clipped_squared_error" if "clipped_squared_error" in metrics else "nll"
    nats = ("nll",) if run.config.model.metric is not None else ()
    shown = [m for m in ("distance", error, *nats, "accuracy") if m in metrics]
    notes = ["clipped errors: at most ten null risks at a position, since least squares has none finite near k = dim"]
    if any(name.startswith("gd-") for name in table["predictor"]):
        notes.append("gd rates stay below those that explode on rare prompts: several steps stand above their best")
    lines = [
        f"{title(run)}; {run.config.evaluation.prompts} fresh prompts, mean over positions",
        *([] if teacher is None else [f"trained to imitate {teacher.label}, the row teacher, and not the labels"]),
        str(Table.from_rows([tuple(r.values()) for r in table.where(position=-1, seed=-1, metric=shown).rows])),
        *(notes if error == "clipped_squared_error" else []),
        *table.notes,
        "",
        f"The trained model is {identification.sentence()}",
    ]
    return "\n".join(lines)
