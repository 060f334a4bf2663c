"""Zhang, Frei, Bartlett 2023: what gradient descent finds in one layer of linear attention, beside the formulas."""

from pathlib import Path
from typing import Any

import numpy as np

import experiments
import figures
from experiments.zhang import DIM, EXAMPLES, SPECTRUM, errors, gamma, task
from function_classes.inputs import Gaussian
from icl import style
from icl.models.constructions.products import effective

QUESTION = "Is trained linear attention at the optimum of the theory, and does its risk follow the formulas?"
SHOWN = (5, 10, 20, 40, 100, 400)
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
PROMPTS = 20_000


def draw(runs: Path, scale: str) -> tuple[Any, str, str]:
    """Learned against optimal matrices, risk over test examples, and risk over the scale of the inputs."""
    experiment = experiments.get("zhang-2023")
    command = f"icl reproduce zhang-2023 --only global-minimum --scale {scale} --out {runs}"
    named = experiments.configs(experiment, scale)
    isotropic, anisotropic = (figures.find(list(named[n]), runs, command) for n in ("isotropic", "anisotropic"))
    g = EXAMPLES / (EXAMPLES + DIM + 1)
    laws = [task(examples=m) for m in SHOWN], [task(inputs=Gaussian(std=c)) for c in SCALES]
    risks, scaled = (np.array([errors(isotropic, law, PROMPTS, 500).mean(1) / DIM for law in many]) for many in laws)
    formula = [g**2 * (1 + (DIM + 1) / m) - 2 * g + 1 for m in SHOWN]
    shifted = [c**2 * ((g * c**2) ** 2 * (1 + (DIM + 1) / EXAMPLES) - 2 * g * c**2 + 1) for c in SCALES]
    with style.styled() as plt:
        figure, axes = plt.subplots(1, 3, figsize=(11, 3.1))
        optimum = np.diag(1 / gamma(SPECTRUM))
        for run in anisotropic:
            axes[0].plot(optimum.ravel(), effective(run.model).ravel(), "o", color="black", alpha=0.3, markersize=4)
        ends = [0, optimum.max() * 1.05]
        axes[0].plot(ends, ends, **style.line("gd", 0), label="equal")
        axes[0].set(xlabel="entry of the inverse of Gamma", ylabel="entry of w22 W11, each seed")
        lines = (
            (axes[1], SHOWN, risks, formula, "examples shown, M"),
            (axes[2], SCALES, scaled, shifted, "input scale, c"),
        )
        for axis, x, measured, theory, label in lines:
            axis.plot(x, measured, "o", color="black", alpha=0.4, markersize=4)
            axis.plot(x, theory, **style.line("gd", 0), label="formula")
            axis.set(xlabel=label, ylabel="squared error per dim", yscale="log")
            axis.legend()
        axes[1].set_xscale("log")
        axes[1].axhline((1 - g) ** 2, **style.line("null", 0), label="bias that stays")
        for axis in axes:
            axis.legend()
    caption = (
        f"Merged linear self-attention with one layer, trained on {EXAMPLES} noiseless examples in dimension {DIM}, "
        f"{len(isotropic)} seeds, scale {scale}. Left: covariance diag{SPECTRUM}. Middle and right: covariance I; the "
        f"formulas of Theorem 4.2 for N = {EXAMPLES}, no parameter fitted; {PROMPTS} prompts a point."
    )
    return figure, caption, "configurations " + " ".join(run.identity for run in [*isotropic, *anisotropic])


if __name__ == "__main__":
    figures.main("zhang")
