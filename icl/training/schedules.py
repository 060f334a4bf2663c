"""Learning-rate schedules: a factor in [0, 1] for every step, computed from the step alone."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from function_classes.fields import Fields, Problem, setting
from function_classes.registry import Registry


class Schedule(Fields):
    """`factor(step, steps)` multiplies the learning rate at 0 <= step < steps. `steps` is data, not static."""

    registry: ClassVar[Registry] = Registry("schedule", "icl.training.schedules", "icl.schedules")

    def factor(self, step: Int[Array, ""], steps: Int[Array, ""]) -> Float[Array, ""]:
        raise NotImplementedError

    def prefix(self, steps: int) -> int:
        """How many first steps are the same for every longer run: where `extend` and `fork` may begin."""
        raise NotImplementedError


@Schedule.registry.add("constant")
class Constant(Schedule):
    """1 after a linear warmup over the first `warmup` steps."""

    warmup: int = setting(0, "steps of linear warmup", at_least=0)

    def factor(self, step: Int[Array, ""], steps: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.minimum(1.0, _real(step + 1) / (self.warmup + 1))

    def prefix(self, steps: int) -> int:
        return steps


@Schedule.registry.add("warmup-stable-decay", papers=("hu-2024",))
class WarmupStableDecay(Schedule):
    """Linear warmup, then 1, then a linear fall to 0 over the last `decay` share of the steps.

    Until the fall begins, n steps are a bitwise prefix of 2n.
    """

    warmup: int = setting(50, "steps of linear warmup", at_least=0)
    decay: float = setting(0.7, "share of the steps over which the rate falls to 0", at_least=0, at_most=1)

    def factor(self, step: Int[Array, ""], steps: Int[Array, ""]) -> Float[Array, ""]:
        rise = _real(step + 1) / (self.warmup + 1)
        fall = _real(steps - step) / jnp.maximum(self.decay * _real(steps), 1.0)
        return jnp.minimum(1.0, jnp.minimum(rise, fall))

    def prefix(self, steps: int) -> int:
        return int(steps - max(self.decay * steps, 1.0))


@Schedule.registry.add("triangle", papers=("raventos-2023",))
class Triangle(Schedule):
    """Linear rise to 1 at `peak` of the steps, then linear fall to 0."""

    peak: float = setting(0.5, "share of the steps at which the rate is highest", above=0, below=1)

    def factor(self, step: Int[Array, ""], steps: Int[Array, ""]) -> Float[Array, ""]:
        done, all_ = _real(step), _real(steps)
        return jnp.minimum((done + 1) / all_ / self.peak, (1 - done / all_) / (1 - self.peak))

    def prefix(self, steps: int) -> int:
        return 0


@Schedule.registry.add("cosine", papers=("akyurek-2022",))
class Cosine(Schedule):
    """Linear warmup over the first `warmup` share of the steps, then half a cosine to 0."""

    warmup: float = setting(0.2, "share of the steps of linear warmup", at_least=0, below=1)

    def factor(self, step: Int[Array, ""], steps: Int[Array, ""]) -> Float[Array, ""]:
        done, all_ = _real(step), _real(steps)
        warm = self.warmup * all_
        rise = (done + 1) / (warm + 1)
        share = jnp.clip((done - warm) / jnp.maximum(all_ - warm, 1.0), 0, 1)
        return jnp.minimum(rise, 0.5 * (1 + jnp.cos(jnp.pi * share)))

    def prefix(self, steps: int) -> int:
        return 0


def _real(step: Int[Array, ""]) -> Float[Array, ""]:
    return jnp.asarray(step, jnp.float32)


def check_warmup(schedule: Schedule, steps: int) -> list[Problem]:
    """A warmup longer than the run would never reach the learning rate."""
    warmup = getattr(schedule, "warmup", 0)
    if isinstance(warmup, int) and warmup >= max(steps, 1) and warmup > 0 and steps > 0:
        return [Problem("schedule.warmup", f"must be below training.steps = {steps}, got {warmup}")]
    return []
