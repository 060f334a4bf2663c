"""Named channels of a residual stream, and weights written as maps between them.

A map is a pair (W, b): n linear functions h W + b of the residual stream h, W of shape (E, n) and b of shape (n,).
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from icl.models.parts import Linear
from icl.models.transformer import Block


class Map(NamedTuple):
    """n linear functions of a residual stream of width E."""

    weight: Float[np.ndarray, "E N"]
    bias: Float[np.ndarray, "N"]


class Product(NamedTuple):
    """n products left * right of linear functions, added to the stream through `out`."""

    left: Map
    right: Map
    out: Float[np.ndarray, "N E"]


class Rectified(NamedTuple):
    """n hidden units max(0, h), h linear functions, added to the stream through `out`."""

    inner: Map
    out: Float[np.ndarray, "N E"]


class Attention(NamedTuple):
    """The heads of an attention, one after another: queries, keys and values, and where the heads' sums go, (N, E)."""

    query: Map
    key: Map
    value: Map
    output: Float[np.ndarray, "N E"]


class Channels:
    """Slices of a residual stream by name, in the order given: `Channels(x=4, y=1)`."""

    def __init__(self, **sizes: int):
        ends = np.cumsum(list(sizes.values())).tolist()
        self.slices = {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}
        self.width = ends[-1]

    def map(self, outputs: int, bias: float = 0.0, **parts: np.ndarray | float) -> Map:
        """`outputs` functions: the sum of `parts[name]` (size of the channel, outputs) applied to channel `name`, plus
        the bias. A number v means v times a channel of that many numbers, or of one that goes to all."""
        weight = np.zeros((self.width, outputs))
        for name, part in parts.items():
            rows = self.slices[name]
            size = rows.stop - rows.start
            weight[rows] = part if np.ndim(part) else part * (np.ones((1, outputs)) if size == 1 else np.eye(outputs))
        return Map(weight, np.full(outputs, bias))

    def copy(self, *names: str) -> Map:
        """The named channels one after another, as they are."""
        weight = np.concatenate([np.eye(self.width)[:, self.slices[name]] for name in names], 1)
        return Map(weight, np.zeros(weight.shape[1]))

    def place(self, *names: str) -> Float[np.ndarray, "N E"]:
        """Numbers one after another into the named channels: the transpose of `copy`."""
        return self.copy(*names).weight.T

    def clear(self, *names: str) -> Product:
        """Subtracts the named channels from themselves."""
        copied = self.copy(*names)
        return Product(copied, self.map(copied.bias.size, 1.0), -copied.weight.T)


def join(*maps: Map) -> Map:
    """The functions of several maps, one after another."""
    return Map(*(np.concatenate(parts, -1) for parts in zip(*maps, strict=True)))


def alternate(first: Map, second: Map) -> Map:
    """First of the one, first of the other, second of the one, ...: two entries for every head."""
    return Map(*(np.stack(pair, -1).reshape(*pair[0].shape[:-1], -1) for pair in zip(first, second, strict=True)))


def columns(functions: Map, chosen: np.ndarray) -> Map:
    """Some of the functions, in this order, as often as they are named."""
    return Map(functions.weight[:, chosen], functions.bias[chosen])


def matrix_product(left: Map, right: Map, out: Float[np.ndarray, "N E"]) -> Product:
    """A B for matrices (D, D) written row by row, D^3 products of entries; row (i, j) of `out` says where entry (i, j)
    goes."""
    dim = math.isqrt(left.bias.size)
    i, k, j = np.indices((dim,) * 3).reshape(3, -1)
    return Product(columns(left, dim * i + k), columns(right, dim * k + j), out[dim * i + j])


def side_by_side(size: int, *heads: Attention) -> Attention:
    """Several heads as one `Attention`: each is filled up with zeros to the key size of the mixer."""

    def fill(functions: Map) -> Map:
        spare = size - functions.bias.size
        return Map(np.pad(functions.weight, ((0, 0), (0, spare))), np.pad(functions.bias, (0, spare)))

    query, key, value = (join(*map(fill, maps)) for maps in zip(*(head[:3] for head in heads), strict=True))
    output = np.concatenate([np.pad(head.output, ((0, size - len(head.output)), (0, 0))) for head in heads])
    return Attention(query, key, value, output)


def interpolate(
    inner: Map, knots: Float[np.ndarray, "M"], values: Float[np.ndarray, "M"], out: Float[np.ndarray, "N E"]
) -> Rectified:
    """f of every function, f linear between growing knots and constant beyond them:

        f(x) = f(x_M) + sum_i b_i relu(x_i - x),      b_i = slope right of x_i - slope left of x_i

    For a concave f all b_i but b_0 have one sign, so little cancels.
    """
    bends = np.diff(np.concatenate([[0.0], np.diff(values) / np.diff(knots), [0.0]]))
    count, size = len(knots), inner.bias.size
    below = Map(-np.repeat(inner.weight, count, 1), np.tile(knots, size) - np.repeat(inner.bias, count))
    constant = Map(np.zeros((len(inner.weight), 1)), np.ones(1))
    rows = np.repeat(out, count, 0) * np.tile(bends, size)[:, None]
    return Rectified(join(below, constant), np.concatenate([rows, values[-1] * np.sum(out, 0, keepdims=True)]))


def write_linear(linear: Linear, weight: np.ndarray, bias: np.ndarray | None = None) -> Linear:
    """A linear map with the given numbers in its first rows and columns, and 0 elsewhere."""
    full, shift = np.zeros(linear.weight.shape), np.zeros(linear.weight.shape[1])
    full[: weight.shape[0], : weight.shape[1]] = weight
    if bias is not None:
        shift[: bias.size] = bias
    written = eqx.tree_at(lambda m: m.weight, linear, jnp.asarray(full, float))
    return written if linear.bias is None else eqx.tree_at(lambda m: m.bias, written, jnp.asarray(shift, float))


def write_block(block: Block, attention: Attention | None, *products: Product) -> Block:
    """A block that adds these attention heads and then these products to the stream, and nothing else. Raises
    ValueError where its MLP is too narrow."""
    nothing = Map(np.zeros((0, 0)), np.zeros(0))
    left = join(*(p.left for p in products)) if products else nothing
    right = join(*(p.right for p in products)) if products else nothing
    out = np.concatenate([p.out for p in products]) if products else nothing.weight
    if block.mlp is None or block.mlp.gate is None or len(out) > block.mlp.up.weight.shape[1]:
        raise ValueError(f"needs a bilinear MLP with {len(out)} hidden units")
    return _write(block, attention, {"up": left, "gate": right, "down": (out, None)})


def write_rectified(block: Block, attention: Attention | None, *units: Rectified) -> Block:
    """`write_block` for an MLP of rectified linear units, `activation = relu`."""
    inner = join(*(u.inner for u in units)) if units else Map(np.zeros((0, 0)), np.zeros(0))
    out = np.concatenate([u.out for u in units]) if units else inner.weight
    if block.mlp is None or block.mlp.activation != "relu" or len(out) > block.mlp.up.weight.shape[1]:
        raise ValueError(f"needs an MLP with {len(out)} rectified hidden units")
    return _write(block, attention, {"up": inner, "down": (out, None)})


def write_heads(mixer: Any, attention: Attention | None) -> Any:
    """A mixer of these heads; none: one that adds nothing."""
    nothing = Map(np.zeros((0, 0)), np.zeros(0))
    query, key, value, output = attention or (nothing, nothing, nothing, nothing.weight)
    where = lambda m: [m.query, m.key, m.value, m.output]  # noqa: E731
    maps = [query, key, value, (output, None)]
    return eqx.tree_at(where, mixer, [write_linear(a, *b) for a, b in zip(where(mixer), maps, strict=True)])


def _write(block: Block, attention: Attention | None, hidden: dict[str, Any]) -> Block:
    """The block with these heads, and with these maps in the parts of its MLP."""
    linears = [write_linear(getattr(block.mlp, name), *maps) for name, maps in hidden.items()]
    where = lambda b: [b.mixer, *(getattr(b.mlp, name) for name in hidden)]  # noqa: E731
    return eqx.tree_at(where, block, [write_heads(block.mixer, attention), *linears])
