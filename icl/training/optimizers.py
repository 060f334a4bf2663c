"""Optimizers give unit-rate descent directions; the learning rate multiplies outside, as data.

So seeds and rates train together in one program, and a schedule is the same thing for every optimizer.
"""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from function_classes.fields import Fields, setting
from function_classes.registry import Registry


class Optimizer(Fields):
    """`default_rate` is the learning rate a run gets when none is named."""

    registry: ClassVar[Registry] = Registry("optimizer", "icl.training", "icl.optimizers")
    default_rate: ClassVar[float] = 1e-3

    def rule(self) -> optax.GradientTransformation:
        """The optax transformation of gradients to directions."""
        raise NotImplementedError

    def transform(self) -> optax.GradientTransformation:
        """Gradients to directions d; parameters become p - rate * d. Works where JAX's strict promotion is on, which
        optax itself does not."""
        rule = self.rule()

        def init(params: Any) -> Any:
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                return rule.init(params)

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                return rule.update(updates, state, params)

        return optax.GradientTransformation(init, update)


@Optimizer.registry.add("adam", papers=("kingma-2014",))
class Adam(Optimizer):
    """d = m / (sqrt(v) + eps) with bias-corrected moments."""

    b1: float = setting(0.9, "decay of the first moment", at_least=0, below=1)
    b2: float = setting(0.999, "decay of the second moment", at_least=0, below=1)
    eps: float = setting(1e-8, "added to the root of the second moment", above=0)

    def rule(self) -> optax.GradientTransformation:
        return _flat(optax.scale_by_adam(self.b1, self.b2, self.eps))


@Optimizer.registry.add("adamw", papers=("loshchilov-2017",))
class AdamW(Optimizer):
    """Adam's direction plus weight_decay * p: decoupled decay, on the weights of linear maps only. Biases, norms, codes
    of positions and what sets the time scales of recurrences stay as they are."""

    version = 2
    b1: float = setting(0.9, "decay of the first moment", at_least=0, below=1)
    b2: float = setting(0.999, "decay of the second moment", at_least=0, below=1)
    eps: float = setting(1e-8, "added to the root of the second moment", above=0)
    weight_decay: float = setting(0.01, "multiplies the parameters", at_least=0)

    def rule(self) -> optax.GradientTransformation:
        decay = optax.add_decayed_weights(self.weight_decay, mask=_matrices)
        return optax.chain(_flat(optax.scale_by_adam(self.b1, self.b2, self.eps)), decay)


@Optimizer.registry.add("sgd")
class SGD(Optimizer):
    """d = g + momentum * d_previous."""

    default_rate: ClassVar[float] = 1e-2
    momentum: float = setting(0.9, "share of the previous direction that is kept", at_least=0, below=1)

    def rule(self) -> optax.GradientTransformation:
        return _flat(optax.trace(self.momentum))


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

    def rule(self) -> optax.GradientTransformation:
        def dimensions(params: Any) -> Any:
            return jax.tree.map(lambda a: contrib.MuonDimensionNumbers(a.ndim - 2, a.ndim - 1), params)

        def rescale(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            return jax.tree.map(lambda u: 0.2 * math.sqrt(max(u.shape[-2:])) * u, updates), state

        matrices = optax.chain(
            contrib.scale_by_muon(
                ns_steps=4, beta=self.momentum, preconditioning="aol", weight_dimension_numbers=dimensions
            ),
            optax.GradientTransformation(lambda params: optax.EmptyState(), rescale),
        )
        matrices, rest = _stacked(matrices), _flat(optax.scale_by_adam(self.b1, self.b2))
        return optax.partition({"matrix": matrices, "rest": rest}, _labels)


def _flat(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optax.flatten`, also where a model has no leaf for the rule."""
    flat = optax.flatten(inner)

    def init(params: Any) -> Any:
        return (flat if jax.tree.leaves(params) else inner).init(params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return (flat if jax.tree.leaves(updates) else inner).update(updates, state, params)

    return optax.GradientTransformation(init, update)


def _stacked(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Applies `inner` to the leaves of one shape as one leaf with a new first axis: the matrices of all layers go
    through Newton-Schulz together. (As `optax.flatten` does for elementwise rules: on small models the many small
    kernels of many leaves cost more than the arithmetic.)"""

    def stack(tree: Any) -> dict[str, Any]:
        groups: dict[str, list[Any]] = {}
        for leaf in jax.tree.leaves(tree):
            groups.setdefault("x".join(map(str, leaf.shape)), []).append(leaf)
        return {shape: jnp.stack(leaves) for shape, leaves in groups.items()}

    def unstack(groups: Any, like: Any) -> Any:
        left = {shape: list(stacked) for shape, stacked in groups.items()}
        return jax.tree.map(lambda leaf: left["x".join(map(str, leaf.shape))].pop(0), like)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        found, state = inner.update(stack(updates), state, None if params is None else stack(params))
        return unstack(found, updates), state

    return optax.GradientTransformation(lambda params: inner.init(stack(params)), update)


def _labels(params: Any) -> Any:
    def label(path: tuple[Any, ...], leaf: Any) -> str:
        return "matrix" if "blocks" in _words(path) and _is_weight(path, leaf) else "rest"

    return jax.tree_util.tree_map_with_path(label, params)


def _matrices(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(_is_weight, params)


def _is_weight(path: tuple[Any, ...], leaf: Any) -> bool:
    return _words(path)[-1:] == ["weight"] and leaf.ndim >= 2


def _words(path: tuple[Any, ...]) -> list[str]:
    return [str(getattr(part, "name", getattr(part, "key", getattr(part, "idx", "")))) for part in path]
