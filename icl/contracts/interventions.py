"""What checks of predictors share: losses, interventions on what is revealed later, and gradients.

Everything takes a `predict(prompt) -> pytree of arrays with leading axes (P,) or (P, S)`, so function classes,
references and trained models pass through the same code.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from function_classes import Prediction, Prompt, Real, Signs

Predict = Callable[[Prompt], Any]
HUGE = {"f": 1e30, "i": 1_000_000}


def losses(task: Any, prompts: Prompt, prediction: Prediction) -> np.ndarray:
    """(N, P) or (N, P, S): squared error summed over coordinates, or -log p of the target in nats (cross entropy where
    targets are distributions); times `scored`."""
    scores = np.asarray(prompts.scores)
    if isinstance(task.y_space, Real):
        error = (np.asarray(prediction.mean, np.float64) - scores) ** 2
        result = error.reshape(*error.shape[: error.ndim - len(task.y_space.shape)], -1).sum(-1)
    elif scores.ndim > np.ndim(prompts.ys):
        log_probs = np.asarray(prediction.as_log_probs(task.y_space), np.float64)
        result = -np.sum(np.where(scores > 0, scores * np.where(scores > 0, log_probs, 0.0), 0.0), -1)
    else:
        index = (scores > 0).astype(int) if isinstance(task.y_space, Signs) else scores
        log_probs = np.asarray(prediction.as_log_probs(task.y_space), np.float64)
        result = -np.take_along_axis(log_probs, index[..., None], -1)[..., 0]
    return result if prompts.scored is None else np.where(np.asarray(prompts.scored) > 0, result, 0.0)


class Interventions:
    """One compiled program that replaces chosen parts of prompts and predicts again.

    `prompts` is a batch (N, ...), `steps` the number S of targets per example. Results come from the same program at
    the same places, so that equal means equal bits.
    """

    def __init__(self, predict: Predict, prompts: Prompt, steps: int = 1):
        self.prompts = prompts
        self.points = prompts.ys.shape[1]
        self.steps = steps
        self.queries = [(k, s) for k in range(self.points) for s in range(steps)]
        self._run = jax.jit(jax.vmap(jax.vmap(_replaced(predict, steps), (0, 0, None, None)), (None, None, 0, 0)))
        others = np.zeros((len(self.queries), self.points, steps), bool)
        self._base = self._predict(prompts, others[..., 0], others)

    def leaks(self) -> dict[str, list[tuple[int, int]]]:
        """Predictions (k, s) that move when all that is revealed later is replaced: by another prompt, by huge values,
        by NaN. Targets, weights and the task itself are replaced everywhere: no predictor may read them."""
        index = np.arange(self.points)
        late_x = np.stack([index > k for k, _ in self.queries])
        late_y = np.stack([[[(j, r) >= q for r in range(self.steps)] for j in index] for q in self.queries])
        found = {}
        for kind, others in (("other", self._rolled()), ("huge", self._filled(HUGE)), ("nan", self._filled({}))):
            result = self._predict(others, late_x, late_y)
            moved = [self._differs(result, row, query) for row, query in enumerate(self.queries)]
            found[kind] = [query for query, different in zip(self.queries, moved, strict=True) if different]
        return found

    def ignored(self) -> list[str]:
        """Inputs and outputs that change no prediction at all, of those that some prediction may use and that differ
        among the prompts. Each is replaced by that of three other prompts in turn, since signs are often equal."""
        rows, index = len(self.queries), np.arange(self.points)
        nothing_x, nothing_y = np.zeros((rows, self.points), bool), np.zeros((rows, self.points, self.steps), bool)
        one_x, one_y = nothing_x.copy(), nothing_y.copy()
        one_x[index, index] = True
        one_y[np.arange(rows), *np.transpose(self.queries)] = True
        unread_y, unread_x = set(self.queries[:-1]), set(index) if self.prompts.xs.shape[-1:] != (0,) else set()
        for distance in (1, 2, 3):
            others = self._rolled(distance)
            result = self._predict(others, nothing_x, one_y)
            unread_y -= {query for row, query in enumerate(self.queries) if self._differs(result, row)}
            if unread_x:
                result = self._predict(others, one_x, nothing_y)
                unread_x -= {j for j in index if self._differs(result, int(j))}
        xs, ys = np.asarray(self.prompts.xs), np.asarray(self.prompts.ys)
        ys = ys.reshape(len(ys), self.points, self.steps, -1)
        found = [f"y{(k, s)}" for k, s in sorted(unread_y) if np.any(ys[:, k, s] != ys[:1, k, s])]
        return found + [f"x{j}" for j in sorted(unread_x) if np.any(xs[:, j] != xs[:1, j])]

    def _predict(self, others: Prompt, xs: np.ndarray, ys: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(self._run(self.prompts, others, xs, ys))]

    def _differs(self, result: list[np.ndarray], row: int, query: tuple[int, int] | None = None) -> bool:
        place = (row,) if query is None else (row, slice(None), *(query if self.steps > 1 else query[:1]))
        return any(a[place].tobytes() != b[place].tobytes() for a, b in zip(result, self._base, strict=True))

    def _rolled(self, distance: int = 1) -> Prompt:
        return jax.tree.map(lambda a: jnp.roll(a, distance, 0), self.prompts)

    def _filled(self, values: dict[str, float]) -> Prompt:
        """Every array full of one value: floats without one become NaN, integers take the huge one."""

        def fill(array):
            kind = "f" if array.dtype.kind == "f" else "i"
            value = values.get(kind, np.nan if kind == "f" else HUGE["i"])
            return jnp.full_like(array, value)

        return jax.tree.map(fill, self.prompts)


def _replaced(predict: Predict, steps: int) -> Callable[..., Any]:
    def run(prompt: Prompt, other: Prompt, xs: jax.Array, ys: jax.Array) -> Any:
        def choose(mask, new, old):
            return jnp.where(mask.reshape(mask.shape + (1,) * (old.ndim - mask.ndim)), new, old)

        changed = Prompt(
            choose(xs, other.xs, prompt.xs),
            choose(ys if steps > 1 else ys[:, 0], other.ys, prompt.ys),
            other.latent,
            other.targets,
            other.scored,
        )
        return predict(changed)

    return run


def gradient_leaks(predict: Predict, prompt: Prompt, steps: int = 1) -> list[str]:
    """Pairs "prediction (k, s) <- x_j" or "<- y_(j, r)" whose derivative should be exactly 0 and is not (or is NaN)."""
    queries = [(k, s) for k in range(prompt.points) for s in range(steps)]
    given = {n: a for n, a in (("x", prompt.xs), ("y", prompt.ys)) if a.dtype.kind == "f" and a.size}

    def flat(values):
        result = predict(Prompt(values.get("x", prompt.xs), values.get("y", prompt.ys)))
        return jnp.concatenate([leaf.reshape(len(queries), -1) for leaf in jax.tree.leaves(result)], 1)

    found: list[str] = []
    if not given:
        return found
    for name, jacobian in jax.jit(jax.jacrev(flat))(given).items():
        sources = [(j, r) for j, r in queries if name == "y" or r == 0]
        size = np.abs(np.asarray(jacobian)).reshape(len(queries), jacobian.shape[1], len(sources), -1).max((1, 3))
        for row, query in enumerate(queries):
            for column, source in enumerate(sources):
                late = source >= query if name == "y" else source[0] > query[0]
                if late and not size[row, column] == 0:
                    found.append(f"{query} <- {name}{source}")
    return found
