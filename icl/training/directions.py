"""Rules from gradients to descent directions, made with optax, for the settings in `icl.training.optimizers`.

Here alone optax is imported. Numbers may be traced: they are data of a compiled program.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib


def promoting(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """The rule, where JAX's strict promotion is on: optax itself needs the usual one."""

    def init(params: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return rule.init(params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return rule.update(updates, state, params)

    return optax.GradientTransformation(init, update)


def adam(b1: Any, b2: Any, eps: Any) -> optax.GradientTransformation:
    return _flat(optax.scale_by_adam(b1, b2, eps))


def adamw(b1: Any, b2: Any, eps: Any, weight_decay: Any) -> optax.GradientTransformation:
    decay = optax.add_decayed_weights(weight_decay, mask=_matrices)
    return optax.chain(_flat(optax.scale_by_adam(b1, b2, eps)), decay)


def sgd(momentum: Any) -> optax.GradientTransformation:
    return _flat(optax.trace(momentum))


def muon(momentum: Any, b1: Any, b2: Any) -> optax.GradientTransformation:
    """Matrices of one shape go through Newton-Schulz together; all other leaves have Adam's rule."""

    def dimensions(params: Any) -> Any:
        return jax.tree.map(lambda a: contrib.MuonDimensionNumbers(a.ndim - 2, a.ndim - 1), params)

    def rescale(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(lambda u: 0.2 * math.sqrt(max(u.shape[-2:])) * u, updates), state

    matrices = optax.chain(
        contrib.scale_by_muon(ns_steps=4, beta=momentum, preconditioning="aol", weight_dimension_numbers=dimensions),
        optax.GradientTransformation(lambda params: optax.EmptyState(), rescale),
    )
    matrices, rest = _stacked(matrices), _flat(optax.scale_by_adam(b1, b2))
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
