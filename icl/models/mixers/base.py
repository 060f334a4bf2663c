"""What mixes information between tokens: the one interface of attention, recurrences, convolutions and pooling."""

from typing import ClassVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from function_classes.fields import Fields
from function_classes.registry import Registry
from icl.models.parts import Init

Visible = Bool[Array, "T T"] | Bool[np.ndarray, "T T"]
"""Entry [i, j] is true where token i may attend to token j."""


class Mixer(eqx.Module):
    """A map of token sequences in which output t depends on tokens <= t, or on the tokens `visible` names.

    `supports_visibility` says whether a mask other than causal is honoured; `exactly_causal` whether later tokens leave
    earlier outputs bit-equal; `max_length` bounds T where parameters do.
    """

    supports_visibility: ClassVar[bool] = False
    exactly_causal: ClassVar[bool] = True
    max_length: ClassVar[int | None] = None

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        raise NotImplementedError

    def batched(
        self, x: Float[Array, "B T E"], visible: Visible | None, rows: tuple[int, ...] | None
    ) -> Float[Array, "B R E"]:
        """The same for a batch, for training: only the outputs at `rows` are needed (None: all)."""
        mixed = jax.vmap(lambda one: self(one, visible))(x)
        return mixed if rows is None else mixed[:, list(rows)]


class MixerConfig(Fields):
    """A choice of mixer. `make` builds one layer's mixer; `depth` is the number of layers it will be stacked in."""

    registry: ClassVar[Registry] = Registry("mixer", "icl.models.mixers", "icl.mixers")

    def refuses(self, width: int, heads: int) -> str | None:
        """None, or why the sizes do not fit."""
        return None

    def make(self, width: int, heads: int, depth: int, init: Init, *, key: PRNGKeyArray) -> Mixer:
        raise NotImplementedError
