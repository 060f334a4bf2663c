"""What a prediction is worth, where it is trained and where it is measured: arrays (position, step) of a prompt."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.posteriors import NOISELESS_FLOOR
from function_classes.spaces import Signs, Space, Symbols
from icl.programs import compiled


@compiled
def score(
    prediction: Prediction, prompts: Prompt, bayes: Prediction | None, space: Space, steps: int
) -> dict[str, Float[Array, "B P S"]]:
    """Losses of a batch of predictions. `bayes` adds `distance` and `excess`.

    Numbers: squared_error against what is scored, summed over the entries of y; nll_gaussian of the mean and variance
    where there is a variance, nll where the prediction has a `log_density` of its own; distance = |mean - Bayes
    mean|^2; excess = squared_error minus that of Bayes.
    Symbols and signs: nll (cross entropy with soft targets) and accuracy (ties shared evenly, averaged over entries);
    distance = KL(Bayes || prediction), excess = nll minus that of Bayes; all in nats and summed over entries.
    """

    def one(prediction: Prediction, prompt: Prompt, bayes: Prediction | None) -> dict[str, Float[Array, "P S"]]:
        losses = _losses(prediction, prompt, space, steps)
        if bayes is not None:
            losses["distance"] = divergence(bayes, prediction, space, steps)
            main = main_metric(space)
            losses["excess"] = losses[main] - loss(bayes, prompt, space, steps)
        return losses

    return jax.vmap(one)(prediction, prompts, bayes)


def loss(
    prediction: Prediction, prompt: Prompt, space: Space, steps: int, metric: str | None = None
) -> Float[Array, "P S"]:
    """One metric alone, of one prompt: what training minimizes. None: the main one."""
    return _losses(prediction, prompt, space, steps)[metric or main_metric(space)]


def mean_loss(losses: Float[Array, "B P S"], scored: Float[Array, "B P *s"] | None) -> Float[Array, ""]:
    """The mean over prompts, positions and steps, weighted by `scored` where the prompts have it."""
    if scored is None:
        return jnp.mean(losses)
    weights = jnp.broadcast_to(scored.reshape(*losses.shape[:2], -1), losses.shape)
    return jnp.sum(losses * weights) / jnp.maximum(jnp.sum(weights), 1)


def only(
    positions: Bool[Array | np.ndarray, "P"] | None, scored: Float[Array, "B P *s"] | None, prompts: Prompt
) -> Float[Array, "B P *s"] | None:
    """Weights of a loss over a batch of prompts that counts these positions alone; None: all that are scored."""
    if positions is None:
        return scored
    kept = jnp.asarray(positions).astype(jnp.float32)
    if scored is None:
        return jnp.broadcast_to(kept[None], prompts.ys.shape[:2])
    return scored * kept.reshape(1, -1, *[1] * (scored.ndim - 2))


def main_metric(space: Space) -> str:
    """squared_error for numbers, nll for symbols and signs."""
    return "nll" if categorical(space) else "squared_error"


def categorical(space: Space) -> bool:
    return isinstance(space, Symbols | Signs)


def divergence(a: Prediction, b: Prediction, space: Space, steps: int) -> Float[Array, "P S"]:
    """Squared distance of the means, or KL(a || b) in nats, summed over the entries of y."""
    if not categorical(space):
        return _sum(jnp.square(a.as_mean(space) - b.as_mean(space)), steps)
    left, right = a.as_log_probs(space), b.as_log_probs(space)
    _same_shape(left, right)
    possible = left > -jnp.inf
    gap = jnp.where(possible, left, 0.0) - jnp.where(possible, right, 0.0)
    return _sum(jnp.where(possible, jnp.exp(left) * gap, 0.0), steps)


def null_error(prompt: Prompt, steps: int) -> Float[Array, "P S"]:
    """Squared error of the prediction 0."""
    return _sum(jnp.square(prompt.scores.astype(jnp.float32)), steps)


def weights(prompt: Prompt, steps: int) -> Float[Array, "P S"]:
    """`scored`, or ones."""
    shape = (prompt.points, steps)
    if prompt.scored is None:
        return jnp.ones(shape)
    return jnp.broadcast_to(prompt.scored.reshape(prompt.points, -1), shape)


def gaussian_nll(
    ys: Float[Array, "P *s"], mean: Float[Array, "P *s"], variance: Float[Array, "P *s"], steps: int = 1
) -> Float[Array, "P *s"]:
    """-log N(y; mean, variance) in nats; the variance is at least 1e-6 of the mean square of y so far, from the first
    position to the one that is scored, and 1 where both are 0."""
    rows = ys.reshape(ys.shape[0] * steps, -1)
    count = jnp.arange(1, rows.shape[0] + 1, dtype=jnp.float32)
    square = jnp.cumsum(jnp.mean(jnp.square(rows), -1)) / count
    floor = jnp.broadcast_to(NOISELESS_FLOOR * square[:, None], rows.shape).reshape(ys.shape)
    variance = jnp.maximum(variance, floor)
    variance = jnp.where(variance > 0, variance, 1.0)
    return 0.5 * (jnp.log(2 * jnp.pi * variance) + jnp.square(ys - mean) / variance)


def _losses(prediction: Prediction, prompt: Prompt, space: Space, steps: int) -> dict[str, Float[Array, "P S"]]:
    if not categorical(space):
        mean, target = prediction.as_mean(space), prompt.scores.astype(jnp.float32)
        _same_shape(mean, target)
        losses = {"squared_error": _sum(jnp.square(mean - target), steps)}
        if prediction.variance is not None:
            losses["nll_gaussian"] = _sum(gaussian_nll(target, mean, prediction.variance, steps), steps)
        density = getattr(prediction, "log_density", None)
        if density is not None:
            losses["nll"] = -_sum(density(target), steps)
        return losses
    log_probs = prediction.as_log_probs(space)
    target = _one_hot(prompt.scores, prompt.ys, space)
    _same_shape(log_probs, target)
    likely = (log_probs == jnp.max(log_probs, -1, keepdims=True)).astype(jnp.float32)
    right = jnp.sum(likely * target, -1) / jnp.sum(likely, -1)
    surprise = jnp.where(target > 0, -target * jnp.where(target > 0, log_probs, 0.0), 0.0)
    entries = right.size // (prompt.points * steps)
    return {"nll": _sum(surprise, steps), "accuracy": _sum(right, steps) / entries}


def _one_hot(scores: Shaped[Array, "..."], shown: Shaped[Array, "..."], space: Space) -> Float[Array, "... C"]:
    """Targets as distributions; targets with one axis more than the outputs already are."""
    if scores.ndim > shown.ndim:
        return scores
    index = scores if isinstance(space, Symbols) else (scores > 0).astype(jnp.int32)
    return jax.nn.one_hot(index, space.n if isinstance(space, Symbols) else 2, dtype=jnp.float32)


def _sum(values: Float[Array, "P ..."], steps: int) -> Float[Array, "P S"]:
    return jnp.sum(values.reshape(values.shape[0], steps, -1), -1)


def _same_shape(prediction: Array, target: Array) -> None:
    if prediction.shape != target.shape:
        raise ValueError(f"a prediction for this prompt has shape {target.shape}, got {prediction.shape}")


def log_density(predictor: Any) -> Callable[[Prompt], Array] | None:
    """The predictor's own log p(y_k | ...), also where the predictor is `task.bayes`; None where it has none."""
    owner = getattr(predictor, "__self__", None)
    if isinstance(owner, FunctionClass):
        return owner.log_predictive if predictor.__func__.__name__ == "bayes" else None
    return getattr(predictor, "log_predictive", None)
