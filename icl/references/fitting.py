"""References that are fitted anew, from nothing, for every prefix: slow, hence with a schedule of refits.

A fit on the first r examples gives a function, and position k uses the last fit with r <= k. With `refit` (4, 16) say,
positions 0 to 3 predict 0, 4 to 15 use the first 4 examples and all others the first 16: every position has a
prediction, none has seen what it may not, and at k = 4 and k = 16 it is the learner itself.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.fields import Problem, setting
from icl.references.base import Reference, vectors_to_numbers


class FittedReference(Reference):
    """What they share. Subclasses say how one fit predicts all rows; those from r on are queries alone."""

    reads = "vectors"

    cost: ClassVar[Literal["cheap", "slow"]] = "slow"

    refit: tuple[int, ...] = setting((), "numbers of examples at which it is fitted; none given: all", at_least=0)

    @property
    def refits(self) -> str:
        """The schedule in the words of a label."""
        return f", fitted at {','.join(map(str, self.refit))}" if self.refit else ""

    def problems(self) -> Iterable[Problem]:
        if any(b <= a for a, b in zip(self.refit, self.refit[1:], strict=False)):
            yield Problem("refit", f"must rise, got {', '.join(map(str, self.refit))}")

    def applies(self, task: FunctionClass) -> str | None:
        reason = vectors_to_numbers(self.name, task)
        if reason is None and self.refit and self.refit[-1] >= task.points:
            return f"{self.name} is to be fitted at {self.refit[-1]} examples, {task.name} has {task.points} positions"
        return reason

    def fit(self, xs: Float[Array, "P D"], ys: Float[Array, "P"], seen: Int[Array, ""]) -> Float[Array, "P"]:
        """Predictions at all rows of xs from a fit on the first `seen`. Later rows of ys are 0."""
        raise NotImplementedError

    def __call__(self, prompt: Prompt) -> Prediction:
        xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
        places = np.arange(prompt.points)
        marks = np.array([r for r in self.refit or places if 0 < r < prompt.points], int)
        if len(marks) == 0:
            return Prediction(mean=jnp.zeros(prompt.points))

        def one(seen: Int[Array, ""]) -> Float[Array, "P"]:
            return self.fit(xs, jnp.where(places < seen, ys, 0.0), seen)

        fits = jax.lax.map(one, jnp.asarray(marks, jnp.int32))
        latest = np.searchsorted(marks, places, side="right") - 1
        return Prediction(mean=jnp.where(latest >= 0, fits[np.maximum(latest, 0), places], 0.0))
