"""Further learners with hand-set weights, as controls: variations of the constructions that end somewhere else.

    negated, shifted        a transformer whose read-out is turned around, or has a constant added
    newton                  Newton's iteration for ridge in blocks of its own; with `shown` every iterate is written out
    sequential              one step of stochastic descent an example: Sherman-Morrison without the change of P
    moment_reader           the moment X'y / k in the stream, read against other numbers of the query
    linear_layer            one layer, or several, of linear attention with given products
    in_turn                 a layer for every coordinate of the weights, which moves it alone

What each computes is written beside it as a predictor: tests compare both, and small transformers imitate it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from function_classes.base import Prediction, Predictor, Prompt
from function_classes.linear import LinearRegression
from icl.layouts import Joint
from icl.models import Learner
from icl.models.attention_only import AttentionOnly
from icl.models.constructions.base import blank
from icl.models.constructions.channels import (
    Attention,
    Channels,
    Product,
    columns,
    join,
    matrix_product,
    write_block,
    write_linear,
)
from icl.models.constructions.moment import ExplicitMoment
from icl.models.constructions.ridge import ShermanMorrison
from icl.models.mixers.linear import LinearAttention
from icl.models.mixers.merged_linear import MergedLinear
from icl.models.transformer import Transformer
from icl.references.averaging import Averaging
from icl.references.base import LinearPredictor


class Affine(eqx.Module):
    """factor times another predictor, plus a constant."""

    inner: Predictor
    factor: Float[Array, ""]
    constant: Float[Array, ""]

    def __call__(self, prompt: Prompt) -> Prediction:
        mean = self.inner(prompt).mean
        assert mean is not None
        return Prediction(mean=self.factor * mean + self.constant)


def affine(inner: Predictor, factor: float = 1.0, constant: float = 0.0) -> Affine:
    """The predictor of a learner whose read-out is multiplied and shifted."""
    return Affine(inner, jnp.float32(factor), jnp.float32(constant))


def reread(learner: Learner, factor: float = 1.0, constant: float = 0.0) -> Learner:
    """The transformer with its read-out multiplied by a factor, and a constant added."""
    head = learner.network.head
    weight = jnp.float32(factor) * head.weight
    bias = jnp.zeros(weight.shape[1]) if head.bias is None else jnp.float32(factor) * head.bias
    where = lambda m: [m.network.head.weight, m.network.head.bias]  # noqa: E731
    return eqx.tree_at(where, learner, [weight, bias + jnp.float32(constant)], is_leaf=lambda leaf: leaf is None)


def newton(task: LinearRegression, iterations: int, penalty: float, shown: bool) -> Learner:
    """Newton's iteration for S = X'X + penalty I, M <- M (2I - S M) from M_0 = S / |S|_F^2, an iteration every two
    blocks; w = M b with b = X'y. With `shown` two more blocks write w and w'x after every iteration, where the read-out
    finds them; else once, at the end. The stream of a query holds b from the second block on, and w.

    Unlike `icl.models.constructions.newton` it forms no quotient whose divisor may be 0, so that it can be rotated.
    """
    dim, size = task.dim, task.dim**2
    names = dict.fromkeys(("y", "marker", "k", "e", "f", "p"), 1) | dict.fromkeys(("o", "S", "M", "N"), size)
    c = Channels(x=dim, a=dim, b=dim, w=dim, **names)
    row, column = np.divmod(np.arange(size), dim)
    one, m, eye = c.map(1, bias=1.0), c.copy("M"), np.eye(dim).reshape(1, size)
    examples, query = c.map(1, bias=1.0, marker=-1.0), c.copy("marker")
    system = c.map(size, S=1.0, e=eye)
    scores = join(c.copy("k"), c.map(1, bias=1.0, f=1.0, marker=-2.0)), join(query, examples)
    weights = Product(m, columns(c.copy("b"), column), c.place("w")[row])
    answer = Product(c.copy("w"), c.copy("x"), np.ones((dim, 1)) * c.place("p"))
    start: Blocks = [
        (
            None,
            [
                Product(columns(c.copy("x"), row), columns(c.copy("x"), column), c.place("o")),
                Product(c.map(dim, y=1.0), c.copy("x"), c.place("a")),
                Product(c.map(1, marker=float(penalty)), one, c.place("e")),
            ],
        ),
        (
            Attention(query, examples, c.copy("o", "a"), c.place("S", "b")),
            [Product(system, system, np.ones((size, 1)) * c.place("f")), Product(c.copy("e"), one, eye @ c.place("S"))],
        ),
        # A query is its own key, the only one with an S: its score k and f - 1 at the k examples sum to k f.
        (Attention(*scores, c.copy("S"), c.place("M")), [c.clear("f")]),
    ]
    twice = Product(m, c.map(size, bias=1.0), c.place("M"))
    iteration: Blocks = [
        (None, [matrix_product(c.copy("S"), m, c.place("N"))]),
        (None, [twice, matrix_product(m, c.copy("N"), -c.place("M")), c.clear("N")]),
    ]
    show: Blocks = [(None, [weights, c.clear("w")]), (None, [answer, c.clear("p")])]
    plan = start + (iteration + show) * iterations if shown else start + iteration * iterations + show
    silent, add = LinearAttention(key_size=1), LinearAttention(key_size=size + dim, bias=True)
    divide = LinearAttention(normalizer="scores", key_size=size, bias=True)
    config = Transformer(
        layout=Joint(query="every", marker=True, sees_itself=True),
        max_points=task.points,
        depth=len(plan),
        width=c.width,
        heads=1,
        mixers=(silent, add, divide, *(silent,) * (len(plan) - 3)),
        mlp_ratio=-(-(dim**3 + 2 * size) // c.width),
        activation="bilinear",
        norm="none",
    )
    learner = blank(config, task)
    network = learner.network
    written = [write_block(b, heads, *products) for b, (heads, products) in zip(network.blocks, plan, strict=True)]
    parts = [
        write_linear(network.embed, c.place("x", "y", "marker")),
        jnp.asarray(np.maximum(np.arange(task.points), 1)[:, None] * c.place("k"), float),
        tuple(written),
        write_linear(network.head, c.copy("p").weight),
    ]
    return _written(learner, parts)


Blocks = list[tuple[Attention | None, list[Product]]]


def _written(learner: Learner, parts: list[Any]) -> Learner:
    """The learner with this read-in, codes of positions, blocks and read-out."""
    where = lambda m: [m.network.embed, m.network.positions, m.network.blocks, m.network.head]  # noqa: E731
    return eqx.tree_at(where, learner, parts)


class Sequential(LinearPredictor):
    """w <- w + rate x_i (y_i - w'x_i), once for every example in their order, from w = 0 (least mean squares)."""

    rate: Float[Array, ""]

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        def example(w: Array, shown: tuple[Array, Array]) -> tuple[Array, Array]:
            x, y = shown
            return w + self.rate * x * (y - jnp.sum(w * x)), w

        return jax.lax.scan(example, jnp.zeros(prompt.xs.shape[-1]), (prompt.xs, prompt.ys))[1]


def sequential(task: LinearRegression, rate: float) -> Learner:
    """That, two blocks an example: the blocks of Sherman-Morrison with u = rate x, which no example changes, so that
    no quotient is formed."""
    built = ShermanMorrison(penalty=1 / rate)
    learner, dim, eye = built.make(task), task.dim, np.eye(task.points)
    c = Channels(x=dim, u=dim, r=1, code=task.points, bx=dim, bu=dim, br=1, t=1, q=1, s=1)
    blocks = []
    for i, (give, apply) in enumerate(zip(learner.network.blocks[::2], learner.network.blocks[1::2], strict=True)):
        here = eye[:, i : i + 1]
        example, others = c.map(1, code=here), c.map(1, bias=1.0, code=-here)
        broadcast = Attention(others, example, c.copy("x", "u", "r"), c.place("bx", "bu", "br"))
        inner = Product(c.copy("bx"), c.copy("u"), np.ones((dim, 1)) * c.place("t"))
        blocks.append(write_block(give, broadcast, inner))
        query, key = c.copy("code", "q"), c.map(task.points + 1, code=np.append(eye, here, 1))
        copied = Attention(query, key, c.copy("t"), c.place("s"))
        update = Product(c.map(1, s=1.0), c.copy("br"), -c.place("r"))
        blocks.append(write_block(apply, copied, update, c.clear("bx", "bu", "br", "t", "q", "s")))
    return eqx.tree_at(lambda m: m.network.blocks, learner, tuple(blocks))


class MomentReader(eqx.Module):
    """m_k'g(x_k), with the moment m_k = (1/k) sum_{i<k} y_i x_i: g(x) = x with its coordinates moved on by one, or x
    squared entry by entry."""

    read: str = eqx.field(static=True)

    def __call__(self, prompt: Prompt) -> Prediction:
        asked = jnp.roll(prompt.xs, -1, -1) if self.read == "moved" else jnp.square(prompt.xs)
        return Prediction(mean=jnp.sum(Averaging().weights(prompt) * asked, -1))


def moment_reader(task: LinearRegression, read: Literal["moved", "squares"]) -> Learner:
    """That, in two blocks: `ExplicitMoment`, whose last product takes g(x) in place of x."""
    config, dim = ExplicitMoment(rate=1.0).config(task), task.dim
    c = Channels(x=dim, y=1, p=dim, z=dim, m=dim, o=1)
    learner = blank(dataclasses.replace(config, width=c.width), task)
    network, asked = learner.network, c.copy("z")
    products = [Product(c.map(dim, y=1.0), c.copy("x"), c.place("p"))]
    if read == "squares":
        products.append(Product(c.copy("x"), c.copy("x"), c.place("z")))
    else:
        moved = columns(c.copy("x"), np.roll(np.arange(dim), -1))
        products.append(Product(moved, c.map(dim, bias=1.0), c.place("z")))
    one = c.map(1, bias=1.0)
    mean = Attention(one, one, c.copy("p"), c.place("m"))
    answer = Product(c.copy("m"), asked, np.ones((dim, 1)) * c.place("o"))
    parts = [
        write_linear(network.embed, c.place("x", "y")),
        (write_block(network.blocks[0], None, *products), write_block(network.blocks[1], mean, answer)),
        write_linear(network.head, c.copy("o").weight),
    ]
    written = eqx.tree_at(lambda n: [n.embed, n.blocks, n.head], network, parts)
    return eqx.tree_at(lambda m: m.network, learner, written)


Layers = list[tuple[Float[np.ndarray, "H E E"], Float[np.ndarray, "H E E"]]]


def linear_layers(
    task: LinearRegression, layers: Callable[[int], Layers], loops: int | None = None, heads: int = 1
) -> Learner:
    """Linear attention on tokens (x, y) with the products (PV, KQ) of every layer, divided by the number of examples;
    `layers` is told the width E. The prediction is minus the y slot. With `loops` the one layer is applied as often."""
    given = layers(task.dim + 1)
    depth, mixer = loops or len(given), MergedLinear(normalizer="count")
    config = AttentionOnly(depth=depth, heads=heads, mixer=mixer, recurrent=loops is not None, reads="minus-y")
    learner = blank(config, task)
    where = lambda m: [a for b in m.network.blocks for a in (b.mixer.value, b.mixer.key_query)]  # noqa: E731
    return eqx.tree_at(where, learner, [jnp.asarray(a, float) for pair in given for a in pair])


def step(rates: Float[np.ndarray, "H D D"]) -> Callable[[int], Layers]:
    """One layer in which every head takes its part of a step w += U g, g the negative gradient: PV = -1 at [y, y]."""

    def layer(width: int) -> Layers:
        value, key_query = np.zeros((2, len(rates), width, width))
        value[:, -1, -1], key_query[:, :-1, :-1] = -1.0, rates
        return [(value, key_query)]

    return layer


def in_turn(task: LinearRegression, rate: float) -> Learner:
    """As many layers as inputs have coordinates: layer i takes a step on coordinate i of w and on no other."""
    size = task.dim
    each = [rate * np.diag(np.eye(size)[i])[None] for i in range(size)]
    return linear_layers(task, lambda width: [pair for matrix in each for pair in step(matrix)(width)])
