"""Every mixer by position: how far from exact Bayes two blocks with it are after k examples, at equal parameters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import experiments
import figures
from experiments.mixers import TASKS, distances, width
from icl import style
from icl.handle import Run

QUESTION = "How far from exact Bayes is a network with each mixer after k examples, at equal parameters and budget?"
UNITS = {"linear-regression": "squared distance to Bayes per dim", "conjunction": "distance to Bayes (nats)"}
# Below this share of the largest distance shades say nothing.
DEPTH = 1e-2


def draw(runs: Path, scale: str) -> tuple[Any, str, str]:
    """A map of mixer and position for every task, the nearest mixer on top."""
    experiment = experiments.get("mixers")
    command = f"icl reproduce mixers --scale {scale} --out {runs}"
    named = experiments.configs(experiment, scale)
    found = {name: figures.find(list(configs), runs, command) for name, configs in named.items()}
    rows = max(sum(name.startswith(f"{task}, ") for name in found) for task in TASKS)
    with style.styled() as plt:
        figure, axes = plt.subplots(1, len(TASKS), figsize=(5.6 * len(TASKS), 1.2 + 0.2 * rows))
        for axis, task in zip(axes, TASKS, strict=True):
            mine = {name.split(", ")[1]: group for name, group in found.items() if name.startswith(f"{task}, ")}
            _map(figure, axis, mine, task, scale)
    first = next(iter(found.values()))
    softmax = found[f"{next(iter(TASKS))}, softmax"][0]
    caption = (
        f"Distance to the exact Bayes predictor after k examples, mean of {len(first)} seeds, on a logarithmic scale "
        f"that ends at {DEPTH:g} of the largest. Two blocks, 4 heads, widths such that all have at most the "
        f"{softmax.parameters:,} parameters of softmax attention at width {width(softmax)} (in brackets: "
        f"width, and the mean over positions); {softmax.config.training.steps} steps of batch "
        f"{softmax.config.training.batch}, scale {scale}. Mixers are sorted by their mean; identity mixes nothing and "
        "sees the last example only."
    )
    return figure, caption, "configurations " + " ".join(run.identity for group in found.values() for run in group)


def _map(figure: Any, axis: Any, found: Mapping[str, Sequence[Run]], task: str, scale: str) -> None:
    values = {mixer: distances(tuple(group), scale).mean((0, 1)) for mixer, group in found.items()}
    order = sorted(values, key=lambda mixer: values[mixer].mean())
    table = np.stack([values[mixer] for mixer in order])
    top = table.max()
    shades = np.log10(np.clip(table, DEPTH * top, None))
    image = axis.imshow(shades, aspect="auto", cmap="cividis", vmin=np.log10(DEPTH * top), vmax=np.log10(top))
    labels = [f"{m}  ({width(found[m][0])}, {values[m].mean():.3g})" for m in order]
    axis.set_yticks(range(len(order)), labels, fontsize=7)
    axis.set(title=task, xlabel="examples seen, k")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(False)
    figure.colorbar(image, ax=axis, label=f"log10 {UNITS[task]}")


if __name__ == "__main__":
    figures.main("mixers")
