"""The three compiled programs that evaluation, calibration and identification share.

Predictors are arguments, never closures: another ridge penalty, another checkpoint or another key runs the program
that is already compiled. Prompt i depends on (key, i) alone, so chunks of any size see the same prompts.
"""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.fields import as_data

F = TypeVar("F", bound=Callable[..., Any])

BLOCK = 256


def options() -> dict[str, int | bool] | None:
    """Compiler options of programs that run few times on a CPU, where compiling is most of the wait: LLVM's first
    level compiles random bits and scans three to five times faster than its third, and they run as fast. So does the
    older emitter of fused loops, which has no pipeline of its own for every fusion."""
    if jax.default_backend() != "cpu" or "backend_optimization_level" in os.environ.get("XLA_FLAGS", ""):
        return None
    chosen: dict[str, int | bool] = {"xla_backend_optimization_level": 1}
    # An option that XLA does not know is an error, and this one comes and goes with its versions.
    return chosen | ({"xla_cpu_use_fusion_emitters": False} if jax.__version_info__[:2] == (0, 10) else {})


def compiled(function: F) -> F:
    """`eqx.filter_jit` with these options, built when first called, since importing starts no backend. Not for
    functions that other compiled functions call."""

    @functools.lru_cache(maxsize=1)
    def build() -> Callable[..., Any]:
        chosen: Any = {"compiler_options": options()}
        return eqx.filter_jit(function, **chosen)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return build()(*args, **kwargs)

    return cast(F, call)


@compiled
def _draw(task: FunctionClass, key: PRNGKeyArray, indices: Int[Array, "B"]) -> Prompt:
    return jax.vmap(lambda i: task.sample(jax.random.fold_in(key, i)))(indices)


@compiled
def _predict(predictor: Callable, prompts: Prompt) -> Any:
    return jax.vmap(lambda prompt: predictor(prompt))(prompts)


def draw(task: FunctionClass, key: PRNGKeyArray, start: int, count: int) -> Prompt:
    """Prompts `start` to `start + count - 1` of the stream `key`, equal to those of `task.batch(key, n)`.

    Drawn in blocks of one size: random bits are slow to compile, and so every number of prompts shares one program.
    """
    data = as_data(task)
    blocks = [_draw(data, key, jnp.arange(first, first + BLOCK)) for first in range(start, start + count, BLOCK)]
    return jax.tree.map(lambda *parts: _join(parts)[:count], *blocks)


def _join(parts: tuple[Array, ...]) -> Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def predict(predictor: Callable, prompts: Prompt) -> Prediction:
    """The predictions on a batch of prompts, every leaf with the batch as first axis. What a predictor may not know
    is removed here: the latent."""
    return _predict(as_data(predictor), prompts.hide())


def call(function: Callable, prompts: Prompt) -> Any:
    """As `predict`, for a function of the whole prompt (an oracle, a log predictive)."""
    return _predict(as_data(function), prompts)
