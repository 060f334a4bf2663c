"""Zhang, Frei, Bartlett 2023: what gradient descent finds in one layer of linear attention, beside the formulas."""

from pathlib import Path
from typing import Any

import numpy as np

import experiments
import figures
from experiments.zhang import DIM, EXAMPLES, SPECTRUM, averaging_error, errors, gamma, shifted, task
from function_classes.inputs import Gaussian
from icl import prng, style
from icl.models.constructions.products import effective
from icl.programs import draw as draw_prompts
from icl.programs import predict

QUESTION = "Is trained linear attention at the optimum of the theory, and does its risk follow the formulas?"
SHOWN = (5, 10, 20, 40, 100, 400)
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
COVARIANCES = (0.5, 1.0, 2.0, 4.0, 6.0, 9.0)
PROMPTS, FEW = 20_000, 2_000
G = EXAMPLES / (EXAMPLES + DIM + 1)


def draw(runs: Path, scale: str) -> tuple[Any, str, str]:
    """Learned against optimal matrices; risk over test examples and over the scale of the inputs; random covariances;
    prompts longer than those of training."""
    experiment = experiments.get("zhang-2023")
    named = experiments.configs(experiment, scale)
    needs = {
        "isotropic": "global-minimum",
        "anisotropic": "global-minimum",
        "random covariance": "large-transformers-adapt",
        "adapting": "large-transformers-adapt",
        "learned positions": "length-spike",
        "without": "length-spike",
    }
    found = {
        name: figures.find(
            list(named[name]), runs, f"icl reproduce zhang-2023 --only {claim} --scale {scale} --out {runs}"
        )
        for name, claim in needs.items()
    }
    with style.styled() as plt:
        figure, axes = plt.subplots(2, 3, figsize=(11.5, 6.2))
        _matrices(axes[0, 0], found["anisotropic"])
        _risks(axes[0, 1], found["isotropic"])
        _scales(axes[0, 2], found["isotropic"])
        _covariances(axes[1, 0], found)
        _lengths(axes[1, 1], found)
        axes[1, 2].set_axis_off()
    caption = (
        f"Trained on {EXAMPLES} noiseless examples in dimension {DIM}, {len(found['isotropic'])} seeds, scale {scale}; "
        f"every point or thin line is a seed, {PROMPTS} prompts a point ({FEW} of the softmax transformers). Top: "
        f"merged linear self-attention with one layer; covariance diag{SPECTRUM} on the left, I in the middle and on "
        f"the right; the formulas of Theorem 4.2 for N = {EXAMPLES}, no parameter fitted. Bottom left: trained on "
        "covariances diag(Exp(1)), tested on c times them, one linear layer beside a softmax transformer of depth 4. "
        "Bottom middle: softmax transformers of depth 4 on prompts longer than those they were trained on, with a "
        "table of learned positions and without positions."
    )
    return figure, caption, "configurations " + " ".join(run.identity for group in found.values() for run in group)


def _matrices(axis: Any, runs: Any) -> None:
    optimum = np.diag(1 / gamma(SPECTRUM))
    for run in runs:
        axis.plot(optimum.ravel(), effective(run.model).ravel(), "o", color="black", alpha=0.3, markersize=4)
    ends = [0, optimum.max() * 1.05]
    axis.plot(ends, ends, **style.line("gd", 0), label="equal")
    axis.set(xlabel="entry of the inverse of Gamma", ylabel="entry of w22 W11")
    axis.legend()


def _beside(axis: Any, x: Any, measured: np.ndarray, formula: Any, label: str) -> None:
    """Points of every seed, and the formula as a line."""
    axis.plot(x, measured, "o", color="black", alpha=0.4, markersize=4)
    axis.plot(x, formula, **style.line("gd", 0), label="formula")
    axis.set(xlabel=label, ylabel="squared error per dim", yscale="log")
    axis.legend()


def _risks(axis: Any, runs: Any) -> None:
    measured = np.array([errors(runs, task(examples=m), PROMPTS, 500).mean(1) / DIM for m in SHOWN])
    axis.axhline((1 - G) ** 2, **style.line("null", 0), label="bias that stays")
    _beside(axis, SHOWN, measured, [G**2 * (1 + (DIM + 1) / m) - 2 * G + 1 for m in SHOWN], "examples shown, M")
    axis.set_xscale("log")


def _scales(axis: Any, runs: Any) -> None:
    measured = np.array([errors(runs, task(inputs=Gaussian(std=c)), PROMPTS).mean(1) / DIM for c in SCALES])
    formula = [c**2 * ((G * c**2) ** 2 * (1 + (DIM + 1) / EXAMPLES) - 2 * G * c**2 + 1) for c in SCALES]
    _beside(axis, SCALES, measured, formula, "input scale, c")


def _covariances(axis: Any, found: Any) -> None:
    laws = [shifted(c) for c in COVARIANCES]
    linear, softmax = (
        np.array([errors(found[name], law, prompts).mean(1) / DIM for law in laws])
        for name, prompts in (("random covariance", PROMPTS), ("adapting", FEW))
    )
    axis.plot(COVARIANCES, softmax, **{**style.line("model", 0), "linewidth": 1}, alpha=0.6)
    axis.plot([], [], **style.line("model", 0), label="softmax transformer")
    _beside(axis, COVARIANCES, linear, [averaging_error(c) for c in COVARIANCES], "scale of the covariance, c")
    axis.plot([], [], "o", color="black", alpha=0.4, markersize=4, label="one linear layer")
    axis.legend()


def _lengths(axis: Any, found: Any) -> None:
    prompts = draw_prompts(task(examples=2 * EXAMPLES), prng.stream(0, "evaluation"), 0, FEW)
    for index, name in enumerate(("learned positions", "without")):
        for number, run in enumerate(found[name]):
            gap = np.asarray(predict(run.model, prompts).as_mean(run.task.y_space) - prompts.ys, float)
            axis.plot(
                np.square(gap).mean(0) / DIM, color=style.PALETTE[index], alpha=0.6, label=None if number else name
            )
    axis.axvline(EXAMPLES, color="0.6", linewidth=1)
    axis.set(xlabel="examples shown, M (trained: up to the line)", ylabel="squared error per dim", yscale="log")
    axis.legend()


if __name__ == "__main__":
    figures.main("zhang")
