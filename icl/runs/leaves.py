"""Names for the leaves of a pytree: `params.blocks.0.mixer.query`, and back again.

Attributes, dictionary keys and positions are joined with dots; field order and container types do not matter. Flat
dictionaries of NumPy arrays are handled without importing JAX.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np


def name_leaves(tree: Any) -> dict[str, Any]:
    """Path -> leaf, in the order of the tree. Leaves need a `shape` and a `dtype`: TypeError names the first that has
    none (a float, a function, a random key). ValueError where two leaves would have one name."""
    if _flat(tree):
        return dict(sorted(tree.items()))
    import jax

    pairs = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {".".join(_word(key) for key in path): leaf for path, leaf in pairs}
    if len(named) != len(pairs):
        names = [".".join(_word(key) for key in path) for path, _ in pairs]
        raise ValueError(f"two leaves are called {next(n for n in names if names.count(n) > 1)!r}")
    for name, leaf in named.items():
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            raise TypeError(f"leaf {name}: {type(leaf).__name__} is not an array; keep only the arrays of the tree")
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.extended):
            raise TypeError(f"leaf {name}: store jax.random.key_data of a random key, not the key")
    return named


def rebuild(skeleton: Any, values: Mapping[str, np.ndarray]) -> Any:
    """The structure of `skeleton` with its leaves replaced by name: NumPy where they were NumPy, else JAX arrays."""
    if _flat(skeleton):
        return {name: values[name] for name in skeleton}
    import jax

    leaves = [_like(leaf, name, values[name]) for name, leaf in name_leaves(skeleton).items()]
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(skeleton), leaves)


def _like(leaf: Any, name: str, value: np.ndarray) -> Any:
    if isinstance(leaf, np.ndarray):
        return value
    import jax.dtypes
    import jax.numpy as jnp

    if jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype:
        raise TypeError(f"leaf {name}: JAX would cut {value.dtype} down; set jax_enable_x64 or use a NumPy skeleton")
    return jnp.array(value)


def _flat(tree: Any) -> bool:
    return type(tree) is dict and all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in tree.items())


def _word(key: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
