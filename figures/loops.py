"""Loops against depth: the error of looped transformers after any number of loops, beside stacks of as many blocks."""

from pathlib import Path
from typing import Any

import numpy as np

import experiments
import figures
from experiments.loops import DEPTHS, DIM, SEEN, errors
from experiments.mixers import width
from icl import style
from icl.models.looped import loop

QUESTION = "What does a looped transformer know after each loop, and what does a stack of as many blocks?"
SHOWN = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 36, 60, 100)
PROMPTS = 1024
LABELS = {"last half": "loss over loops 7 to 12", "all loops": "loss over 12 loops", "few loops": "loss over 4 loops"}


def draw(runs: Path, scale: str) -> tuple[Any, str, str]:
    """Error at k = 2 dim over the number of loops; error by position at the trained number."""
    experiment = experiments.get("loops")
    command = f"icl reproduce loops --scale {scale} --out {runs}"
    named = experiments.configs(experiment, scale)
    found = {name: figures.find(list(configs), runs, command) for name, configs in named.items()}
    with style.styled() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.6))
        for index, (name, label) in enumerate(LABELS.items()):
            _over_loops(axes[0], found[name], label, index)
            _by_position(axes[1], found[name], style.line("", index) | {"label": label})
        stacks = [found[f"depth {depth}"] for depth in DEPTHS]
        each = np.array([errors([run.model for run in group], PROMPTS)[:, :, SEEN].mean(1) for group in stacks])
        axes[0].plot(DEPTHS, each, "s", color="black", alpha=0.35, markersize=4)
        axes[0].plot(DEPTHS, np.median(each, 1), **style.line("model", 0), label="blocks of their own")
        axes[0].set(
            xlabel="loops, or blocks", ylabel=f"squared error per dim at k = {SEEN}", xscale="log", yscale="log"
        )
        axes[0].legend()
        for depth, group in zip(DEPTHS, stacks, strict=True):
            look = style.line("model", 0) | {"linewidth": 0.6 + 0.25 * depth, "label": f"depth {depth}", "alpha": 0.6}
            _by_position(axes[1], group, look)
        floor = np.clip(1 - np.arange(DIM + 1) / DIM, 0, None)
        axes[1].plot(range(DIM), floor[:DIM], **style.line("bayes", 0), label="least squares, 0 from k = dim on")
        axes[1].set(xlabel="examples seen, k", ylabel="squared error per dim", yscale="log")
        axes[1].xaxis.get_major_locator().set_params(integer=True)
        axes[1].legend(fontsize=6.5)
    first = found["last half"][0]
    caption = (
        f"Linear regression without noise, dim {DIM}, {PROMPTS} prompts, {len(found['last half'])} seeds (median; left "
        f"also every seed), {first.config.training.steps} steps, width {width(first)}, scale {scale}. Left: one "
        "block in a loop, run any number of times after training, against transformers with as many blocks of "
        "their own. Right: error after k examples at the number of loops of training."
    )
    return figure, caption, "configurations " + " ".join(run.identity for group in found.values() for run in group)


def _over_loops(axis: Any, runs: Any, label: str, index: int) -> None:
    each = np.array([errors([loop(run.model, count) for run in runs], PROMPTS)[:, :, SEEN].mean(1) for count in SHOWN])
    look = style.line("", index)
    axis.plot(SHOWN, each, **look | {"linewidth": 0.6}, alpha=0.35)
    axis.plot(SHOWN, np.median(each, 1), **look | {"linewidth": 1.8}, label=label)


def _by_position(axis: Any, runs: Any, look: dict[str, Any]) -> None:
    axis.plot(np.median(errors([run.model for run in runs], PROMPTS).mean(1), 0), **look)


if __name__ == "__main__":
    figures.main("loops")
