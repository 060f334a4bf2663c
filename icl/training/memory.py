"""Whether training can fit the memory at all, estimated from shapes before anything is compiled, built or written."""

import dataclasses
import functools
import math
import os
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from function_classes.base import FunctionClass
from function_classes.fields import ConfigError, Problem
from function_classes.problems import amount, shown
from icl import prng
from icl.config import Config
from icl.layouts import Signature
from icl.training.keys import program_key

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
# Blocks that are traced; deeper networks repeat the second one.
TRACED = 2


def check(configs: Sequence[Config]) -> None:
    """Raises ConfigError for configurations that need more memory than the device has: for the weights with their
    gradient and the optimizer's state, for the activations of a step, for the prompts of validation and evaluation.

    The estimate counts only what cannot be done without, so nothing that would have run is refused. Members of a sweep
    that are one program are asked once.
    """
    room, seen, problems = _room(), set(), []
    if room is None:
        return
    for config in configs:
        key = program_key(config), config.evaluation.prompts
        if key not in seen:
            seen.add(key)
            problems += _problems(config, room)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def check_prompts(task: FunctionClass, prompts: int, path: str = "prompts") -> None:
    """Raises ConfigError where the errors of that many prompts would not fit, two predictors at least."""
    room = _room()
    need = _errors_bytes(task, prompts)
    if room is not None and need > room:
        raise ConfigError(
            [Problem(path, f"the errors of {shown(prompts)} prompts {_needs(need, room)}; take fewer prompts")]
        )


def weights_bytes(config: Config) -> float:
    """Bytes of weights, of their gradient, and of the optimizer's state, in float32. At least: a network whose layers
    are all named has those that are traced."""
    model = config.model
    depth = getattr(model, "depth", 1)
    if depth <= TRACED:
        return _weights_bytes(config, model)
    mixers = getattr(model, "mixers", ())
    short: dict[str, Any] = {"mixers": mixers[:TRACED]} if mixers else {}
    try:
        two = _weights_bytes(config, dataclasses.replace(model, depth=TRACED, **short))
        one = _weights_bytes(config, dataclasses.replace(model, depth=1, **{k: v[:1] for k, v in short.items()}))
    except ConfigError:
        return 0.0
    return two + (0 if short else depth - TRACED) * max(two - one, 0)


def _problems(config: Config, room: float) -> list[Problem]:
    training, found = config.training, []
    batch = training.batch // training.accumulate
    need = batch * (config.model.prompt_bytes(config.task, training.remat) + _latent_bytes(config.task))
    if need > room:
        found.append(
            Problem(
                "training.batch",
                f"{batch} prompts of {config.task.points} points at a time {_needs(need, room)}; make the prompts, the "
                "batch or the model smaller, raise training.accumulate, or use training.remat",
            )
        )
        return found  # tables of positions would be made for as many points
    need = _task_bytes(config.task)
    if need > room:
        return [Problem("task", f"one array behind every prompt of {config.task.name} {_needs(need, room)}")]
    need = weights_bytes(config)
    if need > room:
        words = f"the weights, their gradient and the state of {training.optimizer.name} {_needs(need, room)}"
        found.append(Problem("model", f"{words}; make the model smaller"))
    need = training.validation_prompts * _prompt_bytes(config)
    if need > room:
        words = f"{training.validation_prompts} prompts for validation {_needs(need, room)}"
        found.append(Problem("training.validation_prompts", f"{words}; take fewer prompts"))
    need = _errors_bytes(config.task, config.evaluation.prompts)
    if need > room:
        words = f"the errors of {config.evaluation.prompts} prompts {_needs(need, room)}"
        found.append(Problem("evaluation.prompts", f"{words}; take fewer prompts"))
    return found


def _weights_bytes(config: Config, model: Any) -> float:
    def state() -> Any:
        learner = model.make(config.task, key=prng.stream(0, "weights"))
        params = eqx.filter(learner, eqx.is_inexact_array)
        return params, params, config.training.optimizer.transform().init(params)

    try:
        return _bytes(eqx.filter_eval_shape(state))
    except OverflowError:  # more entries than an index has
        return float("inf")


def _latent_bytes(task: FunctionClass) -> float:
    """Of what a prompt's task consists of: a table of all contexts, say."""
    try:
        return _bytes(jax.eval_shape(task.sample_latent, jax.random.key(0)))
    except OverflowError:
        return float("inf")


def _task_bytes(task: FunctionClass) -> float:
    """Of the largest array on the way to one prompt: a pool, a transition table."""
    try:
        return _largest(jax.make_jaxpr(task.sample)(jax.random.key(0)).jaxpr)
    except OverflowError:
        return float("inf")


def _largest(jaxpr: Any) -> float:
    size = 0.0
    for equation in jaxpr.eqns:
        size = max(size, *(_array_bytes(var.aval) for var in equation.outvars), 0.0)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            size = max(size, _largest(inner)) if hasattr(inner, "eqns") else size
    return size


def _prompt_bytes(config: Config) -> float:
    """Of one prompt and its tokens."""
    task, layout, signature = config.task, config.model.layout, Signature.of(config.task)
    tokens = layout.length(task.points, signature) * layout.features(signature)
    return 4.0 * (tokens + task.points * (task.x_space.features + task.y_space.features)) + _latent_bytes(task)


def _errors_bytes(task: FunctionClass, prompts: int) -> int:
    """Of two predictors' errors at every position, and of the weights of positions."""
    return 12 * prompts * task.points * task.steps


def _bytes(tree: Any) -> float:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.ShapeDtypeStruct)]
    return sum(map(_array_bytes, leaves))


def _array_bytes(array: Any) -> float:
    """Of an array that is only described."""
    width = 4 if jnp.issubdtype(array.dtype, jax.dtypes.extended) else np.dtype(array.dtype).itemsize
    return math.prod(map(float, array.shape)) * width


def _needs(need: float, room: float) -> str:
    return f"need at least {_words(need)}, and this machine has {_words(room)}"


@functools.cache
def _room() -> int | None:
    """Bytes of the devices that share a batch, or None where nobody says."""
    device, *others = jax.local_devices()
    if device.platform == "cpu":
        names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
        known = all(name in getattr(os, "sysconf_names", {}) for name in names)
        return os.sysconf(names[0]) * os.sysconf(names[1]) if known else None
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return None if limit is None else limit * (1 + len(others))


def _words(size: float) -> str:
    if size >= 1e21:
        return "more than any machine has" if size == float("inf") else f"{amount(int(size))} bytes"
    index = 0
    while size >= 1000 and index < len(UNITS) - 1:
        size, index = size / 1000, index + 1
    return f"{size:.3g} {UNITS[index]}"
