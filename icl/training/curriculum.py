"""A curriculum over input dimensions and prompt points, as in Garg et al. 2022: sizes grow on a fixed clock."""

from typing import cast

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from function_classes.base import FunctionClass, Prompt
from function_classes.fields import Fields, Problem, setting
from function_classes.spaces import Real
from icl.scoring import only


class Curriculum(Fields):
    """At step t, `start + by * (t // every)` dimensions (or points), at most the task's own. None: all from the start.

    A prompt's inputs beyond the current dimension are zero (weights are not truncated); positions beyond the current
    points carry no loss, which for a causal learner equals showing a shorter prompt. Shapes never change, so nothing
    is compiled again.
    """

    dims_start: int | None = setting(
        None, "input dimensions at step 0; none: no curriculum over dimensions", at_least=1
    )
    dims_by: int = setting(1, "dimensions added at every increment", at_least=1)
    dims_every: int = setting(2000, "steps between increments of the dimension", at_least=1)
    points_start: int | None = setting(None, "points at step 0; none: no curriculum over points", at_least=1)
    points_by: int = setting(2, "points added at every increment", at_least=1)
    points_every: int = setting(2000, "steps between increments of the points", at_least=1)

    def refuses(self, task: FunctionClass) -> list[Problem]:
        """What cannot work with this function class."""
        found = []
        real = isinstance(task.x_space, Real) and len(task.x_space.shape) == 1
        if self.dims_start is not None and not real:
            found.append(Problem("dims_start", f"{task.name} has no input vector whose dimensions could grow"))
        elif self.dims_start is not None and self.dims_start > task.x_space.shape[0]:
            found.append(Problem("dims_start", f"must be at most dim = {task.x_space.shape[0]}, got {self.dims_start}"))
        if self.points_start is not None and self.points_start > task.points:
            found.append(Problem("points_start", f"must be at most points = {task.points}, got {self.points_start}"))
        return found

    def dims(self, step: int | Int[Array, ""], full: int) -> int | Int[Array, ""]:
        return _grow(self.dims_start, self.dims_by, self.dims_every, step, full)

    def points(self, step: int | Int[Array, ""], full: int) -> int | Int[Array, ""]:
        return _grow(self.points_start, self.points_by, self.points_every, step, full)

    def task(self, task: FunctionClass, step: Int[Array, ""]) -> "FunctionClass | Truncated":
        """What draws prompts at this step: inputs are truncated to the current dimensions before outputs are drawn."""
        if self.dims_start is None:
            return task
        full = task.x_space.shape[0]
        kept = (jnp.arange(full) < self.dims(step, full)).astype(jnp.float32)
        return Truncated(task, kept)

    def weights(self, prompts: Prompt, step: Int[Array, ""]) -> Float[Array, "B P *s"] | None:
        """Weights of the loss: those of the prompts, zero beyond the current points."""
        if self.points_start is None:
            return prompts.scored
        points = prompts.ys.shape[1]
        return only(jnp.arange(points) < self.points(step, points), prompts.scored, prompts)


class Truncated(eqx.Module):
    """Draws prompts of a class x -> y with some input coordinates set to zero."""

    task: FunctionClass
    kept: Float[Array, "D"]

    # The draws of the class itself, which find the methods below in place of its own.
    def sample(self, key) -> Prompt:
        return type(self.task).sample(cast(FunctionClass, self), key)

    def sample_prompt(self, latent, key) -> Prompt:
        return FunctionClass.sample_prompt(cast(FunctionClass, self), latent, key)

    def sample_latent(self, key):
        return self.task.sample_latent(key)

    def sample_inputs(self, latent, key):
        return self.task.sample_inputs(latent, key) * self.kept[None]

    def show(self, latent, xs, key):
        return self.task.show(latent, xs, key)


def _grow(start: int | None, by: int, every: int, step, full: int):
    if start is None:
        return full
    grown = start + by * (step // every)
    return min(grown, full) if isinstance(grown, int) else jnp.minimum(grown, full)
