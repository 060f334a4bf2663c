"""Linear attention without softmax: the layer in which a step of gradient descent is a choice of weights."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import MixerConfig, Place, Visible
from icl.models.mixers.softmax import Attention, refuse_heads
from icl.models.parts import wide
from icl.taps import tap

DIVISORS = "1, the number of visible context tokens, or the sum of the scores"
Normalizer = Literal["none", "count", "scores"]


@MixerConfig.registry.add("linear", papers=("von-oswald-2022",))
class LinearAttention(MixerConfig):
    """sum_j v_j (k_j' q_i) over the visible tokens j, for H heads: no softmax and no 1 / sqrt(K).

    `normalizer = count` divides by the number of visible context tokens: `context_counts`. `scores` divides by
    sum_j (k_j' q_i), a mean of values with weights of any sign, and gives 0 where that sum is 0.
    """

    cost = "T^2 E"
    expected = "averaging, recency"
    supports_visibility = True
    normalizer: Normalizer = setting("none", f"what the sum is divided by: {DIVISORS}")
    key_size: int | None = setting(None, "size of a head, K; none: width / heads", at_least=1)
    bias: bool = setting(False, "biases of the four projections")

    def refuses(self, width: int, heads: int) -> str | None:
        return refuse_heads(width, heads, self.key_size)

    def make(self, place: Place, *, key: PRNGKeyArray) -> "LinearHeads":
        return LinearHeads(place, self.key_size, self.normalizer, bias=self.bias, key=key)


class LinearHeads(Attention):
    """Token i's output is the sum of the visible tokens' values, weighted by their scores, for each head."""

    normalizer: str = eqx.field(static=True)

    def __init__(self, place: Place, size: int | None, normalizer: Normalizer, *, bias: bool, key: PRNGKeyArray):
        super().__init__(place._replace(order="none"), size, 1.0, bias=bias, key=key)
        self.normalizer = normalizer

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        query, key, value = (self._split(linear(x)) for linear in (self.query, self.key, self.value))
        scores = tap(jnp.matmul(query, jnp.swapaxes(key, -1, -2)), "scores")
        mixed = tap(weigh(scores, value, visible, self.normalizer), "heads")
        return self.output(self._join(mixed))

    def batched(
        self, x: Float[Array, "B T E"], visible: Visible | None, rows: tuple[int, ...] | None
    ) -> Float[Array, "B R E"]:
        query = self._split(self.query(x if rows is None else x[:, np.asarray(rows)]))
        key, value = self._split(self.key(x)), self._split(self.value(x))
        scores = jnp.matmul(query, jnp.swapaxes(key, -1, -2))
        return self.output(self._join(weigh(scores, value, visible, self.normalizer, rows)))

    def init_state(self, length: int) -> "Sums":
        size = self.query.weight.shape[1] // self.heads
        return Sums.empty(self.heads, size, self.query.weight.dtype, self.normalizer)

    def step(self, x: Float[Array, "E"], state: "Sums") -> tuple[Float[Array, "E"], "Sums"]:
        query, key, value = (linear(x[None]).reshape(self.heads, -1) for linear in (self.query, self.key, self.value))
        mixed, state = state.read_after(query, key, value)
        return self.output(mixed.reshape(1, -1))[0], state


class Sums(NamedTuple):
    """All that linear attention in causal order needs of the tokens so far: S = sum_j v_j k_j'; z = sum_j k_j where it
    divides by the sum of the scores, z'q; and their number where it divides by that of the tokens before the last. In
    float32 at least."""

    memory: Float[Array, "H V K"]
    keys: Float[Array, "H K"] | None
    before: Int[Array, ""] | None

    @classmethod
    def empty(cls, heads: int, size: int, dtype: jnp.dtype, normalizer: str) -> "Sums":
        memory = jnp.zeros((heads, size, size), wide(dtype))
        keys = memory[:, 0] if normalizer == "scores" else None
        return cls(memory, keys, jnp.zeros((), jnp.int32) if normalizer == "count" else None)

    def read_after(
        self, query: Float[Array, "R K"], key: Float[Array, "H K"], value: Float[Array, "H V"]
    ) -> tuple[Float[Array, "R V"], "Sums"]:
        """S q / n once the next token is in the sums, for R = H, or R queries to one head; and the new sums."""
        dtype = query.dtype
        query, key, value = (a.astype(self.memory.dtype) for a in (query, key, value))
        memory = self.memory + value[:, :, None] * key[:, None, :]
        mixed = jnp.matmul(memory, query[:, :, None])[:, :, 0]
        keys, before = self.keys, self.before
        if keys is not None:
            keys = keys + key
            mixed = by_total(mixed, jnp.sum(keys * query, -1, keepdims=True))
        if before is not None:
            mixed = mixed / jnp.maximum(before, 1).astype(mixed.dtype)
            before = before + 1
        return mixed.astype(dtype), Sums(memory, keys, before)


def weigh(
    scores: Float[Array, "*B H R T"],
    value: Float[Array, "*B H T K"],
    visible: Visible | None,
    normalizer: str,
    rows: tuple[int, ...] | None = None,
) -> Float[Array, "*B H R K"]:
    """Sums of visible values times scores. A hidden token adds exactly 0, whatever it holds; a visible one that is not
    finite makes the sum NaN."""
    length = value.shape[-2]
    mask, counts = jnp.asarray(causal(length) if visible is None else visible), context_counts(visible, length)
    if rows is not None:
        mask, counts = mask[np.asarray(rows)], counts[np.asarray(rows)]
    finite = jnp.all(jnp.isfinite(value), -1, keepdims=True)
    scores = jnp.where(jnp.swapaxes(finite, -1, -2), scores, jnp.nan)
    lead = (None,) * (scores.ndim - 2)
    scores = jnp.where(mask[lead], scores, 0)
    mixed = jnp.matmul(scores, jnp.where(finite, value, 0))
    if normalizer == "count":
        return mixed / counts.astype(mixed.dtype)[(*lead, slice(None), None)]
    if normalizer == "scores":
        return by_total(mixed, jnp.sum(scores, -1, keepdims=True))
    return mixed


def by_total(mixed: Float[Array, "*n K"], total: Float[Array, "*n 1"]) -> Float[Array, "*n K"]:
    """mixed / total, and 0 where the total is 0."""
    # The division is by 1 where it is not used: the derivative of 0 / 0 would be NaN there.
    return jnp.where(total == 0, 0, mixed / jnp.where(total == 0, 1, total))


def causal(length: int) -> np.ndarray:
    """Entry [i, j] is true where j <= i."""
    return np.tril(np.ones((length, length), bool))


def context_counts(visible: Visible | None, length: int) -> Float[Array, "T"]:
    """(T,): the number of context tokens that each token sees, at least 1.

    A context token is one that some other token sees too. So a query that only sees itself beside N examples counts N,
    as Zhang et al. 2023 divide, and so does an example among N that all see each other. Under the causal mask (None),
    where every token is a query too, these are the tokens before it: in layout `paired` exactly its known pairs.
    """
    if visible is None:
        return jnp.asarray(np.maximum(np.arange(length), 1), jnp.float32)
    # In NumPy where the mask is known: the compiler would reduce a constant of 5,000 x 5,000 for a minute.
    numpy = np if isinstance(visible, np.ndarray) else jnp
    context = numpy.any(visible & ~np.eye(length, dtype=bool), 0)
    return jnp.maximum(jnp.asarray(numpy.sum(visible & context[None, :], 1), jnp.float32), 1)
