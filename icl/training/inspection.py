"""What a user's own class and learner are asked before training: does the class draw what it says, and does a
prediction depend on nothing that is revealed after it? Code that came with the package has passed both in its tests.

Causality by intervention: in two prompts all that is revealed after position k (x_{k+1}.., y_k.., and the targets
everywhere) is replaced by that of other prompts; prediction k may not move beyond rounding. The weights are moved a
little from where they begin, since a network that begins at 0 predicts 0 whatever it reads.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from function_classes import own, sources
from function_classes.base import FunctionClass, NotAvailable, Prompt
from icl.config import Config
from icl.models.anatomy import Anatomy
from icl.programs import compiled, draw

MOST = 16
"""Predictions of a prompt that are looked at, spread over its positions."""

ROUNDING = 1e-4
"""Shares of the largest prediction by which a causal one may move: convolutions by Fourier transform round."""

MOVED = 0.1
"""Standard deviation of what is added to the weights."""


def inspect(configs: Sequence[Config]) -> None:
    """Raises NotAvailable for a class that draws other things than it says, and for a learner that reads ahead."""
    seen: list[Any] = []
    for config in configs:
        if not sources.all_ours(config.task) and config.task not in seen:
            seen.append(config.task)
            own.values(config.task)
        foreign = config.model.name == "given" or not sources.all_ours(config.model)
        if foreign and (config.model, config.task) not in seen:
            seen.append((config.model, config.task))
            learner = eqx.filter_jit(config.model.make)(config.task, key=jax.random.key(0))
            if sentence := reads_ahead(_moved(learner), config.task):
                name = type(learner).__name__ if config.model.name == "given" else config.model.name
                raise NotAvailable(f"model: {name} {sentence}")


def reads_ahead(predictor: Callable, task: FunctionClass) -> str | None:
    """None, or which prediction changes with what is revealed after it."""
    prompts = draw(task, jax.random.key(1), 0, 4)
    points, steps = prompts.ys.shape[1], task.steps
    queries = [(k, s) for k in range(points) for s in range(steps)]
    queries = [queries[i] for i in np.unique(np.linspace(0, len(queries) - 1, MOST).astype(int))]
    index = np.arange(points)
    late_x = np.stack([index > k for k, _ in queries])
    late_y = np.stack([[[(j, r) >= query for r in range(steps)] for j in index] for query in queries])
    moved = _moves(predictor, prompts, late_x, late_y, steps)
    bad = [query for row, query in enumerate(queries) if moved[row, query[0], query[1]]]
    if not bad:
        return None
    k, s = bad[0]
    # One thing at a time, for this prediction: the targets, then every later output, then every later input.
    outputs = [(j, r) for j in range(k, points) for r in range(steps) if (j, r) >= (k, s)]
    inputs = list(range(k + 1, points)) if prompts.xs.shape[-1:] != (0,) else []
    one_x = np.zeros((1 + len(outputs) + len(inputs), points), bool)
    one_y = np.zeros((len(one_x), points, steps), bool)
    for row, place in enumerate(outputs, 1):
        one_y[(row, *place)] = True
    for row, j in enumerate(inputs, 1 + len(outputs)):
        one_x[row, j] = True
    read = _moves(predictor, prompts, one_x, one_y, steps)[:, k, s]
    words = ["what it is compared with (targets)"]
    words += [f"y_{j}" if steps == 1 else f"y_{j}, step {r}" for j, r in outputs] + [f"x_{j}" for j in inputs]
    sources_read = [words[0]] if read[0] else [word for word, one in zip(words, read, strict=True) if one]
    named = " and ".join(sources_read[:2]) or "what is revealed later"
    own_label = "its own label" if named.startswith(words[1]) else "ahead"
    here = f"prediction {k}" if steps == 1 else f"prediction {k}, step {s},"
    rule = f"x_0..x_{k} and y_0..y_{k - 1}" if k else "x_0 alone"
    return f"reads {own_label}: {here} changes with {named}, and may use {rule}"


def _moves(predictor: Callable, prompts: Prompt, xs: np.ndarray, ys: np.ndarray, steps: int) -> np.ndarray:
    """(row, position, step): whether a prediction of one of the first two prompts moves when the marked inputs and
    outputs, and all targets, are those of the third or the fourth."""
    base, changed = _predictions(predictor, prompts, xs, ys, steps)
    moved = np.zeros((len(xs), *ys.shape[1:]), bool)
    for before, after in zip(jax.tree.leaves(base), jax.tree.leaves(changed), strict=True):
        before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
        largest = np.max(np.abs(before), where=np.isfinite(before), initial=0.0)
        with np.errstate(invalid="ignore"):
            far = ~((before == after) | (np.abs(after - before) <= ROUNDING * largest))
        far &= ~(np.isnan(before) & np.isnan(after))
        moved |= far.reshape(*far.shape[:2], *ys.shape[1:], -1).any((1, 4))
    return moved


@compiled
def _predictions(predictor: Callable, prompts: Prompt, xs: Any, ys: Any, steps: int) -> tuple[Any, Any]:
    """Predictions of two prompts, as they are and changed, from one program: (row, prompt, position, ...)."""
    part = lambda first: jax.tree.map(lambda a: a[first : first + 2], prompts.hide())  # noqa: E731

    def choose(mask: Any, new: Any, old: Any) -> Any:
        return jnp.where(mask.reshape(mask.shape + (1,) * (old.ndim - mask.ndim)), new, old)

    def one(rows: tuple[Any, Any, Any]) -> Any:
        late_x, late_y, changed = rows

        def both(old: Prompt, new: Prompt) -> Any:
            targets = jax.tree.map(lambda ours, theirs: jnp.where(changed, theirs, ours), old.targets, new.targets)
            shown = choose(late_y if steps > 1 else late_y[:, 0], new.ys, old.ys)
            return predictor(Prompt(choose(late_x, new.xs, old.xs), shown, None, targets, old.scored))

        return jax.vmap(both)(part(0), part(2))

    nothing = jnp.zeros(len(xs), bool)
    none_x, none_y = jnp.zeros(xs.shape, bool), jnp.zeros(ys.shape, bool)
    base = jax.lax.map(one, (none_x, none_y, nothing))
    return base, jax.lax.map(one, (jnp.asarray(xs), jnp.asarray(ys), ~nothing))


def _moved(learner: Any) -> Any:
    """The learner with its parameters moved a little."""
    params, constants, rest = Anatomy(learner).split(learner)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), max(len(leaves), 1))
    added = [a + MOVED * jax.random.normal(k, a.shape, a.dtype) for a, k in zip(leaves, keys, strict=False)]
    return Anatomy(learner).join(structure.unflatten(added), constants, rest)
