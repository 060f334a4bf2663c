"""Von Oswald et al. 2022, Figure 2: one trained layer of linear self-attention beside one step of gradient descent."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

import experiments
import figures
from experiments.last_query import answer, descend, half, losses, slopes
from experiments.von_oswald import BEST_RATE, ONE_STEP, tasks, tuned
from icl import style
from icl.models.attention_only import loop
from icl.models.constructions.products import products

QUESTION = "Does a trained layer of linear self-attention do one step of gradient descent, in and out of its range?"
LOSS, TASKS = "half squared error of the query", 10_000
REPEATS, DAMPING = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 50), 0.75
RANGES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def draw(runs: Path, scale: str) -> tuple[Any, str, str]:
    """Loss and likeness to one step over training, loss over the range of the inputs, loops repeated beyond those that
    were trained, and the two products of the first seed's layer."""
    experiment = experiments.get("von-oswald-2022")
    named = experiments.configs(experiment, scale)
    found, looped = (
        figures.find(
            list(named[name]), runs, f"icl reproduce von-oswald-2022 --only {only} --scale {scale} --out {runs}"
        )
        for name, only in (("one layer", "one-layer-loss"), ("two loops", "two-steps-beat-gd"))
    )
    with style.styled() as plt:
        figure, axes = plt.subplots(2, 3, figsize=(11.5, 6.2))
        for run in found:
            log = run.metrics
            axes[0, 0].plot(log["step"], log["validation_loss"] / 2, color="black", alpha=0.5)
        axes[0, 0].axhline(ONE_STEP, **style.line("gd", 0), label="one step, closed form")
        axes[0, 0].set(xlabel="optimizer steps", ylabel=LOSS, ylim=(0, None))
        _likeness(axes[0, 1], found, scale)
        _ranges(axes[0, 2], found, scale)
        _repeated(axes[1, 0], looped, scale)
        value, key_query = (product[0] for product in products(found[0].model.network.blocks[0].mixer))
        gauge = np.mean(np.diag(key_query)[:-1])
        for axis, matrix, title in (
            (axes[1, 1], key_query / gauge, "K'Q, mean diagonal 1"),
            (axes[1, 2], value * gauge, "P V in the same gauge"),
        ):
            bound = np.abs(matrix).max()
            image = axis.imshow(matrix, cmap="RdBu_r", vmin=-bound, vmax=bound)
            axis.set(title=title, xticks=[], yticks=[])
            axis.grid(visible=False)
            figure.colorbar(image, ax=axis, shrink=0.8)
        for axis in (axes[0, 0], axes[0, 2], axes[1, 0]):
            axis.plot([], [], color="black", label="trained, each seed")
            axis.legend()
    caption = (
        f"Linear self-attention, {len(found)} seeds, scale {scale}; d = N = 10, noiseless, joint tokens, half squared "
        "error of the query. Top left: one layer, on each run's own validation tasks, whose sample moves its level; "
        f"one step at the best rate has {ONE_STEP} in closed form. Top middle: cosine of the sensitivities to the "
        "query and mean difference of the predictions, both to that step. Top right: the same nets on inputs of "
        "another range, and one step at the training rate. Bottom left: nets trained with two loops, looped more often "
        f"at damping {DAMPING}, and gradient descent at the rate that is best for two steps times {DAMPING}. Bottom "
        "right: the products of the first seed's layer; one step of gradient descent is diag(1, 0), and "
        f"{-BEST_RATE / 10:.3f} in the last corner."
    )
    return figure, caption, "configurations " + " ".join(run.identity for run in [*found, *looped])


def _likeness(axis: Any, runs: Any, scale: str) -> None:
    prompts = jax.tree.map(lambda a: a[:TASKS], tasks(scale))
    moment = np.einsum("bn,bnd->bd", np.asarray(prompts.ys[:, :-1]), np.asarray(prompts.xs[:, :-1]))
    step, other = np.asarray(descend(prompts, 1, BEST_RATE)), axis.twinx()
    for number, run in enumerate(runs):
        cosines, gaps = [], []
        for learner in (at.model for at in run.trajectory()):
            own = np.asarray(slopes(learner, prompts))
            norms = np.linalg.norm(own, axis=1) * np.linalg.norm(moment, axis=1) + 1e-8
            cosines.append(float(np.mean(np.sum(own * moment, 1) / norms)))
            gaps.append(float(np.mean(np.abs(answer(learner, prompts) - step))))
        first = number == 0
        axis.plot(run.steps, gaps, color="black", alpha=0.5, label="difference of predictions" if first else None)
        other.plot(run.steps, cosines, "--", color=style.PALETTE[1], alpha=0.7, label="cosine" if first else None)
    axis.set(xlabel="optimizer steps", ylabel="mean difference to one step", xscale="symlog", ylim=(0, None))
    other.set(ylabel="cosine of the sensitivities", ylim=(-0.1, 1.02))
    other.grid(visible=False)
    handles = [*axis.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
    axis.legend(handles=handles, loc="center left")


def _ranges(axis: Any, runs: Any, scale: str) -> None:
    shifted = [tasks(scale, factor) for factor in RANGES]
    own = np.array([losses([run.model for run in runs], prompts).mean(1) for prompts in shifted])
    step = [float(np.mean(half(descend(prompts, 1, BEST_RATE), prompts))) for prompts in shifted]
    axis.plot(RANGES, own, color="black", alpha=0.5)
    axis.plot(RANGES, step, **style.line("gd", 0), label=f"one step at rate {BEST_RATE:.3g}")
    axis.set(xlabel="input range / training range", ylabel=LOSS, yscale="log")


def _repeated(axis: Any, runs: Any, scale: str) -> None:
    prompts = jax.tree.map(lambda a: a[:TASKS], tasks(scale))
    (rate,) = tuned(2, BEST_RATE)
    own = [[losses([loop(run.model, n, DAMPING)], prompts).mean() for n in REPEATS] for run in runs]
    descent = [float(np.mean(half(descend(prompts, n, DAMPING * rate), prompts))) for n in REPEATS]
    axis.plot(REPEATS, np.array(own).T, color="black", alpha=0.5)
    axis.plot(REPEATS, descent, **style.line("gd", 0), label="gradient descent")
    axis.axvline(2, color="0.7", linewidth=1)
    axis.set(xlabel="loops, or steps (trained: 2)", ylabel=LOSS, xscale="log", yscale="log")


if __name__ == "__main__":
    figures.main("von-oswald")
