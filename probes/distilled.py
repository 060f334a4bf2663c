"""Transformers trained to imitate a predictor: what they compute is known, how they compute it is not.

The third disguise of a known learner. Its function is that of the teacher up to an error that falls with training, on
prompts of the class it was trained on; nothing is known of its weights, its layers, or other prompts. All nets of one
kind of teacher and one size of prompts share one compiled program: teacher, class and weights are its arguments.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import as_data
from icl.models import Learner
from icl.models.transformer import Transformer
from icl.training.optimizers import Adam

SIZE = Transformer(depth=3, width=32, heads=4)
STEPS, BATCH, RATE, WARMUP = 2000, 64, 3e-3, 100


def distilled(teacher: Predictor, task: FunctionClass, key: PRNGKeyArray, steps: int = STEPS) -> Learner:
    """A small softmax transformer after `steps` steps of Adam on the mean squared difference from the teacher's
    predictions, 64 fresh prompts each; the key chooses its initial weights and its prompts. The learning rate grows to
    3e-3 in 100 steps, or the first tenth, and falls to 0 by a cosine."""
    start, prompts = jax.random.split(key)
    learner = SIZE.make(task, key=start)
    params, rest = eqx.partition(learner, eqx.is_inexact_array)
    return eqx.combine(_train(params, rest, as_data(teacher), as_data(task), prompts, steps), rest)


@eqx.filter_jit
def _train(params: Any, rest: Any, teacher: Predictor, task: FunctionClass, key: PRNGKeyArray, steps: int) -> Any:
    rule = Adam().transform()

    def loss(params: Any, batch: Prompt, goals: Array) -> Array:
        return jnp.mean(jnp.square(eqx.combine(params, rest).batched(batch).mean - goals))

    def step(index: Array, carry: Any) -> Any:
        params, state = carry
        keys = jax.random.split(jax.random.fold_in(key, index), BATCH)
        batch = jax.vmap(lambda one: task.sample(one).hide())(keys)
        goals = jax.vmap(lambda prompt: teacher(prompt).mean)(batch)
        direction, state = rule.update(jax.grad(loss)(params, batch, goals), state, params)
        done, grows = index.astype(jnp.float32), max(min(WARMUP, steps // 10), 1)
        rate = RATE * jnp.minimum(1.0, done / grows) * 0.5 * (1 + jnp.cos(np.float32(np.pi) * done / steps))
        return jax.tree.map(lambda p, d: p - rate * d, params, direction), state

    return jax.lax.fori_loop(0, steps, step, (params, rule.init(params)))[0]
