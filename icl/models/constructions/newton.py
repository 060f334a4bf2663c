"""Newton's iteration for the inverse, one iteration a loop: sums by linear attention, products by bilinear MLPs.

Tokens (x_j, y_j) and queries (x_k, 0) in layout `joint`. Each query forms, from the k examples before it,

    S = X'X / k + (penalty / k) I,   b = X'y / k,   M_0 = S / |S|_F^2      then every loop      M <- M (2I - S M)

and w = M b. Since I - S M is squared by every loop and |S|_F >= |S|, this converges for all prompts. As an AlgoFormer:
blocks before the loop make S, b and M_0, the loop is Newton's, blocks after it read w out. (That looped transformers
invert matrices is Giannou et al. 2023, that they do Newton's method for regression Fu et al. 2023 and Gao et al. 2024;
these weights are ours. Factors k cancel in M b, so this is `newton` with start = frobenius.)
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from function_classes.base import FunctionClass, Predictor
from function_classes.fields import setting
from icl.layouts import Joint
from icl.models.constructions.base import Construction
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
from icl.models.looped import AlgoFormer
from icl.models.mixers.linear import LinearAttention
from icl.references.newton import Newton

# A block of the loop makes D^3 products: at this dim 4,096 hidden units in a stream of about 1,150 channels.
LARGEST = 16


@Construction.registry.add("newton", papers=("giannou-2023", "fu-2023", "gao-2024"))
class NewtonWeights(Construction):
    """Newton's method for ridge, at every position of prompts of at most the task's length: 3 blocks, 2 in each loop, 2
    more; one head, width 4 D^2 + 4 D + 7, D^3 + 2 D^2 hidden units.

    Channels: x, y, the marker of queries, k and 1 / k of the position, o = x x', a = y x, e = penalty / k, S, b,
    f = |S|_F^2, M, N, w, p. Attention is linear and divided by its scores.

        before 0   attention silent;                                             MLP: o += x x', a += y x, e
        before 1   scores 1 at the examples, values (o_j, a_j) to S and b;       MLP: f = |S + e I|^2, S += e I
        before 2   score k at itself, f - 1 at the examples, values S to M;      MLP silent
        loop       attention silent; MLP: N = S M;     attention silent;         MLP: M += M - M N, N = 0
        after      attention silent; MLP: w = M b;     attention silent;         MLP: p = w'x

    In the third block a query is its own key, the only one with an S, and all scores sum to k + k (f - 1) = k f. That
    f is made as 1 + (f - 1), so in single precision inputs should be of order one. Rounding grows with the iterations:
    against the reference 1e-6 of the largest prediction after 8, 2e-4 after 16 (dim 4, no penalty). The first query
    predicts 0. Any other number of iterations: `icl.models.looped.loop`.
    """

    iterations: int = setting(4, "iterations, loops", at_least=1)
    penalty: float = setting(0.0, "multiplies I in X'X + penalty I", at_least=0)

    def applies(self, task: FunctionClass) -> str | None:
        reason = super().applies(task)
        if reason is None and task.x_space.features > LARGEST:
            dim = task.x_space.features
            return f"{self.name} multiplies matrices by dim^3 hidden units, for dim <= {LARGEST}; this task has {dim}"
        return reason

    def config(self, task: FunctionClass) -> AlgoFormer:
        channels, dim = self.channels(task), task.x_space.features
        return AlgoFormer(
            layout=Joint(query="every", marker=True, sees_itself=True),
            max_points=task.points,
            depth=2,
            before=3,
            after=2,
            loops=self.iterations,
            inject="none",
            width=channels.width,
            heads=1,
            mixer=LinearAttention(normalizer="scores", key_size=dim**2 + dim, bias=True),
            mlp_ratio=-(-(dim**3 + 2 * dim**2) // channels.width),
            activation="bilinear",
            norm="none",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        c, dim, size = self.channels(task), task.x_space.features, task.x_space.features**2
        row, column = np.divmod(np.arange(size), dim)
        one, examples, query = c.map(1, bias=1.0), c.map(1, bias=1.0, marker=-1.0), c.copy("marker")
        diagonal, x, m = np.eye(dim).reshape(1, size), c.copy("x"), c.copy("M")

        outer = Product(columns(x, row), columns(x, column), c.place("o"))
        moment = Product(c.map(dim, y=1.0), x, c.place("a"))
        ridge = Product(c.map(1, inverse=float(self.penalty)), query, c.place("e"))
        first = write_block(network.before.blocks[0], None, outer, moment, ridge)

        means = Attention(query, examples, c.copy("o", "a"), c.place("S", "b"))
        system = c.map(size, S=1.0, e=diagonal)
        squares = Product(system, system, np.ones((size, 1)) * c.place("f"))
        shift = Product(c.copy("e"), one, diagonal @ c.place("S"))
        second = write_block(network.before.blocks[1], means, squares, shift)

        scores = join(c.copy("k"), c.map(1, f=1.0, marker=-1.0)), join(query, examples)
        third = write_block(network.before.blocks[2], Attention(*scores, c.copy("S"), c.place("M")))

        multiply = matrix_product(c.copy("S"), m, c.place("N"))
        twice = Product(m, c.map(size, bias=1.0), c.place("M"))
        less = matrix_product(m, c.copy("N"), -c.place("M"))
        loop = (
            write_block(network.inner.blocks[0], None, multiply),
            write_block(network.inner.blocks[1], None, twice, less, c.clear("N")),
        )

        weights = Product(m, columns(c.copy("b"), column), c.place("w")[row])
        answer = Product(c.copy("w"), x, np.ones((dim, 1)) * c.place("p"))
        after = (
            write_block(network.after.blocks[0], None, weights),
            write_block(network.after.blocks[1], None, answer),
        )
        k = np.arange(task.points)[:, None]
        table = k * c.place("k") + (k > 0) / np.maximum(k, 1) * c.place("inverse")
        where = lambda n: [  # noqa: E731
            *(n.before.blocks, n.inner.blocks, n.after.blocks),
            *(n.inner.embed, n.inner.positions, n.inner.head),
        ]
        parts = [
            *((first, second, third), loop, after),
            *(write_linear(network.inner.embed, c.place("x", "y", "marker")), jnp.asarray(table, float)),
            write_linear(network.inner.head, c.copy("p").weight),
        ]
        return eqx.tree_at(where, network, parts)

    def algorithm(self, task: FunctionClass) -> Predictor:
        return Newton(self.iterations, self.penalty, "frobenius")

    def channels(self, task: FunctionClass) -> Channels:
        """Where in the residual stream everything is; matrices stand row by row."""
        dim = task.x_space.features
        vectors = {"x": dim, "a": dim, "b": dim, "w": dim}
        numbers = dict.fromkeys(("y", "marker", "k", "inverse", "e", "f", "p"), 1)
        return Channels(**vectors, **dict.fromkeys(("o", "S", "M", "N"), dim**2), **numbers)
