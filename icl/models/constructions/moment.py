"""One step of gradient descent whose gradient is written into the residual stream.

Tokens (x_j, y_j) and queries (x_k, 0) in layout `joint`; the step from w = 0 on sum_i (w'x_i - y_i)^2 / 2k is

    m_k = (1/k) sum_{i<k} y_i x_i,      prediction_k = rate m_k'x_k

Linear attention on raw tokens gives the same predictions and forms only the numbers m_k'x_j. Here every query holds the
vector m_k itself, which is what a read-out of X'y should find. (Products by bilinear MLPs; these weights are ours.)
"""

from typing import Any

import equinox as eqx
import numpy as np

from function_classes.base import FunctionClass, Predictor
from function_classes.fields import setting
from icl.layouts import Joint
from icl.models.constructions.base import Construction
from icl.models.constructions.channels import Attention, Channels, Product, write_block, write_linear
from icl.models.mixers.linear import LinearAttention
from icl.models.transformer import Transformer
from icl.references.gradient_descent import GradientDescent


@Construction.registry.add("explicit-moment")
class ExplicitMoment(Construction):
    """One step at this rate, for prompts of any length: 2 blocks, one head, width 3 D + 2.

    Channels: x, y, p = y x, m, o.

        block 0  attention silent;                                      MLP: p += y x, which is 0 at a query
        block 1  scores 1, values p_j, divided by their number, to m;   MLP: o += rate m'x

    The prediction is o. The first query sees nothing and predicts 0.
    """

    rate: float = setting(0.5, "learning rate on the mean over the examples", above=0)

    def config(self, task: FunctionClass) -> Transformer:
        channels, dim = _channels(task), task.x_space.features
        return Transformer(
            layout=Joint(query="every", marker=False, sees_itself=False),
            depth=2,
            width=channels.width,
            heads=1,
            mixers=(LinearAttention(key_size=1), LinearAttention(normalizer="count", key_size=dim, bias=True)),
            mlp_ratio=1,
            activation="bilinear",
            norm="none",
            positions="none",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        c, dim = _channels(task), task.x_space.features
        products = Product(c.map(dim, y=1.0), c.copy("x"), c.place("p"))
        one = c.map(1, bias=1.0)
        mean = Attention(one, one, c.copy("p"), c.place("m"))
        answer = Product(c.copy("m"), c.copy("x"), np.full((dim, 1), float(self.rate)) * c.place("o"))
        parts = [
            write_linear(network.embed, c.place("x", "y")),
            (write_block(network.blocks[0], None, products), write_block(network.blocks[1], mean, answer)),
            write_linear(network.head, c.copy("o").weight),
        ]
        return eqx.tree_at(lambda n: [n.embed, n.blocks, n.head], network, parts)

    def algorithm(self, task: FunctionClass) -> Predictor:
        return GradientDescent(1, self.rate)


def _channels(task: FunctionClass) -> Channels:
    dim = task.x_space.features
    return Channels(x=dim, y=1, p=dim, m=dim, o=1)
