"""An optimizer from optax: the sign of the momentum."""

import optax

from function_classes.fields import setting
from icl.training.optimizers import Optimizer


@Optimizer.registry.add("my-lion")
class Lion(Optimizer):
    default_rate = 3e-4
    b1: float = setting(0.9, "weight of the momentum in the direction", at_least=0, below=1)

    def rule(self):
        return optax.scale_by_lion(self.b1, 0.99)
