"""Distance to exact Bayes after k examples: every seed of the default run between gradient descent and ridge."""

from pathlib import Path
from typing import Any

import experiments
import figures
from function_classes.linear import LinearRegression
from icl import plots, prng, references
from icl.evaluation import evaluate

QUESTION = "How far from exact Bayes is the default run after k examples, beside the references?"


def draw(runs: Path, scale: str) -> tuple[Any, str, str]:
    """The figure, its caption, and the hashes of the configurations it shows."""
    experiment = experiments.get("default-run")
    command = f"icl reproduce default-run --scale {scale} --out {runs}"
    found = figures.find(list(experiments.configs(experiment, scale)["default"]), runs, command)
    task = found[0].task
    if not isinstance(task, LinearRegression):
        raise TypeError(f"the default run learns linear-regression, these learned {task.name}")
    predictors = {"model": [run.model for run in found], "bayes": task.bayes, **references.standard(task)}
    table = evaluate(predictors, task, key=prng.stream(0, "evaluation"), prompts=1024)
    averaged = table.where(predictor="model", metric="distance", position=-1, seed=-1).rows[0]
    caption = (
        f"Error and squared distance to the exact Bayes mean after k examples, {task.name}, dim {task.dim}, noise "
        f"{task.noise_std:g}, {found[0].config.model.layout.name} tokens, scale {scale}. Model: {len(found)} seeds, "
        f"interval over seeds and prompts; mean distance {averaged['value']:.4g} per dim (95% {averaged['low']:.4g} to "
        f"{averaged['high']:.4g}). Errors are cut at ten null risks of a position."
    )
    figure = plots.error_by_position(table, f"default run, {len(found)} seeds, scale {scale}")
    return figure, caption, "configurations " + " ".join(run.identity for run in found)


if __name__ == "__main__":
    figures.main("distance-to-bayes")
