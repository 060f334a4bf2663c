"""A schedule: the rate falls as one over the root of the step."""

import jax.numpy as jnp

from function_classes.fields import setting
from icl.training.schedules import Schedule


@Schedule.registry.add("my-root")
class Root(Schedule):
    after: int = setting(10, "steps at the full rate", at_least=1)

    def factor(self, step, steps):
        return jnp.minimum(1.0, jnp.sqrt(self.after / (jnp.asarray(step, jnp.float32) + 1)))

    def prefix(self, steps):
        return steps
