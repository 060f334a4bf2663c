"""Prompts with one query, the last example: what a learner answers there, and what gradient descent would.

Losses are half the squared error of the query (von Oswald et al. 2022).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from function_classes.base import Prompt
from icl.models.base import Learner


@jax.jit
def descend(prompts: Prompt, steps: Array | int, rate: Array | float, gamma: Array | float = 0.0) -> Float[Array, "B"]:
    """The query's prediction after that many steps from w = 0 on 1/(2N) sum (w'x - y)^2; with gamma, of GD++, where
    each step also takes x <- (I - gamma X'X) x, for context and query."""

    def one(prompt: Prompt) -> Array:
        size = prompt.points - 1

        def step(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            xs, residuals, answer = state
            weights = xs @ xs[:size].T
            moved = rate / size * weights @ residuals
            return xs - gamma * weights @ xs[:size], residuals - moved[:size], answer + moved[size]

        start = prompt.xs, prompt.ys[:size], jnp.zeros((), prompt.xs.dtype)
        return jax.lax.fori_loop(0, steps, step, start)[2]

    return jax.vmap(one)(prompts)


def half(answers: Float[Array, "B"], prompts: Prompt) -> Float[Array, "B"]:
    return 0.5 * (answers - prompts.ys[:, -1]) ** 2


@jax.jit
def answer(learner: Learner, prompts: Prompt) -> Float[Array, "B"]:
    mean = learner.batched(prompts).mean
    assert mean is not None
    return mean[:, -1]


@jax.jit
def slopes(learner: Learner, prompts: Prompt) -> Float[Array, "B D"]:
    """d prediction / d query."""

    def total(queries: Array) -> Array:
        changed = Prompt(prompts.xs.at[:, -1].set(queries), prompts.ys)
        return jnp.sum(answer(learner, changed))

    return jax.grad(total)(prompts.xs[:, -1])


def losses(learners: Sequence[Learner], prompts: Prompt) -> np.ndarray:
    """Half the squared error of the query, (seed, prompt)."""
    return np.stack([np.asarray(half(answer(learner, prompts), prompts)) for learner in learners])
