"""What an input or an output is made of, known without sampling.

A space says how values are encoded as real features for a network, and how a prediction is scored against a target.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped


@dataclasses.dataclass(frozen=True)
class Space:
    """`features` real numbers encode one value; `kind` is what tables and losses branch on."""

    kind: ClassVar[str] = ""
    # One entry in words, and several.
    entry: ClassVar[tuple[str, str]] = ("a value", "values")

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape))} {self.entry[1]}" if self.shape else self.entry[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def features(self) -> int:
        return math.prod(self.shape)

    def encode(self, values: Shaped[Array, "..."]) -> Float[Array, "... F"]:
        """Values of shape (..., *shape) as features (..., F), in float32; float64 stays what it is."""
        lead = values.shape[: values.ndim - len(self.shape)]
        values = values.reshape(*lead, self.features)
        return values if values.dtype == jnp.float64 else values.astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Nothing(Space):
    """No value at all: the inputs of a stream."""

    kind: ClassVar[str] = "nothing"
    entry = ("nothing (a stream)", "")

    @property
    def features(self) -> int:
        return 0

    def encode(self, values: Shaped[Array, "..."]) -> Float[Array, "... 0"]:
        return jnp.zeros((*values.shape[:-1], 0), jnp.float32)


@dataclasses.dataclass(frozen=True)
class Real(Space):
    """Real numbers in an array of the given shape; () is a scalar."""

    dims: tuple[int, ...] = ()
    kind: ClassVar[str] = "real"
    entry = ("a number", "numbers")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.dims


@dataclasses.dataclass(frozen=True)
class Signs(Space):
    """Entries -1.0 or +1.0 in an array of the given shape; () is one sign."""

    dims: tuple[int, ...] = ()
    kind: ClassVar[str] = "signs"
    entry = ("a sign", "signs")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.dims


@dataclasses.dataclass(frozen=True)
class Symbols(Space):
    """One of the integers 0..n-1."""

    n: int = 2
    kind: ClassVar[str] = "symbols"

    def __str__(self) -> str:
        return f"one of {self.n} symbols"

    @property
    def features(self) -> int:
        return self.n

    def encode(self, values: Shaped[Array, "..."]) -> Float[Array, "... F"]:
        return jax.nn.one_hot(values, self.n, dtype=jnp.float32)
