"""Attention by positive scores that no softmax has made: ReLU attention and linear attention with positive features."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from icl.models.mixers.base import MixerConfig, Place, Visible
from icl.models.mixers.linear import Sums, weigh
from icl.models.mixers.softmax import Attention, refuse_heads
from icl.taps import tap


class PositiveScores(MixerConfig):
    """Heads of size K = width / heads; no biases."""

    supports_visibility = True

    def refuses(self, width: int, heads: int) -> str | None:
        return refuse_heads(width, heads, None)


@MixerConfig.registry.add("relu", papers=("wortsman-2023",))
class ReluAttention(PositiveScores):
    """sum_j v_j max(q_i'k_j / sqrt(K), 0) / n over the visible tokens j, n the number of visible context tokens."""

    cost = "T^2 E"
    expected = "averaging, recency, associative recall"

    def make(self, place: Place, *, key: PRNGKeyArray) -> "PositiveHeads":
        return PositiveHeads(place, "relu", key=key)


@MixerConfig.registry.add("positive-linear", papers=("katharopoulos-2020",))
class PositiveLinear(PositiveScores):
    """sum_j v_j phi(k_j)'phi(q_i) / sum_j phi(k_j)'phi(q_i) with phi = elu + 1: linear attention with a normalizer."""

    cost = "T^2 E"
    expected = "averaging, recency"

    def make(self, place: Place, *, key: PRNGKeyArray) -> "PositiveHeads":
        return PositiveHeads(place, "features", key=key)


class PositiveHeads(Attention):
    """Means of visible values, weighted by positive scores; ReLU scores are divided by their number, not their sum."""

    kind: Literal["relu", "features"] = eqx.field(static=True)

    def __init__(self, place: Place, kind: Literal["relu", "features"], *, key: PRNGKeyArray):
        size = place.width // place.heads
        super().__init__(place._replace(order="none"), size, size**-0.5, bias=False, key=key)
        self.kind = kind

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        query, key, value = (self._split(linear(x)) for linear in (self.query, self.key, self.value))
        mixed = weigh(tap(self._scores(query, key), "scores"), value, visible, self._normalizer)
        return self.output(self._join(tap(mixed, "heads")))

    def batched(
        self, x: Float[Array, "B T E"], visible: Visible | None, rows: tuple[int, ...] | None
    ) -> Float[Array, "B R E"]:
        query = self._split(self.query(x if rows is None else x[:, np.asarray(rows)]))
        key, value = self._split(self.key(x)), self._split(self.value(x))
        return self.output(self._join(weigh(self._scores(query, key), value, visible, self._normalizer, rows)))

    def _scores(self, query: Float[Array, "*B H R K"], key: Float[Array, "*B H T K"]) -> Float[Array, "*B H R T"]:
        if self.kind == "relu":
            return jax.nn.relu(jnp.matmul(query, jnp.swapaxes(key, -1, -2)) * self.scale)
        return jnp.matmul(features(query), jnp.swapaxes(features(key), -1, -2))

    def init_state(self, length: int) -> PyTree:
        """Sums for features; max(q'k, 0) is no product of a query's and a key's, so it needs all tokens."""
        if self.kind == "relu":
            return super().init_state(length)
        size = self.query.weight.shape[1] // self.heads
        return Sums.empty(self.heads, size, self.query.weight.dtype, self._normalizer)

    def step(self, x: Float[Array, "E"], state: PyTree) -> tuple[Float[Array, "E"], PyTree]:
        if self.kind == "relu":
            return super().step(x, state)
        query, key, value = (linear(x[None]).reshape(self.heads, -1) for linear in (self.query, self.key, self.value))
        mixed, state = state.read_after(features(query), features(key), value)
        return self.output(mixed.reshape(1, -1))[0], state

    @property
    def _normalizer(self) -> str:
        return "count" if self.kind == "relu" else "scores"


def features(x: Float[Array, "*n K"]) -> Float[Array, "*n K"]:
    """elu + 1: positive."""
    return jax.nn.elu(x) + 1
