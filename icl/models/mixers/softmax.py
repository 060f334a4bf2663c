"""Multi-head softmax attention, with a backward pass of its own that keeps the probabilities."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import Mixer, MixerConfig, Place, Visible
from icl.models.mixers.order import Order, alibi, learned_bias, rotate
from icl.models.parts import Linear, affine, initial_std, precise, wide
from icl.taps import tap

# Rows of a mask that attend together (`attend_in_blocks`).
ROWS = 40


@MixerConfig.registry.add("softmax", papers=("vaswani-2017",))
class SoftmaxAttention(MixerConfig):
    """softmax(q k' / sqrt(K)) v over the visible tokens, H heads of size K = E / H. Who sees nothing gets 0.

    With positions = rotary queries and keys are turned by their place, with alibi and relative scores get a bias that
    depends on the distance (`icl.models.mixers.order`).
    """

    cost = "T^2 E"
    expected = "everything"
    supports_visibility = True
    ordered = True
    bias: bool = setting(True, "biases of the four projections")
    key_size: int | None = setting(None, "size of a head, K; none: width / heads", at_least=1)
    scaled: bool = setting(True, "whether scores are divided by sqrt(K)")

    def refuses(self, width: int, heads: int) -> str | None:
        return refuse_heads(width, heads, self.key_size)

    def make(self, place: Place, *, key: PRNGKeyArray) -> "Attention":
        size = self.key_size or place.width // place.heads
        return Attention(place, size, size**-0.5 if self.scaled else 1.0, bias=self.bias, key=key)


def refuse_heads(width: int, heads: int, key_size: int | None) -> str | None:
    """Why heads of that size (none: width / heads) do not exist."""
    if key_size is None and width % heads:
        divisors = ", ".join(str(h) for h in range(1, width + 1) if width % h == 0 and h <= 16)
        return f"{heads} does not divide model.width = {width}; use {divisors}"
    return None


class Attention(Mixer):
    """Token t's output is a mean of the visible tokens' values, weighted by softmax of scaled scores, for each head."""

    supports_visibility = True
    query: Linear
    key: Linear
    value: Linear
    output: Linear
    distance_bias: Float[Array, "H L"] | None
    heads: int = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    order: Order = eqx.field(static=True)

    def __init__(self, place: Place, size: int | None, scale: float, *, bias: bool, key: PRNGKeyArray):
        width, keys = place.width, jax.random.split(key, 4)
        inner = place.heads * (size or width // place.heads)
        std = initial_std(place.init, width)
        self.query, self.key, self.value = (Linear(width, inner, std, bias=bias, key=k) for k in keys[:3])
        self.output = Linear(inner, width, initial_std(place.init, inner, place.depth), bias=bias, key=keys[3])
        # Zeros: at the start no distance is preferred.
        self.distance_bias = jnp.zeros((place.heads, place.length)) if place.order == "relative" else None
        self.heads, self.scale, self.order = place.heads, scale, place.order

    @property
    def width(self) -> int:
        return self.output.weight.shape[1]

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        query, key, value = (self._split(linear(x)) for linear in (self.query, self.key, self.value))
        query, key = self._placed(query, None), self._placed(key, None)
        scores = jnp.matmul(query, jnp.swapaxes(key, -1, -2)) * self.scale
        bias = self._bias(x.shape[0])
        scores = tap(scores if bias is None else scores + bias.astype(scores.dtype), "scores")
        hidden = ~jnp.asarray(_mask(visible, x.shape[0]))
        scores = jnp.where(hidden[None], -jnp.inf, precise(scores))
        # The softmax of nothing is NaN, and so are its derivatives.
        nothing = jnp.all(hidden, -1)[None, :, None]
        probabilities = jnp.where(nothing, 0.0, jax.nn.softmax(jnp.where(nothing, 0.0, scores), -1))
        probabilities = tap(probabilities.astype(x.dtype), "probabilities")
        # A hidden token has weight 0, but 0 times NaN is NaN. A visible one that is NaN still shows, in its score.
        value = jnp.where(jnp.isfinite(value), value, 0)
        mixed = tap(self._more(jnp.matmul(probabilities, value), value, visible, None), "heads")
        return self.output(self._join(mixed))

    def batched(
        self, x: Float[Array, "B T E"], visible: Visible | None, rows: tuple[int, ...] | None
    ) -> Float[Array, "B R E"]:
        mask = np.asarray(_mask(visible, x.shape[1]))
        if rows is None:
            query, key, value = _project(x, self.query, self.key, self.value)
        else:
            index = np.asarray(rows)
            query, (key, value), mask = self.query(x[:, index]), _project(x, self.key, self.value), mask[index]
        query = self._placed(self._split(query), rows) * self.scale
        key, bias = self._placed(self._split(key), None), self._bias(x.shape[1])
        bias = bias if bias is None or rows is None else bias[:, np.asarray(rows)]
        value = self._split(value)
        mixed = attend_in_blocks(query, key, value, mask, bias)
        return self.output(self._join(self._more(mixed, value, visible, rows)))

    def _more(
        self,
        mixed: Float[Array, "*B H R K"],
        value: Float[Array, "*B H T K"],
        visible: Visible | None,
        rows: tuple[int, ...] | None,
    ) -> Float[Array, "*B H R K"]:
        """What a kind of attention adds to the weighted means."""
        return mixed

    def _placed(self, x: Float[Array, "*B H T K"], rows: tuple[int, ...] | None) -> Float[Array, "*B H T K"]:
        """Queries or keys, turned by their place where that is the order."""
        if self.order != "rotary":
            return x
        places = np.arange(x.shape[-2]) if rows is None else np.asarray(rows)
        return rotate(x, jnp.asarray(places).reshape((1,) * (x.ndim - 2) + (-1,)))

    def _bias(self, length: int) -> Float[Array, "H T T"] | None:
        """What the distance adds to scores."""
        if self.distance_bias is not None:
            return learned_bias(self.distance_bias, length)
        return jnp.asarray(alibi(self.heads, length)) if self.order == "alibi" else None

    def _split(self, x: Float[Array, "*B T E"]) -> Float[Array, "*B H T K"]:
        return jnp.swapaxes(x.reshape(*x.shape[:-1], self.heads, -1), -2, -3)

    def _join(self, x: Float[Array, "*B H T K"]) -> Float[Array, "*B T E"]:
        x = jnp.swapaxes(x, -2, -3)
        return x.reshape(*x.shape[:-2], -1)


def _mask(visible: Visible | None, length: int) -> Visible:
    return np.tril(np.ones((length, length), bool)) if visible is None else visible


def _project(x: Float[Array, "B T E"], *linears: Linear) -> list[Float[Array, "B T I"]]:
    """Several projections as one matrix product."""
    weight = jnp.concatenate([linear.weight for linear in linears], 1)
    biases = [linear.bias for linear in linears if linear.bias is not None]
    return jnp.split(affine(x, weight, jnp.concatenate(biases) if biases else None), len(linears), -1)


def attend_in_blocks(
    query: Float[Array, "B H R K"],
    key: Float[Array, "B H T K"],
    value: Float[Array, "B H T K"],
    mask: Bool[np.ndarray, "R T"],
    order: Float[Array, "H R T"] | None = None,
) -> Float[Array, "B H R K"]:
    """`attend` for about `ROWS` rows at a time, each time with the columns up to the last that any of them sees: half
    of a long causal mask is never computed. Short blocks cost more in kernels than they save in arithmetic. Rows that
    see nothing get 0."""
    blocks = max(1, round(len(mask) / ROWS))
    parts = []
    for part in np.array_split(np.arange(len(mask)), blocks):
        rows = slice(int(part[0]), int(part[-1]) + 1)
        columns = slice(int(np.flatnonzero(np.any(mask[rows], 0)).max(initial=0)) + 1)
        bias = jnp.where(mask[rows, columns], 0.0, -1e30).astype(wide(query.dtype))[None]
        bias = bias if order is None else bias + precise(order[:, rows, columns])
        parts.append(attend(query[:, :, rows], key[:, :, columns], value[:, :, columns], bias))
    mixed = parts[0] if blocks == 1 else jnp.concatenate(parts, 2)
    seeing = np.any(mask, 1)
    return mixed if np.all(seeing) else jnp.where(seeing[None, None, :, None], mixed, 0)


@jax.custom_vjp
def attend(
    query: Float[Array, "B H R K"],
    key: Float[Array, "B H T K"],
    value: Float[Array, "B H T K"],
    bias: Float[Array, "#H R T"],
) -> Float[Array, "B H R K"]:
    """softmax(query key' + bias) value, scores in float32 at least. The backward pass reuses the probabilities p:
    ds = p * (dp - sum(dp * p)) with dp = do value'; the bias gets the sum of ds over the batch."""
    return _attend_forward(query, key, value, bias)[0]


def _attend_forward(query, key, value, bias):
    scores = precise(jnp.matmul(query, jnp.swapaxes(key, -1, -2))) + bias[None]
    scores = jnp.exp(scores - jnp.max(scores, -1, keepdims=True))
    probabilities = (scores / jnp.sum(scores, -1, keepdims=True)).astype(query.dtype)
    return jnp.matmul(probabilities, value), (query, key, value, probabilities, bias.shape[0])


def _attend_backward(saved, gradient):
    query, key, value, probabilities, heads = saved
    by_probability = jnp.matmul(gradient, jnp.swapaxes(value, -1, -2))
    centered = by_probability - jnp.sum(by_probability * probabilities, -1, keepdims=True)
    by_score = probabilities * centered
    by_key = jnp.matmul(_transposed(by_score), query)
    by_value = jnp.matmul(_transposed(probabilities), gradient)
    by_bias = jnp.sum(precise(by_score), 0)
    by_bias = by_bias if heads > 1 else jnp.sum(by_bias, 0, keepdims=True)
    return jnp.matmul(by_score, key), by_key, by_value, by_bias


def _transposed(x: Float[Array, "*N R T"]) -> Float[Array, "*N T R"]:
    """x with its last axes exchanged. XLA would fold this into the matrix product that reads it, which on a CPU makes a
    product of many small matrices up to four times slower: there the result is laid out in memory instead."""
    x = jnp.swapaxes(x, -1, -2)
    return jax.lax.optimization_barrier(x) if jax.default_backend() == "cpu" else x


attend.defvjp(_attend_forward, _attend_backward)
