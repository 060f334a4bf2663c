"""What of a learner is trained and what stays as it is.

Floating-point arrays that begin finite are trained. All other arrays are constants: integers, booleans (masks,
positions, counters), random keys, and floats that are not finite everywhere (a mask of 0 and -inf). Constants belong to
every stored state as parameters do, so that a run comes back whole whatever module it is opened with.
"""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)


class Anatomy(eqx.Module):
    """How learners of one structure are taken apart, as one of them says. It may be traced: whether floats are finite
    is known where they are numbers."""

    trained: tuple[bool, ...] = eqx.field(static=True)
    keys: tuple[Any, ...] = eqx.field(static=True)

    def __init__(self, whole: Any):
        leaves = jax.tree.leaves(whole)
        self.trained = tuple(map(is_trained, leaves))
        self.keys = tuple(_implementation(leaf) for leaf in leaves)

    def split(self, whole: Any) -> tuple[PyTree, PyTree, PyTree]:
        """Parameters, constants (None where there are none; random keys as their numbers) and what is no array."""
        leaves, structure = jax.tree.flatten(whole)
        kinds = list(zip(leaves, self.trained, strict=True))
        params = [_array(leaf) if trained else None for leaf, trained in kinds]
        constants = [_array(leaf) if isinstance(leaf, ARRAYS) and not trained else None for leaf, trained in kinds]
        rest = [None if isinstance(leaf, ARRAYS) else leaf for leaf in leaves]
        there = any(leaf is not None for leaf in constants)
        return structure.unflatten(params), structure.unflatten(constants) if there else None, structure.unflatten(rest)

    def join(self, params: PyTree, constants: PyTree, rest: PyTree) -> Any:
        """The learner of these parts."""
        if constants is None:
            return eqx.combine(params, rest)
        empty = lambda leaf: leaf is None  # noqa: E731
        leaves, structure = jax.tree.flatten(constants, is_leaf=empty)
        wrapped = iter(
            leaf if implementation is None else jax.random.wrap_key_data(leaf, impl=implementation)
            for leaf, implementation in zip([leaf for leaf in leaves if leaf is not None], self._kept, strict=True)
        )
        filled = structure.unflatten([None if leaf is None else next(wrapped) for leaf in leaves])
        return eqx.combine(params, filled, rest)

    @property
    def _kept(self) -> list[Any]:
        """For every constant, the generator whose key it is, or None."""
        return [key for key, trained in zip(self.keys, self.trained, strict=True) if not trained and key != NO_ARRAY]


NO_ARRAY = "no array"


def is_trained(leaf: Any) -> bool:
    """Whether an array, or what is known of one, is a parameter."""
    if not isinstance(leaf, ARRAYS) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return False
    return isinstance(leaf, jax.ShapeDtypeStruct | jax.core.Tracer) or bool(np.isfinite(_numbers(leaf)).all())


def refuses(module: Any) -> str | None:
    """None, or why a module cannot be trained."""
    named = [
        (jax.tree_util.keystr(path).lstrip("."), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(module)
        if isinstance(leaf, ARRAYS)
    ]
    for name, leaf in named:
        if getattr(leaf.dtype, "kind", "") == "O":
            return f"{name} is an array of Python objects; arrays hold numbers"
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and np.isnan(_numbers(leaf)).any():
            return f"{name} has NaN before the first step; give it finite numbers"
        if is_trained(leaf) and leaf.dtype not in (np.float32, np.float64):
            return (
                f"{name} is {leaf.dtype}, and parameters are float32 throughout; make it float32 "
                "(jax.tree.map over the module) and cast inside __call__ where less is wanted"
            )
    if not any(is_trained(leaf) for _, leaf in named):
        return (
            "it has no parameters (floating-point arrays that are finite); evaluate it as it is with "
            "icl.evaluate({'name': module}, task, key=key)"
        )
    return None


def _implementation(leaf: Any) -> Any:
    known: Any = leaf
    if not isinstance(leaf, ARRAYS):
        return NO_ARRAY
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return None
    return str(jax.random.key_impl(known))


def _array(leaf: Any) -> Any:
    key, shape = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key), isinstance(leaf, jax.ShapeDtypeStruct)
    if key:
        return jax.eval_shape(jax.random.key_data, leaf) if shape else jax.random.key_data(leaf)
    return leaf if shape else jnp.asarray(leaf)


def _numbers(leaf: Any) -> np.ndarray:
    """For NumPy's questions: it knows no bfloat16."""
    array = np.asarray(leaf)
    return array if array.dtype.kind in "fc" else array.astype(np.float32)
