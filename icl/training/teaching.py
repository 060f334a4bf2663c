"""Distillation: a learner trained on what a reference predicts, so that the algorithm it should be is known.

    loss = |learner - teacher|^2      or, for symbols and signs,  - sum_c p_teacher(c) log p_learner(c)

The labels are shown as ever; only what predictions are compared with is replaced. How near the learner comes is bounded
by what it can represent and how long it is trained, and is measured like any other distance.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.fields import as_data
from function_classes.spaces import Space
from icl import prng
from icl.references.base import Reference
from icl.scoring import categorical


def settle(teacher: Reference | None, task: FunctionClass) -> Any:
    """The teacher as a predictor with every number settled: the same one for all seeds, and for a run that is resumed.

    Raises NotAvailable where the reference does not apply, which `Config` refuses beforehand.
    """
    return None if teacher is None else as_data(teacher.calibrate(task, prng.stream(0, "teacher")))


def taught(prompts: Prompt, teacher: Callable[[Prompt], Prediction] | None, space: Space) -> Prompt:
    """A batch of prompts with the teacher's predictions as targets; unchanged where there is no teacher."""
    if teacher is None:
        return prompts
    return aim(prompts, jax.vmap(lambda prompt: teacher(prompt))(prompts.hide()), space)


def aim(prompts: Prompt, prediction: Prediction, space: Space) -> Prompt:
    """The same prompts, compared with a prediction: means of numbers, probabilities of symbols and signs."""
    targets = jnp.exp(prediction.as_log_probs(space)) if categorical(space) else prediction.as_mean(space)
    return eqx.tree_at(lambda p: p.targets, prompts, targets, is_leaf=lambda leaf: leaf is None)
