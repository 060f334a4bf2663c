"""`icl evaluate`: a run measured on its own class, on a shifted one, or on another."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icl.console.reading import load, say, warned


def evaluate(
    name: str,
    out: Path,
    on: str | None,
    shifts: Sequence[str],
    points: int | None,
    loops: int | None,
    prompts: int,
    csv: Path | None,
    as_json: bool,
    more: str | None = None,
    settings: Sequence[tuple[str, str]] = (),
) -> str:
    """A run measured on its own class, a shifted one, or another; a model in a loop also with other `loops`. `more`
    names references beside those of the table, `settings` are fields of the class that is evaluated.

    `bayes` is exact under the law that is evaluated; `bayes of training` is Bayes under the law the model was trained
    on, where that differs.
    """
    from function_classes import plain as words
    from function_classes import shifts as shift_family
    from icl import custom, prng, references
    from icl import evaluation as measuring
    from icl import report as reports
    from icl.console import options
    from icl.models import attention_only, looped

    run = load(name, out)
    task: Any = run.task
    if on is not None:
        task = _another(run.task, custom.resolve(on))
    if settings:
        task = options.with_fields(task, settings)
    if on is not None:
        _check_spaces(run.task, task)
    if points is not None:
        task = dataclasses.replace(task, points=points)
    for text in shifts:
        task = shift_family.parse(text).apply(task)
    predictors = reports.predictors(run, task) | (references.chosen(more, task) if more else {})
    if loops is not None:
        alone = isinstance(run.model.network, attention_only.AttentionOnlyNetwork)
        predictors["model"] = (attention_only if alone else looped).loop(run.model, loops)
    if task != run.task and run.task.bayes_kind.kind != "none":
        predictors["bayes of training"] = run.task.bayes
    table = measuring.evaluate(predictors, task, key=prng.stream(run.seed, "evaluation"), prompts=prompts)
    if task.points > run.task.points and getattr(run.config.model, "positions", "none") == "learned":
        last = run.task.points - 1
        table.notes += (f"the model's positions past k = {last} were never trained: an error there says nothing else",)
    if csv is not None:
        table.to_csv(csv)
    if as_json:
        say([warned(run)])
        return table.to_json()
    often = "" if loops is None else f", {loops} loops"
    title = f"{run.path.name} on {words.named(task)}, {task.points} points{often}, {prompts} prompts"
    return "\n".join([*filter(None, [warned(run)]), title, str(table)])


def _another(trained: Any, name: str) -> Any:
    """Another class, as large as the one a model was trained on where it has these sizes."""
    from function_classes.fields import build

    family = type(trained).registry
    sizes = {key: getattr(trained, key) for key in ("dim", "points") if hasattr(trained, key)}
    known = {field.name for field in dataclasses.fields(family.find(name))}
    return build(family.find(name), {"name": name} | {k: v for k, v in sizes.items() if k in known})


def _check_spaces(trained: Any, other: Any) -> None:
    """Raises NotAvailable where a model trained on one class cannot read the prompts of another."""
    from function_classes.base import NotAvailable
    from icl.layouts import Signature

    mine, theirs = Signature.of(trained), Signature.of(other)
    if mine != theirs:
        raise NotAvailable(
            f"a model of {trained.name} cannot read prompts of {other.name}: it knows {_words(mine)}; "
            f"they have {_words(theirs)}"
        )


def _words(signature: Any) -> str:
    targets = f"{signature.steps} targets" if signature.steps > 1 else "y"
    return f"x {signature.x}, {targets} {signature.y}"
