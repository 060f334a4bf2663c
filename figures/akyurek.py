"""Akyurek et al. 2022: which algorithm at which depth and noise, and where the estimates are kept."""

from pathlib import Path
from typing import Any

import numpy as np

import experiments
import figures
import probes
from experiments.akyurek import DEPTHS, DIAGONAL, PLANE, readout
from experiments.distances import few_steps, gaps, penalty
from icl import prng, references, style
from icl.phase import phase

QUESTION = "Which algorithm does a trained transformer run on linear functions, and where does it keep its estimates?"


def draw(runs: Path, scale: str) -> tuple[Any, str, str]:
    """Distance to references by position; to families by depth; the plane of both; the noise diagonal; read-outs by
    layer."""
    experiment = experiments.get("akyurek-2022")
    named = experiments.configs(experiment, scale)
    plane = [*(row[0] for row in PLANE), "depth 1", "depth 2", "depth 4", "penalty 1/16", "noiseless"]
    wanted = {*plane, *(f"depth {depth}" for depth in DEPTHS), *(row[0] for row in DIAGONAL.values()), "control"}
    command = f"icl reproduce akyurek-2022 --scale {scale} --out {runs}"
    found = {name: figures.find(list(named[name]), runs, command) for name in sorted(wanted)}
    with style.styled() as plt:
        figure, axes = plt.subplot_mosaic("AAABBB;CCDDEE", figsize=(11.5, 6.6))
        _by_position(axes["A"], found["depth 4"])
        _by_depth(axes["B"], found, scale)
        mapped = phase([run for name in plane for run in found[name]], "depth", "noise_std")
        mapped.draw(axes["C"])
        axes["C"].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=6.5)
        _diagonal(axes["D"], found, scale)
        _readouts(axes["E"], found, scale)
    caption = (
        "Softmax transformers on interleaved tokens, d = 4, twelve pairs, noise .5 unless said; "
        f"{len(found['depth 4'])} seeds, scale {scale}; every point or thin line is a seed. Top left: median squared "
        "distance per dim of the depth-4 nets to references after k examples. Top right: mean squared distance per dim "
        "to Bayes, to the best ridge, and to at most four gradient steps at the best single rate; lines are medians. "
        "Bottom left: nearest family by depth and noise, by majority of seeds, with its median parameter and "
        f"distance ({mapped.normalization.replace('_', ' ')}). Bottom middle: penalty of the nearest ridge, depth 4, "
        "beside the penalty of Bayes. Bottom right: held-out error "
        "of read-outs from the depth-8 nets over the target's mean square; dashed: nets whose task never changes, on "
        "the same prompts."
    )
    return figure, caption, "configurations " + " ".join(run.identity for group in found.values() for run in group)


def _by_position(axis: Any, runs: Any) -> None:
    results = [probes.get("distance")(run, key=prng.stream(0, "evaluation"), prompts=1024) for run in runs]
    for name in results[0].arrays:
        for number, result in enumerate(results):
            middle = np.median(result.arrays[name], 0)
            look = style.line(name)
            axis.plot(np.where(middle > 0, middle, np.nan), **look, alpha=0.7, label=None if number else name)
    axis.set(xlabel="examples seen, k", ylabel="median squared distance per dim", yscale="log", ylim=(1e-6, None))
    axis.legend(ncols=2, loc="lower center", fontsize=6.5)


def _by_depth(axis: Any, found: Any, scale: str) -> None:
    def ridge(run: Any) -> float:
        fitted = penalty(run, run.task, scale).fit.parameter.value
        return float(gaps(run, references.get("ridge", penalty=fitted), scale).mean())

    measures = {
        "bayes": lambda run: float(gaps(run, run.task.bayes, scale).mean()),
        "best ridge": ridge,
        "at most four gradient steps": lambda run: float(few_steps(run, scale).mean()),
    }
    for index, (name, measure) in enumerate(measures.items()):
        values = np.array([[measure(run) for run in found[f"depth {depth}"]] for depth in DEPTHS])
        look = style.line(name, index)
        axis.plot(DEPTHS, np.median(values, 1), **look, label=name)
        axis.plot(DEPTHS, values, "o", color=look["color"], markersize=3, alpha=0.6)
    axis.set(xlabel="depth", ylabel="squared distance per dim", xscale="log", yscale="log")
    axis.set_xticks(DEPTHS, [str(depth) for depth in DEPTHS])
    axis.minorticks_off()
    axis.legend()


def _diagonal(axis: Any, found: Any, scale: str) -> None:
    true = np.array([(sigma / tau) ** 2 for _, sigma, tau in DIAGONAL.values()])
    for value, (name, _, _) in zip(true, DIAGONAL.values(), strict=True):
        fits = [penalty(run, run.task, scale).fit.parameter for run in found[name]]
        middle = np.array([fit.value for fit in fits])
        ends = np.array([[fit.value - fit.low, fit.high - fit.value] for fit in fits]).T
        spots = value * np.geomspace(0.94, 1.06, len(fits))
        axis.errorbar(spots, middle, yerr=ends, fmt="o", color="black", markersize=3, linewidth=1)
    axis.plot(true, true, **style.line("bayes", 0), label="Bayes")
    axis.set(xlabel="penalty of Bayes, noise over prior variance", ylabel="penalty of the nearest ridge")
    axis.set(xscale="log", yscale="log")
    axis.set_xticks(true, list(DIAGONAL))
    axis.minorticks_off()
    axis.legend()


def _readouts(axis: Any, found: Any, scale: str) -> None:
    for index, (kind, words) in enumerate((("moment", "moment X'y"), ("weight", "weights"))):
        for name, dash in (("depth 8", "-"), ("control", "--")):
            if name == "control" and kind == "moment":
                continue
            for number, run in enumerate(found[name]):
                errors = readout(run, kind, scale)["mlp"].mean(1)
                label = words + (", control" if name == "control" else "") if number == 0 else None
                axis.plot(
                    range(len(errors)), errors, linestyle=dash, color=style.PALETTE[index], alpha=0.7, label=label
                )
    axis.set(xlabel="layer (0: read-in)", ylabel="held-out error of one hidden layer", ylim=(0, None))
    axis.legend()


if __name__ == "__main__":
    figures.main("akyurek")
