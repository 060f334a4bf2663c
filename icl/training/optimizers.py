"""Optimizers give unit-rate descent directions; the learning rate multiplies outside, as data.

So seeds and rates train together in one program, and a schedule is the same thing for every optimizer. These are the
settings; optax is imported when a rule is made (`icl.training.directions`), and no run needs it to be opened.
"""

from typing import TYPE_CHECKING, ClassVar

from function_classes.fields import Fields, setting
from function_classes.registry import Registry

if TYPE_CHECKING:
    import optax


class Optimizer(Fields):
    """`default_rate` is the learning rate a run gets when none is named."""

    registry: ClassVar[Registry] = Registry("optimizer", "icl.training.optimizers", "icl.optimizers")
    default_rate: ClassVar[float] = 1e-3

    def rule(self) -> "optax.GradientTransformation":
        """The optax transformation of gradients to directions."""
        raise NotImplementedError

    def transform(self) -> "optax.GradientTransformation":
        """Gradients to directions d; parameters become p - rate * d. Works where JAX's strict promotion is on, which
        optax itself does not."""
        from icl.training import directions

        return directions.promoting(self.rule())


@Optimizer.registry.add("adam", papers=("kingma-2014",))
class Adam(Optimizer):
    """d = m / (sqrt(v) + eps) with bias-corrected moments."""

    b1: float = setting(0.9, "decay of the first moment", at_least=0, below=1)
    b2: float = setting(0.999, "decay of the second moment", at_least=0, below=1)
    eps: float = setting(1e-8, "added to the root of the second moment", above=0)

    def rule(self) -> "optax.GradientTransformation":
        from icl.training import directions

        return directions.adam(self.b1, self.b2, self.eps)


@Optimizer.registry.add("adamw", papers=("loshchilov-2017",))
class AdamW(Optimizer):
    """Adam's direction plus weight_decay * p: decoupled decay, on the weights of linear maps only. Biases, norms, codes
    of positions and what sets the time scales of recurrences stay as they are."""

    version = 2
    b1: float = setting(0.9, "decay of the first moment", at_least=0, below=1)
    b2: float = setting(0.999, "decay of the second moment", at_least=0, below=1)
    eps: float = setting(1e-8, "added to the root of the second moment", above=0)
    weight_decay: float = setting(0.01, "multiplies the parameters", at_least=0)

    def rule(self) -> "optax.GradientTransformation":
        from icl.training import directions

        return directions.adamw(self.b1, self.b2, self.eps, self.weight_decay)


@Optimizer.registry.add("sgd")
class SGD(Optimizer):
    """d = g + momentum * d_previous."""

    default_rate: ClassVar[float] = 1e-2
    momentum: float = setting(0.9, "share of the previous direction that is kept", at_least=0, below=1)

    def rule(self) -> "optax.GradientTransformation":
        from icl.training import directions

        return directions.sgd(self.momentum)


@Optimizer.registry.add("muon", papers=("jordan-2024", "liu-2025", "boissin-2025"))
class Muon(Optimizer):
    """Orthogonalized momentum for the weight matrices of the blocks, Adam for everything else.

    A matrix's Nesterov momentum is replaced by its polar factor (four Newton-Schulz steps after an almost orthogonal
    preconditioner, which do what five do without it: Boissin et al. 2025) times .2 sqrt(max(rows, columns)), which
    gives updates the size of Adam's, so one learning rate serves both (Liu et al. 2025). Matrices are found by path (a
    `weight` below `blocks`), the last two axes of a leaf being the matrix.
    """

    default_rate: ClassVar[float] = 5e-3
    momentum: float = setting(0.95, "decay of the momentum", at_least=0, below=1)
    b1: float = setting(0.9, "decay of Adam's first moment", at_least=0, below=1)
    b2: float = setting(0.999, "decay of Adam's second moment", at_least=0, below=1)

    def rule(self) -> "optax.GradientTransformation":
        from icl.training import directions

        return directions.muon(self.momentum, self.b1, self.b2)
