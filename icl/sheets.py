"""The sheet of a function class: what its prompts look like, and what is optimal on them, before any training."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from function_classes import plain
from function_classes.base import FunctionClass, Prompt
from function_classes.spaces import Nothing, Real, Symbols
from icl import plots, prng, references, style
from icl.evaluation import evaluate
from icl.programs import draw
from icl.tables import Table

SHOWN = 8
"""Prompts of a stream that are drawn."""


class Sheet(NamedTuple):
    """A drawn class: the figure, the table behind it, and the prompts whose first are shown."""

    figure: Any
    table: Table
    prompts: Prompt


def sheet(task: FunctionClass, *, seed: int = 0, prompts: int = 512, more: dict[str, Any] | None = None) -> Sheet:
    """Sample prompts, and errors of Bayes, the standard references and `more` by position with 95 % intervals."""
    key = prng.stream(seed, "evaluation")
    predictors: dict[str, Any] = {"bayes": task.bayes} if task.bayes_kind.kind != "none" else {}
    predictors |= references.standard(task) | (more or {})
    table = evaluate(predictors, task, key=key, prompts=prompts)
    drawn = draw(task, key, 0, SHOWN)
    panels = len(plots.shown(table))
    with style.styled() as plt:
        figure, axes = plt.subplots(1, 1 + panels, figsize=(3.6 + 3.6 * panels + 1.8, 3.4), squeeze=False)
        samples(axes[0, 0], task, drawn)
        plots.draw_errors(list(axes[0, 1:]), table)
        plots.legend(figure, list(axes[0, 1:]))
        condition = getattr(task, "condition", None)
        words = f"{plain.named(task)}: {prompts} prompts, Bayes {task.bayes_kind.kind}"
        words += f", condition number of the features {condition():.2g}" if condition else ""
        figure.suptitle(style.title(words), fontsize=10)
    return Sheet(figure, table, drawn)


def samples(axis: Any, task: FunctionClass, prompts: Prompt) -> None:
    """Functions of one number as points and curves; streams as rows of symbols or as lines; other prompts as a table of
    colors, one row an example."""
    if isinstance(task.x_space, Nothing):
        _streams(axis, task, np.asarray(prompts.ys))
    elif isinstance(task.x_space, Real) and task.x_space.features == 1 and _one_number(task):
        _curves(axis, task, prompts)
    else:
        _table(axis, task, jax.tree.map(lambda leaf: leaf[0], prompts))


def _one_number(task: FunctionClass) -> bool:
    return isinstance(task.y_space, Real) and not task.y_space.shape and task.steps == 1


def _streams(axis: Any, task: FunctionClass, ys: np.ndarray) -> None:
    flat = ys.reshape(len(ys), ys.shape[1], -1)
    if isinstance(task.y_space, Symbols) and flat.shape[2] == 1:
        axis.imshow(flat[..., 0], aspect="auto", cmap="viridis", interpolation="nearest")
        axis.set(
            xlabel="position in the stream", ylabel="prompt", title=f"{len(ys)} streams of {task.y_space.n} symbols"
        )
        axis.grid(False)
        style.whole(axis)
        return
    for index, row in enumerate(flat[:4]):
        axis.plot(row, "o" if len(row) == 1 else "-", color=style.PALETTE[index], linewidth=1.0)
    axis.set(xlabel="position in the stream", ylabel="value", title="four streams")
    style.whole(axis)


def _curves(axis: Any, task: FunctionClass, prompts: Prompt) -> None:
    xs, ys = np.asarray(prompts.xs)[..., 0], np.asarray(prompts.ys)
    grid = jnp.linspace(xs.min(), xs.max(), 400)
    for index in range(4):
        color = style.PALETTE[index]
        axis.plot(xs[index], ys[index], "o", color=color, markersize=3)
        if task.oracle_known and prompts.latent is not None:
            latent = jax.tree.map(lambda leaf: leaf[index], prompts.latent)  # noqa: B023
            axis.plot(grid, np.asarray(task.evaluate(latent, grid[:, None])), color=color, linewidth=0.8, alpha=0.7)
    axis.set(xlabel="x", ylabel="y", title="four prompts")


def _table(axis: Any, task: FunctionClass, prompt: Prompt) -> None:
    x = np.asarray(task.x_space.encode(prompt.xs), float).reshape(prompt.points, -1)
    y = np.asarray(task.y_space.encode(prompt.ys), float).reshape(prompt.points, -1)
    scaled = [block / max(float(np.abs(block).max()), 1e-12) for block in (x, y)]
    gap = np.full((prompt.points, 1), np.nan)
    axis.imshow(
        np.concatenate([scaled[0], gap, scaled[1]], 1),
        aspect="auto",
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
        interpolation="nearest",
    )
    axis.set_xticks([(x.shape[1] - 1) / 2, x.shape[1] + 1 + (y.shape[1] - 1) / 2], ["x", "y"])
    axis.set(ylabel="position k", title="one prompt, red is positive")
    if prompt.points == 1:
        axis.set_yticks([0])
    else:
        axis.yaxis.get_major_locator().set_params(integer=True)
    axis.grid(False)
