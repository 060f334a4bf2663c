"""`icl plot CLASS`: what a function class looks like before anything is trained on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from icl import custom, plots, prng, references, style
from icl.console import options
from icl.console.machine import keep_programs
from icl.evaluation import evaluate


def draw(task: str, settings: Sequence[tuple[str, str]], save: Path, prompts: int = 512) -> str:
    """A sample prompt as text; errors of Bayes and the standard references by position as PNG and PDF."""
    keep_programs()
    config = options.configs(custom.resolve(task), settings, None, None)[0]
    chosen: Any = config.task
    predictors = {"bayes": chosen.bayes} if chosen.bayes_kind.kind != "none" else {}
    predictors |= references.standard(chosen)
    table = evaluate(predictors, chosen, key=prng.stream(config.seed, "evaluation"), prompts=prompts)
    figure = plots.error_by_position(table, f"{chosen.name}: Bayes and references, {prompts} prompts")
    paths = style.save(figure, save, origin=f"function class {chosen.name}")
    sample = repr(chosen.sample(jax.random.fold_in(prng.stream(config.seed, "evaluation"), 0)))
    return "\n".join([sample, "", str(table), *map(str, paths)])
