"""What a layout is: tokens, the positions where predictions are read, position ids and the visibility mask."""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from function_classes.base import FunctionClass, Prompt
from function_classes.fields import Fields
from function_classes.registry import Registry
from function_classes.spaces import Nothing, Space


class Signature(NamedTuple):
    """What a layout and a head must know of a function class: spaces of x and y, and S targets per example."""

    x: Space
    y: Space
    steps: int

    @classmethod
    def of(cls, task: FunctionClass) -> "Signature":
        return cls(task.x_space, task.y_space, task.steps)


class Pass(NamedTuple):
    """What one pass for one position shows: `Layout.single`."""

    tokens: Float[Array, "T F"]
    position_ids: Int[Array, "T"]
    visible: Bool[Array, "T T"]


class Layout(Fields):
    """Tokens of one prompt, and where its predictions are read. All but `tokens` and `single` depend on sizes alone
    (NumPy)."""

    registry: ClassVar[Registry] = Registry("layout", "icl.layouts", "icl.layouts")

    def refuses(self, signature: Signature) -> str | None:
        """None, or why this layout cannot hold prompts of such a class."""
        if isinstance(signature.x, Nothing):
            return f"layout {self.name!r} needs inputs, and streams have none; use --layout stream"
        if signature.steps > 1:
            return f"layout {self.name!r} holds one target per example, not {signature.steps}; use --layout interleaved"
        return None

    def features(self, signature: Signature) -> int:
        """F, the number of channels of a token."""
        raise NotImplementedError

    def length(self, points: int, signature: Signature) -> int:
        """T, the number of tokens of a prompt with that many positions."""
        raise NotImplementedError

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        raise NotImplementedError

    def read(self, points: int, signature: Signature) -> np.ndarray:
        """Token index of prediction k, or of (k, s): integers of shape (P,) or (P, S)."""
        raise NotImplementedError

    def position_ids(self, points: int, signature: Signature) -> np.ndarray:
        """(T,) integers that choose the rows of a table of positions."""
        return np.arange(self.length(points, signature))

    def visible(self, points: int, signature: Signature) -> np.ndarray | None:
        """(T, T) booleans, entry [i, j] true where token i may attend to token j; None means j <= i."""
        return None

    def predicted(self, points: int, signature: Signature) -> np.ndarray | None:
        """(P,) booleans, the positions that one pass predicts; None: all. Where it is not None, training has a loss at
        these positions only, and `single` makes the pass for any other."""
        return None

    def single(self, prompt: Prompt, signature: Signature, k: Int[Array, ""]) -> Pass:
        """The pass that predicts position k alone, in its last token. Nothing later than k is in its tokens."""
        raise NotImplementedError

    def slot(self, signature: Signature) -> slice | None:
        """The channels that hold y in tokens that show it and 0 in tokens that ask for it; None: there are none."""
        return None


def examples(prompt: Prompt, signature: Signature) -> tuple[Float[Array, "P X"], Float[Array, "P *s Y"]]:
    return signature.x.encode(prompt.xs), signature.y.encode(prompt.ys)


def previous(rows: Float[Array, "P F"]) -> Float[Array, "P F"]:
    """Row k holds what row k-1 held; the first is zeros: 'no previous label' is not class 0."""
    return jnp.concatenate([jnp.zeros_like(rows[:1]), rows[:-1]])
