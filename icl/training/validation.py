"""Fixed prompts on which training is watched, what the best predictor loses on them, and when a loss has diverged."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from function_classes.base import NotAvailable, Prompt
from icl import prng, scoring
from icl.config import Config
from icl.programs import call, draw, predict
from icl.training import teaching

# A loss this many times the loss of predicting nothing has diverged, though every number may still be finite.
DIVERGED_ABOVE = 1e4


class Validation(NamedTuple):
    """Prompts of every member, and the losses that an excess is over: the teacher's, whose targets the prompts then
    have, or those of Bayes. None where nobody knows them."""

    prompts: Prompt
    floor: Float[Array, "M B P S"] | None


def settle(configs: Sequence[Config]) -> tuple[Validation, Float[np.ndarray, "M"], Any]:
    """What is fixed before the first step, for every member: what it is watched on, the loss above which it counts as
    diverged, and its teacher."""
    teachers = [teaching.settle(config.training.teacher, config.task) for config in configs]
    watched = fixed(configs, teachers)
    return watched, limits(configs, watched.prompts), stack(teachers)


def fixed(configs: Sequence[Config], teachers: Sequence[Any]) -> Validation:
    """The validation prompts of every member, and their floor. Of a density that is Bayes' own log predictive, which a
    Gaussian with the same mean and variance would miss."""
    count = configs[0].training.validation_prompts
    prompts = [draw(c.task, prng.stream(c.seed, "validation"), 0, count) for c in configs]
    if configs[0].training.teacher is not None:
        aimed, floors = zip(*map(_taught, configs, prompts, teachers), strict=True)
        return Validation(stack(aimed), None if floors[0] is None else stack(floors))
    floors = [_floor(config, prompt) for config, prompt in zip(configs, prompts, strict=True)]
    return Validation(stack(prompts), None if floors[0] is None else stack(floors))


def limits(configs: Sequence[Config], prompts: Prompt) -> Float[np.ndarray, "M"]:
    """The loss above which every member counts as diverged."""
    task = configs[0].task
    if task.y_space.kind != "real":
        null = np.full(len(configs), np.log(max(task.y_space.features, 2)))
    else:
        squares = np.square(np.asarray(prompts.scores))
        examples = squares.shape[: 3 if task.steps == 1 else 4]
        null = squares.reshape(*examples, -1).sum(-1).reshape(len(configs), -1).mean(-1)
    return np.asarray(DIVERGED_ABOVE * null, np.float32)


def _floor(config: Config, prompts: Prompt) -> Float[Array, "B P S"] | None:
    task = config.task
    if task.bayes_kind.kind == "none" or (config.model.metric is not None and prompts.targets is not None):
        # The second has a density of what is shown, and another thing to predict.
        return None
    if config.model.metric is None:
        losses = scoring.score(predict(task.bayes, prompts), prompts, None, task.y_space, task.steps)
        return losses[scoring.main_metric(task.y_space)]
    try:
        nats = call(task.log_predictive, prompts.hide())
    except NotAvailable:
        return None
    return -nats.reshape(*prompts.ys.shape[:2], task.steps)


def _taught(config: Config, prompts: Prompt, teacher: Any) -> tuple[Prompt, Float[Array, "B P S"] | None]:
    """The prompts as the teacher answers them, and its own losses; none where a density is trained on its means."""
    space, steps = config.task.y_space, config.task.steps
    said = predict(teacher, prompts)
    aimed = teaching.aim(prompts, said, space)
    if config.model.metric is not None:
        return aimed, None
    return aimed, scoring.score(said, aimed, None, space, steps)[scoring.main_metric(space)]


def stack(trees: Sequence[PyTree]) -> Any:
    """One tree with a first axis for the members."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
