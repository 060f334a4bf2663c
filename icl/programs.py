"""The three compiled programs that evaluation, calibration and identification share.

Predictors are arguments, never closures: another ridge penalty, another checkpoint or another key runs the program
that is already compiled. Prompt i depends on (key, i) alone, so chunks of any size see the same prompts.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from function_classes.base import FunctionClass, Prediction, Prompt

T = TypeVar("T")


def as_data(tree: T) -> T:
    """The same tree with Python floats as float32 arrays: under `filter_jit` a float would be a constant."""
    return jax.tree.map(lambda leaf: jnp.float32(leaf) if isinstance(leaf, float) else leaf, tree)


@eqx.filter_jit
def _draw(task: FunctionClass, key: PRNGKeyArray, indices: Int[Array, "B"]) -> Prompt:
    return jax.vmap(lambda i: task.sample(jax.random.fold_in(key, i)))(indices)


@eqx.filter_jit
def _predict(predictor: Callable, prompts: Prompt) -> Any:
    return jax.vmap(lambda prompt: predictor(prompt))(prompts)


def draw(task: FunctionClass, key: PRNGKeyArray, start: int, count: int) -> Prompt:
    """Prompts `start` to `start + count - 1` of the stream `key`, equal to those of `task.batch(key, n)`."""
    return _draw(as_data(task), key, jnp.arange(start, start + count))


def predict(predictor: Callable, prompts: Prompt) -> Prediction:
    """The predictions on a batch of prompts, every leaf with the batch as first axis. What a predictor may not know
    is removed here: the latent."""
    return _predict(as_data(predictor), prompts.hide())


def call(function: Callable, prompts: Prompt) -> Any:
    """As `predict`, for a function of the whole prompt (an oracle, a log predictive)."""
    return _predict(as_data(function), prompts)
