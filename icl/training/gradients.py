"""The gradient of one training step: its prompts, what they teach, and the sum over the parts of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from function_classes.base import Prompt
from icl import prng
from icl.config import Config
from icl.training import teaching
from icl.training.objective import Objective
from icl.training.state import Data, State


def batch(task: Any, seed: Array, step: Array, first: Any, count: int) -> Prompt:
    """Prompts first..first+count-1 of a step; a prompt depends on its index, not on the batch size."""
    key = jax.random.fold_in(prng.stream(seed, "training"), step)
    index = first + jnp.arange(count)
    return jax.vmap(lambda i: task.sample(jax.random.fold_in(key, i)))(index)


class Gradient:
    """`Gradient(...)(state, step, data)`: loss and gradient of one member. `share_out` places a batch on devices."""

    def __init__(self, config: Config, objective: Objective, share_out: Callable[[Prompt], Prompt]):
        self.training, self.objective, self.share_out = config.training, objective, share_out

    def __call__(self, state: State, step: Array, data: Data) -> tuple[Float[Array, ""], PyTree]:
        objective, curriculum, parts = self.objective, self.training.curriculum, self.training.accumulate
        task = curriculum.task(data.task, step)

        def part(index: Any) -> tuple[Float[Array, ""], PyTree]:
            count = self.training.batch // parts
            shown = self.share_out(batch(task, data.seed, step, index * count, count))
            prompts = teaching.taught(shown, data.teacher, data.task.y_space)

            def loss(params: PyTree) -> Float[Array, ""]:
                learner = objective.outline.learner(params, state.constants)
                weights = curriculum.weights(prompts, step)
                several = getattr(learner, "in_training", None)
                if several is None:
                    return objective.loss(objective.predict(learner, shown), prompts, weights)
                return jnp.mean(jax.vmap(lambda p: objective.loss(p, prompts, weights))(several(shown, step)))

            return jax.value_and_grad(loss)(state.params)

        if parts == 1:
            return part(0)
        zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(part, 0))
        add = lambda i, total: jax.tree.map(jnp.add, total, part(i))  # noqa: E731
        return jax.tree.map(lambda a: a / parts, jax.lax.fori_loop(0, parts, add, zero))
