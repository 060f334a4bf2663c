"""A head: a mean, squashed to a range."""

import jax.numpy as jnp

from function_classes import Prediction
from function_classes.fields import setting
from icl.models.heads import Head, HeadConfig


@HeadConfig.registry.add("my-bounded")
class Bounded(HeadConfig):
    bound: float = setting(10.0, "largest answer", above=0)

    def make(self, task):
        return BoundedHead(self.bound)


class BoundedHead(Head):
    bound: float

    def read(self, outputs, space, lead):
        return Prediction(mean=self.bound * jnp.tanh(outputs.reshape(*lead, *space.shape) / self.bound))

    @property
    def states_density(self):
        return False
