"""The posterior mean over a finite pool of weight vectors, without approximation.

The pool is w_1, ..., w_M, drawn from N(0, I) by an integer seed; labels are w'x plus noise s. After k examples

    prediction_k = sum_i p_i w_i'x_k,     p_i = softmax_i(a_i),     a_i = -sum_{j<k} (y_j - w_i'x_j)^2 / 2 s^2

(the discrete minimum mean squared error predictor of Raventos et al. 2023; these weights are ours.) Tokens (x_j, y_j)
and queries (x_k, 0) in layout `joint`; bilinear MLPs, no norms. A softmax over the M numbers of one token is made from
two things that attention can do at a query that sees itself and k >= 1 examples:

    logistic    softmax attention with score b + log k at itself and 0 at the examples: weighs itself e^b / (1 + e^b)
    division    linear attention divided by its scores, N at itself and (D - N) / k at each example: weighs itself N / D

log k, 1 / k and what k = 0 needs are numbers of the position.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import setting
from icl.layouts import Joint
from icl.models.constructions.base import Construction
from icl.models.constructions.channels import (
    Attention,
    Channels,
    Map,
    Product,
    alternate,
    join,
    write_block,
    write_linear,
)
from icl.models.mixers.linear import LinearAttention
from icl.models.mixers.softmax import SoftmaxAttention
from icl.models.transformer import Transformer
from icl.references.base import HIGHEST, LinearPredictor


@Construction.registry.add("finite-pool", papers=("raventos-2023",))
class FinitePool(Construction):
    """Bayes for a known pool of M weight vectors: 5 + ceil(log2 M) blocks, M heads, width about 7 M + D + 10.

        block 0       attention silent;                               MLP: errors e_i = (y - w_i'x)^2
        block 1       a_i = -sum of e_i over the examples / 2 s^2;    MLP silent
        tournament    g = logistic(f - l) of numbers f and l;         MLP: their mean c = l + g (f - l)
        next          g_i = logistic(a_i - c);                        MLP: others_i = (1 - 2 g_i) / k
        next          odds_i = g_i / (1 - g_i) = exp(a_i - c);        MLP: z = sum odds_i w_i'x, (sum odds - 1) / k
        last          m = z / sum odds;                               MLP: p = m, and m / M where k = 0

    The tournament replaces pairs of numbers by means that are at most .28 below the larger, until one number c is left.
    Any c gives the same p; this one lets no exponential overflow and not all of them vanish, whatever the prompt. (So
    log k would cancel; without it c is lower the longer the prompt, and 1 - g_i a difference of almost equal numbers.)
    """

    size: int = setting(8, "M, the number of weight vectors", at_least=1)
    seed: int = setting(0, "of the pool", at_least=0, at_most=2**32 - 1)
    noise_std: float = setting(0.5, "s, standard deviation of the label noise, in the unit of y", above=0)

    def pool(self, task: FunctionClass) -> Float[Array, "M D"]:
        """The weight vectors."""
        return jax.random.normal(jax.random.key(self.seed), (self.size, task.x_space.features), jnp.float32)

    def config(self, task: FunctionClass) -> Transformer:
        logistic = SoftmaxAttention(key_size=1, scaled=False)
        add = LinearAttention(key_size=1, bias=True)
        divide = LinearAttention(normalizer="scores", key_size=2, bias=True)
        mixers = (add, add, *(logistic,) * len(_rounds(self.size)), logistic, divide, divide)
        return Transformer(
            layout=Joint(query="every", marker=True, sees_itself=True),
            max_points=task.points,
            depth=len(mixers),
            width=self.channels(task).width,
            heads=self.size,
            mixers=mixers,
            mlp_ratio=1,
            activation="bilinear",
            norm="none",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        c, size = self.channels(task), self.size
        pool, blocks = np.asarray(self.pool(task), float), list(network.blocks)
        query, examples = c.map(size, marker=1.0), c.map(size, bias=1.0, marker=-1.0)
        errors = c.map(size, x=-pool.T, y=1.0)
        squares = Product(errors, errors, c.place("errors"))
        total = Attention(c.map(size, bias=1.0), examples, c.copy("errors"), c.place("a") / -(2 * self.noise_std**2))
        written = [write_block(blocks.pop(0), None, squares), write_block(blocks.pop(0), total)]

        largest = c.copy("a")
        for number, pairs in enumerate(_rounds(size), 1):
            mean, weight = f"c{number}", f"g{number}"
            first, second = (Map(largest.weight @ chosen, largest.bias @ chosen) for chosen in pairs)
            difference = Map(first.weight - second.weight, first.bias)
            own = c.map(first.bias.size, marker=1.0)
            logistic = Attention(_plus_log(c, difference), own, own, c.place(weight))
            between = Product(c.copy(weight), difference, c.place(mean))
            keep = Product(second, c.map(first.bias.size, bias=1.0), c.place(mean))
            written.append(write_block(blocks.pop(0), logistic, between, keep))
            largest = c.copy(mean)

        above = Map(c.copy("a").weight - np.tile(largest.weight, size), np.zeros(size))
        logistic = Attention(_plus_log(c, above), query, query, c.place("g"))
        others = Product(c.map(size, bias=1.0, g=-2.0), c.map(size, inverse=1.0), c.place("others"))
        written.append(write_block(blocks.pop(0), logistic, others))

        output = np.stack([c.place("odds"), 0 * c.place("odds")], 1).reshape(2 * size, -1)
        scores = alternate(c.copy("g"), c.copy("others")), alternate(query, examples)
        odds = Attention(*scores, alternate(query, c.map(size)), output)
        sums = Product(c.copy("odds"), c.map(size, x=pool.T), np.ones((size, 1)) * c.place("z"))
        rest = Product(c.map(1, bias=-1.0, odds=np.ones((size, 1))), c.copy("inverse"), c.place("rest"))
        written.append(write_block(blocks.pop(0), odds, sums, rest))

        scores = join(c.map(1, bias=1.0), c.copy("rest")), join(c.copy("marker"), c.map(1, bias=1.0, marker=-1.0))
        quotient = Attention(*scores, c.copy("z"), c.place("m"))
        written.append(write_block(blocks.pop(0), quotient, Product(c.copy("m"), c.copy("first"), c.place("p"))))

        k = np.arange(task.points)[:, None]
        table = np.log(np.maximum(k, 1)) * c.place("log") + (k > 0) / np.maximum(k, 1) * c.place("inverse")
        table = table + np.where(k > 0, 1, 1 / size) * c.place("first")
        parts = [
            write_linear(network.embed, c.place("x", "y", "marker")),
            jnp.asarray(table, float),
            tuple(written),
            write_linear(network.head, c.copy("p").weight),
        ]
        return eqx.tree_at(lambda n: [n.embed, n.positions, n.blocks, n.head], network, parts)

    def algorithm(self, task: FunctionClass) -> Predictor:
        return PoolPosterior(self.pool(task), jnp.float32(self.noise_std))

    def channels(self, task: FunctionClass) -> Channels:
        """Where in the residual stream the numbers of every block are."""
        size, rounds = self.size, [first.shape[1] for first, _ in _rounds(self.size)]
        sizes = {"x": task.x_space.features, "y": 1, "marker": 1, "log": 1, "inverse": 1, "first": 1}
        sizes |= {"errors": size, "a": size, "g": size, "others": size, "odds": size, "z": 1, "rest": 1, "m": 1, "p": 1}
        for number, count in enumerate(rounds, 1):
            sizes |= {f"c{number}": count, f"g{number}": count}
        return Channels(**sizes)


class PoolPosterior(LinearPredictor):
    """E[w | k examples] = sum_i softmax_i(-sum_{j<k} (y_j - w_i'x_j)^2 / 2 s^2) w_i."""

    pool: Float[Array, "M D"]
    noise_std: Float[Array, ""]

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
        errors = jnp.square(ys[:, None] - jnp.matmul(xs, self.pool.T, precision=HIGHEST))
        # Cumulated from the first example on, so that nothing shown later is added and subtracted again.
        before = jnp.cumsum(jnp.concatenate([jnp.zeros_like(errors[:1]), errors[:-1]]), 0)
        return jnp.matmul(jax.nn.softmax(-before / (2 * self.noise_std**2), -1), self.pool, precision=HIGHEST)


def _rounds(size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The matches of a tournament: of every pair the first and the second, as matrices (number before, number after)
    that choose them. One that is left over meets itself."""
    found = []
    while size > 1:
        first = np.arange(0, size, 2)
        eye = np.eye(size)
        found.append((eye[:, first], eye[:, np.minimum(first + 1, size - 1)]))
        size = len(first)
    return found


def _plus_log(c: Channels, score: Map) -> Map:
    """Scores plus log k, at which a query weighs itself logistic(score) against k examples of score 0."""
    return Map(score.weight + c.map(score.bias.size, log=1.0).weight, score.bias)
