"""Masks that ask for no more than a state: a sequence, and tokens that each continue it from some place.

Layout `joint` with a query for every position is one: context tokens follow each other, and query k sees the k context
tokens before it and itself, so it continues the state after context token k - 1 and nothing continues its own. Whatever
has a state, or weights that depend on places alone, can compute all of this in one pass.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree, Shaped

Visible = Bool[Array, "T T"] | Bool[np.ndarray, "T T"]
"""Entry [i, j] is true where token i may attend to token j."""


class Fork(NamedTuple):
    """The first `trunk` tokens each continue the one before. `follows` has for every later token, a leaf, the trunk
    token that it continues, -1 for none; nothing continues a leaf."""

    trunk: int
    follows: Int[np.ndarray, "N"]

    @property
    def places(self) -> Int[np.ndarray, "T"]:
        """How many tokens every token continues."""
        return np.concatenate([np.arange(self.trunk), self.follows + 1])

    def split(self, parts: PyTree) -> tuple[PyTree, PyTree]:
        """Arrays of the trunk, and of the leaves."""
        return jax.tree.map(lambda a: a[: self.trunk], parts), jax.tree.map(lambda a: a[self.trunk :], parts)


def fork_of(visible: Bool[np.ndarray, "T T"]) -> Fork | None:
    """The fork in which every token sees itself and what it continues; None where the mask is no fork."""
    length = len(visible)
    counts = np.sum(visible, 1)
    # A token of the trunk sees as many tokens as its place says; the first that sees fewer is a leaf.
    trunk = int(np.argmax([*(counts != np.arange(1, length + 1)), True]))
    fork = Fork(trunk, counts[trunk:] - 2)
    if np.any(fork.follows < -1) or np.any(fork.follows >= trunk):
        return None
    return fork if np.array_equal(visible, mask_of(fork)) else None


def mask_of(fork: Fork) -> Bool[np.ndarray, "T T"]:
    """The tokens that each token continues, and itself."""
    length = len(fork.places)
    tokens = np.arange(length)
    before = (tokens[None, :] < fork.places[:, None]) & (tokens[None, :] < fork.trunk)
    return before | np.eye(length, dtype=bool)


def needs_fork(visible: Visible | None) -> Fork | None:
    """The fork of a mask, None where it has no leaves: then it is causal. Raises ValueError for any other mask, and for
    one that is not known when the program is built."""
    if visible is None:
        return None
    found = fork_of(visible) if isinstance(visible, np.ndarray) else None
    if found is None:
        words = "a NumPy array in which every token sees itself and what it continues: a sequence, or a part of it"
        raise ValueError(f"this mixer honours no mask but {words} from its start")
    return found if len(found.follows) else None


def after(states: Shaped[Array, "N *s"], start: Shaped[Array, "*s"], fork: Fork) -> Shaped[Array, "L *s"]:
    """What every leaf continues, of `states` after every trunk token and the `start` before them."""
    return jnp.concatenate([start[None], states])[fork.follows + 1]
