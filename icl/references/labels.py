"""What classifiers of vectors share: how many of every label were seen, their means, and the scatter around these.

Signs are labels 0 (minus) and 1 (plus), symbols are themselves. An example x with label c adds to the scatter within
classes n_c / (n_c + 1) (x - mean_c)(x - mean_c)' with n_c and mean_c from before (Welford), which keeps it accurate and
positive semidefinite in float32.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from function_classes.base import Prompt
from function_classes.spaces import Signs, Space, Symbols


class Seen(NamedTuple):
    """After k examples: counts of labels, sums of x by label, and the scatter within classes."""

    counts: Float[Array, "C"]
    sums: Float[Array, "C D"]
    scatter: Float[Array, "D D"]

    def means(self) -> Float[Array, "C D"]:
        """Of every label; the mean of all examples for a label not seen yet, 0 where there are none."""
        total = jnp.sum(self.counts)
        everything = jnp.sum(self.sums, 0) / jnp.maximum(total, 1.0)
        own = self.sums / jnp.maximum(self.counts, 1.0)[:, None]
        return jnp.where(self.counts[:, None] > 0, own, everything[None, :])

    def log_prior(self, alpha: Array | float) -> Float[Array, "C"]:
        """log (n_c + alpha) / (k + alpha C)."""
        counts = self.counts + alpha
        return jnp.log(counts) - jnp.log(jnp.sum(counts))


def number(space: Space) -> int:
    """C, the number of labels."""
    return space.n if isinstance(space, Symbols) else 2


def one_hot(ys: Shaped[Array, "P"], space: Space) -> Float[Array, "P C"]:
    """Labels as unit vectors."""
    index = (ys > 0).astype(jnp.int32) if isinstance(space, Signs) else ys
    return (index[:, None] == jnp.arange(number(space))[None, :]).astype(jnp.float32)


def scan(
    prompt: Prompt, space: Space, predict: Callable[[Seen, Float[Array, "D"]], Float[Array, "C"]]
) -> Float[Array, "P C"]:
    """predict(what was seen before, x_k) at every position."""
    xs = prompt.xs.astype(jnp.float32)
    labels, dim = number(space), xs.shape[-1]

    def step(seen: Seen, example: tuple[Array, Array]) -> tuple[Seen, Array]:
        x, label = example
        count = jnp.sum(seen.counts * label)
        gap = x - jnp.sum(seen.sums * label[:, None], 0) / jnp.maximum(count, 1.0)
        added = count / (count + 1) * gap[:, None] * gap[None, :]
        after = Seen(seen.counts + label, seen.sums + label[:, None] * x[None, :], seen.scatter + added)
        return after, predict(seen, x)

    start = Seen(jnp.zeros(labels), jnp.zeros((labels, dim)), jnp.zeros((dim, dim)))
    return jax.lax.scan(step, start, (xs, one_hot(prompt.ys, space)))[1]
