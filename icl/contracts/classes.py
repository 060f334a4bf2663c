"""What a function class promises. A check takes a class with its fields and raises AssertionError where it fails."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from function_classes import own, plain
from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.fields import build
from function_classes.spaces import Real
from icl.better import beats_bayes
from icl.contracts.interventions import Interventions, gradient_leaks, losses
from icl.programs import predict

PROMPTS = 2048
FEW = 16


def draws_what_its_spaces_say(task: FunctionClass) -> None:
    own.values(task)


def is_written_down_and_read_again(task: FunctionClass) -> None:
    again = build(FunctionClass, json.loads(json.dumps(plain.dump(task))))
    assert again == task, f"{again!r} came back for {task!r}"


def draws_the_same_for_a_key_and_others_for_another(task: FunctionClass) -> None:
    one, again, other = (np.asarray(task.batch(jax.random.key(seed), FEW).ys) for seed in (0, 0, 1))
    assert one.tobytes() == again.tobytes(), "one key drew two different batches: use no other randomness"
    assert one.tobytes() != other.tobytes(), "two keys drew the same batch: does sample_latent use its key?"


def reads_nothing_that_is_revealed_later(task: FunctionClass) -> None:
    """Its Bayes, when what comes later is replaced, by NaN too; and its gradient."""
    prompts = task.batch(jax.random.key(2), FEW)
    found = Interventions(task.bayes, prompts, task.steps).leaks()
    words = [f"{at} move when what is revealed later is {kind}" for kind, at in found.items() if at]
    assert not words, f"predictions (position, step) {'; '.join(words)}"
    one: Prompt = jax.tree.map(lambda a: a[0], prompts)
    slopes = gradient_leaks(task.bayes, one, task.steps)
    assert not slopes, f"derivatives that should be 0: {', '.join(slopes[:3])}"


def has_the_errors_that_it_says(task: FunctionClass) -> None:
    """Squared errors of Bayes have its variance, surprises its entropy, at every position, within 5 standard errors."""
    prompts = task.batch(jax.random.key(3), PROMPTS)
    found = residuals(task, prompts, predict(task.bayes, prompts))
    allowed = 5 * found.std(0, ddof=1) / np.sqrt(len(found)) + 1e-4
    wrong = np.flatnonzero(np.abs(found.mean(0)) > allowed)
    name = "(y - mean)^2 / variance - 1" if isinstance(task.y_space, Real) else "-log p(y) - entropy"
    at = int(wrong[0]) if len(wrong) else 0
    assert not len(wrong), f"{name} should be 0 on average, and is {found.mean(0)[at]:.3g} at position {at}"


def is_beaten_by_no_other_learner(task: FunctionClass) -> None:
    """No bolder and no more timid version of its Bayes is better than it."""
    prompts = task.batch(jax.random.key(4), PROMPTS)
    bayes = predict(task.bayes, prompts)
    own_losses, nats = losses(task, prompts, bayes), not isinstance(task.y_space, Real)
    for factor in (0.9, 1.1):
        other = losses(task, prompts, tempered(task, bayes, factor))
        way = "more timid" if factor < 1 else "bolder"
        assert not beats_bayes(other, own_losses, nats=nats).beats, f"a learner that is a tenth {way} is better"


EVERY = (draws_what_its_spaces_say, is_written_down_and_read_again, draws_the_same_for_a_key_and_others_for_another)
WITH_BAYES = (reads_nothing_that_is_revealed_later,)
WITH_EXACT_BAYES = (has_the_errors_that_it_says, is_beaten_by_no_other_learner)


def tempered(task: FunctionClass, bayes: Prediction, factor: float) -> Prediction:
    """Bayes made bolder or more timid: the mean multiplied, or probabilities raised to a power."""
    if isinstance(task.y_space, Real):
        return Prediction(mean=factor * bayes.as_mean(task.y_space))
    powers = factor * jnp.maximum(bayes.as_log_probs(task.y_space), -100.0)
    return Prediction(log_probs=jax.nn.log_softmax(powers))


def residuals(task: FunctionClass, prompts: Prompt, bayes: Prediction) -> np.ndarray:
    """(N, places): zero on average at every place where Bayes is the posterior of this very generator.

    Real outputs: (y - mean)^2 / variance - 1. Others: -log p(target) minus the entropy Bayes claims for it.
    """
    space, count = task.y_space, len(prompts.ys)
    if isinstance(space, Real):
        scores, mean, variance = (np.asarray(a, np.float64) for a in (prompts.scores, bayes.mean, bayes.variance))
        return ((scores - mean) ** 2 / variance - 1).reshape(count, -1)
    log_probs = np.maximum(np.asarray(bayes.as_log_probs(space), np.float64), -1e3)
    entropy = -(np.exp(log_probs) * log_probs).sum(-1)
    everywhere = Prompt(prompts.xs, prompts.ys, None, prompts.targets)
    found: Any = losses(task, everywhere, bayes) - entropy
    if getattr(task, "sampler", "") == "paper":
        # Whether a symbol counts depends on the symbol; Bayes is its law given that it does.
        found = found * np.asarray(prompts.scored)
    return found.reshape(count, -1)
