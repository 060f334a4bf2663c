"""How good predictors are on a function class, per position and on average, with paired 95 % intervals.

    evaluate({"model": run.model, "ridge": references.get("ridge")}, task, key=jax.random.key(2), prompts=1024)

Averages over positions and rankings use `clipped_squared_error`: least squares has infinite mean error at
k = dim - 1, dim, dim + 1, so errors are cut at ten times the null risk of the position, for all predictors alike.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from function_classes.base import FunctionClass
from function_classes.spaces import Real, Signs
from icl import better, doors, prng
from icl.errors import Errors, chunks, errors, run, settle
from icl.errors import Oracle as Oracle
from icl.programs import compiled
from icl.resampling import Interval, apply, limits, mean_interval, median_limits, resamples, weighted
from icl.scoring import categorical, divergence, weights
from icl.tables import Table

Normalization = Literal["auto", "raw", "per_dim", "per_null", "nats", "per_character"]

CLIP = 10.0
"""Clipped errors are at most this many null risks of their position."""

# Streams that the mean number of characters of a token is taken from.
TEXTS = 2048


def evaluate(
    predictors: Mapping[str, Any],
    task: FunctionClass,
    *,
    key: PRNGKeyArray,
    prompts: int = 1024,
    normalization: Normalization = "auto",
) -> Table:
    """A long table of every metric of every predictor at every scored position, and averaged (position -1).

    `predictors` go by name, each alone or as a list of seeds; a `Run` stands for its model.

    Numbers: squared_error, clipped_squared_error, median_squared_error, and where the class has a Bayes predictor
    distance (squared, to its mean) and excess (paired squared error minus that of Bayes); nll where the predictor has a
    log_predictive, nll_gaussian where it only has a variance. Symbols and signs: nll, accuracy, distance
    (KL(Bayes || predictor)) and excess in nats. With several targets per example `metric[s]` is one of them and
    `metric` their sum (for accuracy their mean).

    `normalization` of squared errors: raw, per_dim (input features), per_null (mean null risk over positions); auto is
    per_dim where inputs are vectors, else per_null. Nats of tokens: nats a token, or, as auto has it, per_character:
    divided by the mean number of characters of the token at that position.

    Intervals: bootstrap over prompts, the same resamples for all predictors; seeds are resampled outside prompts.
    Medians: the exact interval by ranks; averaged over positions its ends are averaged, which is conservative. Raises
    NotAvailable for a reference that does not apply.
    """
    doors.key(key)
    prompts, task = doors.count(prompts, "prompts", doors.FEWEST), doors.task(task)
    return reduce(errors(doors.predictors(predictors), task, key=key, prompts=prompts), normalization)


def reduce(result: Errors, normalization: Normalization = "auto") -> Table:
    """The table of errors that are already there."""
    risk = None if result.null is None else float(np.nanmean(null_risk(result)))
    name, divisors = normalize(result.task, risk, normalization)
    ones, draws, rows = np.ones_like(divisors), _Resampled(result.weights), []
    for predictor in result.predictors:
        for metric, values in _metrics(result, predictor):
            squared = metric in _SQUARED and not categorical(result.space)
            divided = squared or (name == "per_character" and metric != "accuracy")
            unit, by = (name, divisors) if divided else ("raw" if metric == "accuracy" else "nats", ones)
            summary = _medians if metric.startswith("median") else draws.means
            for seed, position, suffix, count, (value, low, high) in summary(values, metric == "accuracy"):
                value, low, high = (number / by[position] for number in (value, low, high))
                rows.append((predictor, seed, position, metric + suffix, unit, value, low, high, count))
    return Table.from_rows(rows, found=result.found, notes=_notes(result))


def distance(a: Any, b: Any, task: FunctionClass, *, key: PRNGKeyArray, prompts: int = 1024) -> Interval:
    """Mean over prompts and scored positions of |a - b|^2, or KL(a || b) in nats, with its interval; not normalized."""
    doors.key(key)
    prompts, task = doors.count(prompts, "prompts", doors.FEWEST), doors.task(task)
    a, b = settle(a, task, key, "a"), settle(b, task, key, "b")
    parts = [_apart(run(a, batch), run(b, batch), batch.hide(), task) for batch in chunks(task, key, prompts)]
    gaps = np.concatenate([np.asarray(gap) for gap, _ in parts])[:prompts]
    weight = np.concatenate([np.asarray(w) for _, w in parts])[:prompts]
    per_prompt = weighted(weight, gaps).sum((1, 2)) / weight.sum((1, 2)).mean()
    return mean_interval(per_prompt, resamples(prompts))


def _apart(a: Any, b: Any, batch: Any, task: FunctionClass) -> Any:
    return _divergences(a, b, batch, task.y_space, task.steps)


@compiled
def _divergences(a: Any, b: Any, batch: Any, space: Any, steps: int) -> Any:
    gaps = jax.vmap(lambda p, q: divergence(p, q, space, steps))(a, b)
    return gaps, jax.vmap(lambda prompt: weights(prompt, steps))(batch)


_SQUARED = ("squared_error", "clipped_squared_error", "median_squared_error", "distance", "excess")

Summary = Iterator[tuple[int, int, str, int, tuple[float, float, float]]]


def null_risk(result: Errors) -> np.ndarray:
    """Mean squared error of the prediction 0, (position, step); NaN where nothing is scored. ValueError for symbols and
    signs."""
    if result.null is None:
        raise ValueError("only numbers have a null risk, not symbols and signs")
    total = result.weights.sum(0)
    risk = weighted(result.weights, result.null).sum(0)
    return np.where(total > 0, risk / np.where(total > 0, total, 1), np.nan)


def _metrics(result: Errors, predictor: str) -> Iterator[tuple[str, np.ndarray]]:
    for metric, members in result.have.items():
        if predictor in members:
            yield metric, result.of(metric, predictor)
            if metric == "squared_error":
                values = result.of(metric, predictor)
                yield "clipped_squared_error", np.minimum(values, CLIP * null_risk(result))
                scored = result.weights > 0
                yield "median_squared_error", np.where(scored, values, np.nan)


def normalize(task: FunctionClass, risk: float | None, wanted: str = "auto") -> tuple[str, np.ndarray]:
    """The name of the normalization of errors on a class and what they are divided by at every position; the last of
    these P + 1 numbers is for the average over positions, whose position is -1. `risk` is the mean null risk.
    ValueError where it does not fit the class."""
    wanted, divisor = _normalization(task, risk, wanted)
    if wanted != "per_character":
        return wanted, np.full(task.points + 1, divisor)
    tokens: Any = task
    found = jax.jit(lambda key: tokens.mean_characters(key, TEXTS))(prng.stream(0, "evaluation"))
    return wanted, np.append(np.asarray(found, float), np.mean(found))


def _normalization(task: FunctionClass, risk: float | None, wanted: str) -> tuple[str, float]:
    """The name, and the number that errors are divided by where it is one for all positions."""
    inputs, nats, tokens = task.x_space, categorical(task.y_space), hasattr(task, "mean_characters")
    if wanted == "auto":
        vectors = isinstance(inputs, Real | Signs) and len(inputs.shape) == 1
        wanted = "per_character" if tokens else "nats" if nats else ("per_dim" if vectors else "per_null")
    if wanted not in get_args(Normalization):
        raise ValueError(f"unknown normalization {wanted!r}; choose from {', '.join(get_args(Normalization))}")
    if wanted == "per_character":
        if not tokens:
            raise ValueError(f"per_character needs tokens of several characters, as tokenized has; not {task.name}")
        return wanted, np.nan
    if nats or wanted == "raw":
        return wanted, 1.0
    if wanted == "nats":
        raise ValueError("nats are for symbols and signs; numbers have raw, per_dim or per_null")
    if wanted == "per_null":
        if risk is None:
            raise ValueError("per_null needs the null risk of the class")
        return wanted, risk
    if inputs.features == 0:
        raise ValueError(f"per_dim needs inputs, {task.name} is a stream; use raw or per_null")
    return wanted, float(inputs.features)


class _Resampled:
    """Weighted means of (seed, prompt, position, step) over prompts, with the same resamples every time."""

    def __init__(self, weight: np.ndarray):
        self.weight = weight
        self.draws = resamples(len(weight))
        self.total = apply(self.draws, weight)
        self.scored = np.flatnonzero(weight.sum((0, 2)) > 0)
        self.counts = (weight.sum(2) > 0).sum(0)

    def means(self, values: np.ndarray, mean_of_steps: bool) -> Summary:
        seeds, prompts = values.shape[:2]
        once = np.full((1, prompts), 1 / prompts, np.float32)
        used = [weighted(self.weight, seed) for seed in values]
        exact = np.stack([_ratios(apply(once, u), apply(once, self.weight), self.scored, mean_of_steps) for u in used])
        drawn = np.stack([_ratios(apply(self.draws, u), self.total, self.scored, mean_of_steps) for u in used])
        yield from self._rows(-1, exact.mean(0)[0], _over_seeds(drawn))
        for seed in range(seeds if seeds > 1 else 0):
            yield from self._rows(seed, exact[seed, 0], drawn[seed])

    def _rows(self, seed: int, value: np.ndarray, drawn: np.ndarray) -> Summary:
        low, high = limits(drawn)
        for step in range(value.shape[1]):
            suffix = "" if step == value.shape[1] - 1 else f"[{step}]"
            for row, position in enumerate((*self.scored, -1)):
                count = len(self.weight) if position < 0 else self.counts[position]
                numbers = float(value[row, step]), float(low[row, step]), float(high[row, step])
                yield seed, int(position), suffix, int(count), numbers


def _ratios(sums: np.ndarray, totals: np.ndarray, scored: np.ndarray, mean_of_steps: bool) -> np.ndarray:
    """(R, P, S) sums and total weights -> (R, scored positions and their average, steps and their sum if S > 1)."""
    kept, weight = sums[:, scored], totals[:, scored]
    kept = np.concatenate([kept, kept.sum(1, keepdims=True)], 1)
    weight = np.concatenate([weight, weight.sum(1, keepdims=True)], 1)
    steps = np.where(weight > 0, kept / np.where(weight > 0, weight, 1), 0)
    if steps.shape[2] == 1:
        return steps
    together = steps.mean(2, keepdims=True) if mean_of_steps else steps.sum(2, keepdims=True)
    return np.concatenate([steps, together], 2)


def _over_seeds(drawn: np.ndarray) -> np.ndarray:
    """(seed, R, ...) -> (R, ...): the mean over seeds drawn with replacement, prompts being drawn inside."""
    seeds, count = drawn.shape[:2]
    if seeds == 1:
        return drawn[0]
    chosen = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds
    return np.einsum("rs,sr...->r...", chosen, drawn)


def _medians(values: np.ndarray, _: bool) -> Summary:
    """Per position over prompts (and, for seed -1, seeds); the last step alone has no sum, so steps are kept apart."""
    seeds, prompts, points, steps = values.shape
    groups = [(-1, values.reshape(-1, points, steps))] + [(s, values[s]) for s in range(seeds if seeds > 1 else 0)]
    for seed, group in groups:
        for step in range(steps):
            summaries = {}
            for position in range(points):
                column = np.sort(group[~np.isnan(group[:, position, step]), position, step])
                if len(column):
                    low, high = median_limits(min(len(column), prompts))
                    scale = (len(column) - 1) / max(min(len(column), prompts) - 1, 1)
                    ends = column[round(low * scale)], column[round(high * scale)]
                    summaries[position] = len(column), (float(np.median(column)), float(ends[0]), float(ends[1]))
            suffix = "" if steps == 1 else f"[{step}]"
            for position, (count, numbers) in summaries.items():
                yield seed, position, suffix, count, numbers
            if summaries:
                value, low, high = np.mean([numbers for _, numbers in summaries.values()], 0)
                yield seed, -1, suffix, prompts, (float(value), float(low), float(high))


def better_than_bayes(result: Errors) -> dict[str, str]:
    """What is said of every predictor that is better than exact Bayes beyond chance; oracles know the task."""
    if not result.task.bayes_kind.exact or "excess" not in result.values:
        return {}
    names = [name for name in result.have["excess"] if name not in result.oracles]
    scale = 0.0 if result.null is None else np.nan_to_num(null_risk(result))
    said = {}
    for name in names:
        # Seeds share their prompts: their mean is one loss per prompt.
        losses = {"excess": result.of("excess", name).mean(0)}
        if sentence := better.of_losses(losses, result.weights, scale, result.space, len(names)):
            said[name] = sentence
    return said


def _notes(result: Errors) -> tuple[str, ...]:
    kind, detail, error = result.task.bayes_kind
    if kind == "exact":
        return tuple(f"{name}: {sentence}" for name, sentence in better_than_bayes(result).items())
    if kind == "none":
        return (f"no distance or excess: {result.task.name} has no Bayes predictor ({detail})",)
    return (f"distance and excess are against Bayes by {kind} ({detail}; error {error})",)
