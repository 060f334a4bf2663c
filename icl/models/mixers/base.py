"""What mixes information between tokens: the one interface of attention, recurrences, convolutions and pooling."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from function_classes.fields import Fields
from function_classes.registry import Registry
from icl.models.mixers.fork import Fork, Visible, after, needs_fork
from icl.models.mixers.order import Order
from icl.models.parts import Init


class Place(NamedTuple):
    """Where a mixer stands: sizes of the network around it, the longest sequence it must hold, how weights start, and
    how mixers that compare tokens know their distance."""

    width: int
    heads: int
    depth: int
    length: int
    init: Init = "fan-in"
    order: Order = "none"


class Mixer(eqx.Module):
    """A map of token sequences in which output t depends on tokens <= t, or on the tokens `visible` names.

    `supports_visibility` says whether any mask is honoured, `MixerConfig.forks` whether at least those are in which
    tokens continue a sequence (`Fork`); `exactly_causal` whether later tokens leave earlier outputs bit-equal, among
    `exact_length` tokens at most where they do (None: always) and up to rounding beyond; `max_length` bounds T where
    parameters do.
    """

    supports_visibility: ClassVar[bool] = False
    exact_length: ClassVar[int | None] = None

    @property
    def max_length(self) -> int | None:
        return None

    def exactly_causal(self, length: int) -> bool:
        """Whether later tokens leave earlier outputs bit-equal among so many. Where not, outputs move by rounding: less
        than 1e-5 of the largest number that goes through a convolution."""
        return self.exact_length is None or length <= self.exact_length

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        raise NotImplementedError

    def batched(
        self, x: Float[Array, "B T E"], visible: Visible | None, rows: tuple[int, ...] | None
    ) -> Float[Array, "B R E"]:
        """The same for a batch, for training: only the outputs at `rows` are needed (None: all). Maps of single tokens
        are to be one matrix product over the batch: the backward pass of a `vmap` of small ones takes twice as long."""
        mixed = jax.vmap(lambda one: self(one, visible))(x)
        return mixed if rows is None else mixed[:, np.asarray(rows)]

    @property
    def width(self) -> int:
        """E, which the default state must know."""
        raise NotImplementedError

    def init_state(self, length: int) -> PyTree:
        """What `step` carries before the first token, enough for `length` tokens. Unless a mixer has less to remember:
        the tokens so far, and their number."""
        leaves = jax.tree.leaves(eqx.filter(self, eqx.is_inexact_array))
        dtype = leaves[0].dtype if leaves else None
        return jnp.zeros((length, self.width), dtype), jnp.zeros((), jnp.int32)

    def step(self, x: Float[Array, "E"], state: PyTree) -> tuple[Float[Array, "E"], PyTree]:
        """The output at the next token, and the state after it: what `__call__` gives at that place."""
        seen, count = state
        seen = jax.lax.dynamic_update_index_in_dim(seen, x.astype(seen.dtype), count, 0)
        return jax.lax.dynamic_index_in_dim(self(seen), count, 0, keepdims=False), (seen, count + 1)


class CausalMixer(Mixer):
    """A mixer that honours no mask but a `Fork`. `mixed` is written once, for a sequence and for a batch of them."""

    def mixed(self, x: Float[Array, "*B T E"], fork: Fork | None) -> Float[Array, "*B T E"]:
        """The outputs in causal order, or along a fork."""
        raise NotImplementedError

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        return self.mixed(x, needs_fork(visible))

    def batched(
        self, x: Float[Array, "B T E"], visible: Visible | None, rows: tuple[int, ...] | None
    ) -> Float[Array, "B R E"]:
        mixed = self.mixed(x, needs_fork(visible))
        return mixed if rows is None else mixed[:, np.asarray(rows)]


class MixerConfig(Fields):
    """A choice of mixer. `make` builds the mixer of one layer."""

    registry: ClassVar[Registry] = Registry("mixer", "icl.models.mixers", "icl.mixers")
    # Whether it can honour any mask of visible tokens, whether at least those of a `Fork`, whether it reads
    # `Place.order`, and whether parameters bound the length of a sequence.
    supports_visibility: ClassVar[bool] = False
    forks: ClassVar[bool] = False
    ordered: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    # How the parallel form grows with the tokens T (width E, state N), and which tasks of `icl rank` it should learn.
    cost: ClassVar[str] = ""
    expected: ClassVar[str] = ""

    def refuses(self, width: int, heads: int) -> str | None:
        """None, or why the sizes do not fit."""
        return None

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        raise NotImplementedError


def causal_only(
    mix: Callable[[Float[Array, "*B T E"]], Float[Array, "*B T E"]], x: Float[Array, "*B T E"], fork: Fork | None = None
) -> Float[Array, "*B T E"]:
    """mix(x) for a causal map made of matrix products, where 0 times a later NaN would be NaN: rows that are not finite
    are 0 for the products, and NaN is what they and all rows that continue them give."""
    finite = jnp.all(jnp.isfinite(x), -1)
    spoiled = vmapped(lambda finite: _spoiled(finite, fork), x.ndim - 2)(finite)
    return jnp.where(spoiled[..., None], jnp.nan, mix(jnp.where(finite[..., None], x, 0)))


def _spoiled(finite: Bool[Array, "T"], fork: Fork | None) -> Bool[Array, "T"]:
    """Which rows are not finite or continue one that is not."""
    if fork is None:
        return jnp.cumsum(~finite) > 0
    trunk, leaves = fork.split(~finite)
    trunk = jnp.cumsum(trunk) > 0
    return jnp.concatenate([trunk, after(trunk, jnp.asarray(False), fork) | leaves])


def vmapped(function: Callable[..., PyTree], times: int) -> Callable[..., PyTree]:
    """The function over so many leading axes."""
    for _ in range(times):
        function = jax.vmap(function)
    return function


def reset(state: PyTree, fresh: PyTree, where: Bool[Array, ""]) -> PyTree:
    """The `fresh` state where a new sequence begins, else `state`: several prompts in one row of tokens."""
    return jax.tree.map(lambda new, old: jnp.where(where, new, old), fresh, state)
