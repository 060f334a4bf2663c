"""Errors of predictors on prompts of one class, kept apart by predictor, seed, prompt, position and step."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from function_classes.fields import as_data
from function_classes.spaces import Space
from icl import doors
from icl.programs import call, compiled, draw, predict
from icl.references.base import Reference
from icl.scoring import categorical, log_density, null_error, score, weights

# Memory of one chunk, for a network that keeps about 64 numbers per pair of positions and per feature of a position.
CHUNK_BYTES = 256 * 2**20
NUMBERS_KEPT = 64

CALIBRATION = 2**31 - 1
"""Calibration draws from fold_in(key, CALIBRATION), prompts from fold_in(key, i) with smaller i: they never meet."""


class Oracle(eqx.Module):
    """The predictor that knows the task. The only one to which evaluation shows the latent."""

    task: FunctionClass

    def __call__(self, prompt: Prompt) -> Prediction:
        return self.task.oracle(prompt)


@dataclasses.dataclass(frozen=True)
class Errors:
    """`values[metric]` has axes (predictor, seed, prompt, position, step), NaN where `have[metric]` lacks a predictor
    or it has fewer seeds. `oracles` are the predictors that know the task. `weights` and `null` (squared error of
    predicting 0) have axes (prompt, position, step)."""

    task: FunctionClass
    predictors: tuple[str, ...]
    seeds: dict[str, int]
    values: dict[str, np.ndarray]
    have: dict[str, tuple[str, ...]]
    weights: np.ndarray
    null: np.ndarray | None
    found: dict[str, Any]
    oracles: tuple[str, ...] = ()

    @property
    def space(self) -> Space:
        return self.task.y_space

    def of(self, metric: str, predictor: str) -> np.ndarray:
        """(seed, prompt, position, step) of one predictor. KeyError names what there is."""
        if metric not in self.values or predictor not in self.have[metric]:
            known = {name: list(members) for name, members in self.have.items()}
            raise KeyError(f"no {metric!r} of {predictor!r}; there are {known}")
        return self.values[metric][self.predictors.index(predictor), : self.seeds[predictor]]


def settle(predictor: Any, task: FunctionClass, key: PRNGKeyArray, name: str = "predictor") -> Predictor:
    """A reference calibrated on its own prompts; the model of a run; anything else unchanged. NotAvailable where it is
    no predictor, does not apply, or reads other prompts."""
    if not isinstance(predictor, Reference):
        return doors.predictor(predictor, task, name)
    reason = predictor.applies(task)
    if reason:
        raise NotAvailable(reason)
    return predictor.calibrate(task, jax.random.fold_in(key, CALIBRATION))


def errors(
    predictors: Mapping[str, Predictor | Sequence[Predictor]],
    task: FunctionClass,
    *,
    key: PRNGKeyArray,
    prompts: int = 1024,
) -> Errors:
    """The errors of every predictor on the same prompts, those of `task.batch(key, prompts)`.

    A list or tuple of predictors is one predictor with several seeds. References are calibrated first. Only an
    `Oracle` (or `task.oracle`) sees the latent. What is compared with Bayes is there unless bayes_kind is none.
    """
    from icl.training.memory import check_prompts  # which knows of configurations, and they of much else

    check_prompts(task, prompts)
    members = {
        name: [
            settle(p, task, key, name)
            for p in (given if isinstance(given, Sequence) and not isinstance(given, str) else [given])
        ]
        for name, given in predictors.items()
    }
    given = {name: p for name, p in predictors.items() if isinstance(p, Reference)}
    found = {name: members[name][0].found for name in given if members[name][0].found}
    parts: list[dict[str, list[dict[str, np.ndarray]]]] = []
    common: list[tuple[np.ndarray, np.ndarray | None]] = []
    for batch in chunks(task, key, prompts):
        bayes = None if task.bayes_kind.kind == "none" else predict(task.bayes, batch)
        parts.append({name: _scores(seeds, batch, bayes, task) for name, seeds in members.items()})
        common.append(_common(batch, task))
    seeds = {name: len(group) for name, group in members.items()}
    values, have = _gather(parts, seeds, prompts)
    weight = np.concatenate([w for w, _ in common])[:prompts]
    nulls = [n for _, n in common if n is not None]
    null = np.concatenate(nulls)[:prompts] if nulls else None
    oracles = tuple(name for name, group in members.items() if any(map(is_oracle, group)))
    return Errors(task, tuple(members), seeds, values, have, weight, null, found, oracles)


def chunks(task: FunctionClass, key: PRNGKeyArray, prompts: int):
    """The prompts in batches of one size that fit the memory; the last may hold more than was asked for."""
    count = math.ceil(prompts / chunk_size(task))
    size = math.ceil(prompts / count)
    for index in range(count):
        yield draw(task, key, index * size, size)


def chunk_size(task: FunctionClass) -> int:
    """How many prompts go through a predictor together, from their shapes alone."""
    shape = jax.eval_shape(task.sample, jax.random.key(0))
    points = shape.ys.shape[0] * task.steps
    features = shape.xs.size // shape.ys.shape[0] + task.y_space.features
    return max(8, CHUNK_BYTES // (4 * NUMBERS_KEPT * points * (points + features)))


def is_oracle(predictor: Predictor) -> bool:
    """Whether a predictor is marked as one that knows the task."""
    owner = getattr(predictor, "__self__", None)
    bound = isinstance(owner, FunctionClass) and predictor.__func__.__name__ == "oracle"
    return bound or isinstance(predictor, Oracle)


def run(predictor: Predictor, batch: Prompt) -> Prediction:
    """The predictions on a batch; the latent is hidden from all but an oracle."""
    return call(predictor, batch) if is_oracle(predictor) else predict(predictor, batch)


def _scores(
    seeds: Sequence[Predictor], batch: Prompt, bayes: Prediction | None, task: FunctionClass
) -> list[dict[str, np.ndarray]]:
    results = []
    for predictor, prediction in zip(seeds, _predictions(seeds, batch), strict=True):
        losses = score(prediction, batch, bayes, task.y_space, task.steps)
        density = log_density(predictor)
        if density is not None and not categorical(task.y_space):
            losses["nll"] = -call(density, batch.hide()).reshape(losses["squared_error"].shape)
            losses.pop("nll_gaussian", None)
        results.append({metric: np.asarray(loss) for metric, loss in losses.items()})
    return results


def _predictions(seeds: Sequence[Predictor], batch: Prompt) -> list[Prediction]:
    """One by one, or seeds of one structure as one program that takes their stacked arrays."""
    arrays, rest = zip(*(eqx.partition(as_data(p), eqx.is_array) for p in seeds), strict=True)
    alike = len(seeds) > 1 and all(
        bool(eqx.tree_equal(rest[0], other)) and _shapes(arrays[0]) == _shapes(values)
        for other, values in zip(rest[1:], arrays[1:], strict=True)
    )
    if not alike or any(map(is_oracle, seeds)):
        return [run(predictor, batch) for predictor in seeds]
    stacked = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *arrays)
    together = _predict_seeds(stacked, rest[0], batch.hide())
    return [jax.tree.map(lambda leaf, i=i: leaf[i], together) for i in range(len(seeds))]


@compiled
def _predict_seeds(stacked: Any, rest: Any, batch: Prompt) -> Prediction:
    def one(arrays: Any) -> Prediction:
        predictor = eqx.combine(arrays, rest)
        return jax.vmap(lambda prompt: predictor(prompt))(batch)

    return jax.lax.map(one, stacked)


def _shapes(tree: Any) -> list[Any]:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


@compiled
def _weights_and_null(batch: Prompt, steps: int, real: bool):
    null = jax.vmap(lambda prompt: null_error(prompt, steps))(batch) if real else None
    return jax.vmap(lambda prompt: weights(prompt, steps))(batch), null


def _common(batch: Prompt, task: FunctionClass) -> tuple[np.ndarray, np.ndarray | None]:
    weight, null = _weights_and_null(batch.hide(), task.steps, not categorical(task.y_space))
    return np.asarray(weight), None if null is None else np.asarray(null)


def _gather(parts: list, seeds: dict[str, int], prompts: int) -> tuple[dict[str, np.ndarray], dict[str, tuple]]:
    first = {name: group[0] for name, group in parts[0].items()}
    metrics = dict.fromkeys(metric for group in first.values() for metric in group)
    have = {metric: tuple(name for name in seeds if metric in first[name]) for metric in metrics}
    values = {}
    for metric, members in have.items():
        shape = (len(seeds), max(seeds.values()), prompts, *first[members[0]][metric].shape[1:])
        array = np.full(shape, np.nan, np.float32)
        for row, (name, count) in enumerate(seeds.items()):
            for seed in range(count if name in members else 0):
                array[row, seed] = np.concatenate([part[name][seed][metric] for part in parts])[:prompts]
        values[metric] = array
    return values, have
