"""Von Oswald et al. 2022, Figure 2: one trained layer of linear self-attention beside one step of gradient descent."""

from pathlib import Path
from typing import Any

import numpy as np

import experiments
import figures
from experiments.von_oswald import BEST_RATE, ONE_STEP, descend, half, losses, tasks
from icl import style
from icl.models.constructions.products import products

QUESTION = "Does a trained layer of linear self-attention do one step of gradient descent, in and out of its range?"
RANGES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def draw(runs: Path, scale: str) -> tuple[Any, str, str]:
    """Loss over training, loss over the range of the inputs, and the two products of the first seed's layer."""
    experiment = experiments.get("von-oswald-2022")
    command = f"icl reproduce von-oswald-2022 --only one-layer-loss --scale {scale} --out {runs}"
    found = figures.find(list(experiments.configs(experiment, scale)["one layer"]), runs, command)
    shifted = [tasks(scale, factor) for factor in RANGES]
    own = np.array([losses([run.model for run in found], prompts).mean(1) for prompts in shifted])
    step = [float(np.mean(half(descend(prompts, 1, BEST_RATE), prompts))) for prompts in shifted]
    value, key_query = (product[0] for product in products(found[0].model.network.blocks[0].mixer))
    gauge = np.mean(np.diag(key_query)[:-1])
    with style.styled() as plt:
        figure, axes = plt.subplots(1, 4, figsize=(13, 3), width_ratios=(1.3, 1.3, 1, 1))
        for run in found:
            log = run.metrics
            axes[0].plot(log["step"], log["validation_loss"] / 2, color="black", alpha=0.5)
        axes[0].axhline(ONE_STEP, **style.line("gd", 0), label="one step, closed form")
        axes[0].set(xlabel="optimizer steps", ylabel="half squared error of the query", ylim=(0, None))
        axes[1].plot(RANGES, own, color="black", alpha=0.5)
        axes[1].plot(RANGES, step, **style.line("gd", 0), label=f"one step at rate {BEST_RATE:.3g}")
        axes[1].set(xlabel="input range / training range", ylabel="half squared error of the query", yscale="log")
        for axis, matrix, title in (
            (axes[2], key_query / gauge, "K'Q, mean diagonal 1"),
            (axes[3], value * gauge, "P V in the same gauge"),
        ):
            bound = np.abs(matrix).max()
            image = axis.imshow(matrix, cmap="RdBu_r", vmin=-bound, vmax=bound)
            axis.set(title=title, xticks=[], yticks=[])
            axis.grid(visible=False)
            figure.colorbar(image, ax=axis, shrink=0.8)
        for axis in axes[:2]:
            axis.plot([], [], color="black", label="trained, each seed")
            axis.legend()
    caption = (
        f"One layer of linear self-attention, {len(found)} seeds, scale {scale}; d = N = 10, noiseless, joint tokens, "
        "half squared error of the query. Left: on each run's own validation tasks, whose sample moves its level; "
        f"one step at the best rate has {ONE_STEP} in closed form. Second: the same nets on inputs of another range, "
        "and one step at the training rate. Right: the products of the first seed's layer; one step of gradient "
        f"descent is diag(1, 0), and {-BEST_RATE / 10:.3f} in the last corner."
    )
    return figure, caption, "configurations " + " ".join(run.identity for run in found)


if __name__ == "__main__":
    figures.main("von-oswald")
