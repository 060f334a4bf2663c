"""What architectures around a stack of mixers share: which mixer stands in which layer, and what that refuses."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.base import FunctionClass
from function_classes.fields import Problem, setting
from icl.layouts import Signature
from icl.models.base import ModelConfig
from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.fork import fork_of
from icl.models.mixers.order import Order
from icl.models.mixers.recurrence import Recurrence
from icl.models.mixers.softmax import SoftmaxAttention
from icl.models.parts import Init

# Points that tables by position hold at least.
ROOM = 64


class Stacked(ModelConfig):
    """`depth` layers, each with `mixer`, or each with its own of `mixers`."""

    rematerializes: ClassVar[bool] = True
    depth: int = setting(4, "number of blocks, L", at_least=1, at_most=1024)
    heads: int = setting(8, "attention heads, H; must divide width", at_least=1)
    mixer: MixerConfig = setting(SoftmaxAttention(), "what mixes tokens")
    mixers: tuple[MixerConfig, ...] = setting((), "the mixer of every block, where they differ; empty: mixer")

    def problems(self):
        if self.mixers and len(self.mixers) != self.depth:
            words = f"must be one for each of the {self.depth} layers, got {len(self.mixers)}"
            yield Problem("mixers", f"{words}; give {self.depth} of them, or depth = {len(self.mixers)}")
        usual = next(f.default for f in dataclasses.fields(self) if f.name == "mixer")
        if self.mixers and self.mixer != usual:
            yield Problem("mixer", f"is not read where mixers names that of every layer; leave {self.mixer.name} out")

    @property
    def stack(self) -> tuple[MixerConfig, ...]:
        """The mixer of every layer."""
        return self.mixers or (self.mixer,) * self.depth

    @property
    def bounded(self) -> tuple[str, ...]:
        """The mixers whose parameters bound the length of a prompt."""
        return tuple(dict.fromkeys(mixer.name for mixer in self.stack if mixer.bounded))

    def room(self, task: FunctionClass) -> int:
        """Points that tables by position hold. Rows past the trained length cost nothing and leave the others
        bit-equal; they let a run be asked what it does there."""
        return self.max_points or max(task.points, ROOM)

    def place(self, task: FunctionClass, width: int, init: Init, order: Order = "none") -> Place:
        """Where every mixer stands."""
        length = self.layout.length(self.room(task), Signature.of(task))
        return Place(width, self.heads, self.depth, length, init, order)

    def refuse_mixers(self, task: FunctionClass, width: int, visible: bool = True) -> list[tuple[str, str]]:
        """Mixers whose sizes do not fit, or which cannot hide what the layout hides (asked only if `visible`: of a
        layout that fits the task). A recurrence can where tokens continue a sequence, as the queries of `joint` do."""
        reasons = [mixer.refuses(width, self.heads) for mixer in self.stack]
        found = [("heads", reason) for reason in dict.fromkeys(reasons) if reason]
        if not visible:
            return found
        # With fewer points a mask may look like one that it is not.
        mask = self.layout.visible(max(task.points, 3), Signature.of(task))
        forked = mask is not None and fork_of(mask) is not None
        blind = [mixer.name for mixer in self.stack if not (mixer.supports_visibility or (mixer.forks and forked))]
        if blind and mask is not None:
            names = ", ".join(dict.fromkeys(blind))
            sees = [n for n in MixerConfig.registry.names() if MixerConfig.registry.find(n).supports_visibility]
            if forked:
                words, instead = f"asks every query of its own context, which {names} cannot do", ""
            else:
                words = f"has tokens that see later ones, or not themselves, which {names} cannot do"
                instead = "use query every where a query sees itself, "
            words = f"layout {self.layout.name!r} {words}; {instead}take layout paired, shifted or interleaved"
            found.append(("mixer", f"{words}, or one of {', '.join(sees)}"))
        return found


def narrowed(tree: Any, dtype: jnp.dtype) -> Any:
    """Arrays in the compute type of a network. Recurrences compute in float32, and keep parameters in it: rates near 1
    and small steps would be rounded to others."""
    if dtype == jnp.float32:
        return tree
    recurrent = lambda node: isinstance(node, Recurrence)  # noqa: E731
    return jax.tree.map(lambda a: a if recurrent(a) else a.astype(dtype), tree, is_leaf=recurrent)


def in_turn(
    step: Callable[[Any, Float[Array, "B T E"], tuple[int, ...] | None], Float[Array, "B R E"]],
    blocks: Sequence[Any],
    x: Float[Array, "B T E"],
    rows: tuple[int, ...] | None,
    remat: bool,
) -> Float[Array, "B R E"]:
    """x after all blocks, step(block, x, rows); only the last one has rows that matter.

    With `remat` what happens inside of a block is computed again for the gradient. Blocks that differ in their weights
    alone are then scanned over, because a compiler that sees all of them at once may keep what it should forget.
    """
    *early, last = blocks
    inner = lambda block, x: step(block, x, None)  # noqa: E731
    if not remat:
        for block in early:
            x = inner(block, x)
        return step(last, x, rows)
    parts = [eqx.partition(block, eqx.is_array) for block in early]
    if parts and all(_shapes(part) == _shapes(parts[0]) for part in parts):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(arrays for arrays, _ in parts))
        again = jax.checkpoint(lambda x, arrays: inner(eqx.combine(arrays, parts[0][1]), x))
        x = jax.lax.scan(lambda x, arrays: (again(x, arrays), None), x, stacked)[0]
    else:
        for block in early:
            x = jax.checkpoint(inner)(block, x)
    return jax.checkpoint(step, static_argnums=2)(last, x, rows)


def _shapes(part: tuple[Any, Any]) -> Any:
    """What two blocks must have in common to be one program: shapes and types of arrays, and everything else."""
    arrays, rest = part
    leaves = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arrays)]
    return leaves, jax.tree.structure(arrays), jax.tree.leaves(rest)


def recomputing(network: Any) -> Any:
    """The same network with `remat` in training."""
    inner = getattr(network, "inner", None)
    if inner is not None:
        return dataclasses.replace(network, inner=recomputing(inner))
    # A network's constructor draws weights: what has some is copied.
    again = copy.copy(network)
    object.__setattr__(again, "remat", True)
    return again
