"""The nearest neighbor, as the limit of a sharp softmax.

Tokens (x_j, y_j) and queries (x_k, 0) in layout `joint`, where no query is among its own keys; no positions, no norms.
With scale b, a head whose scores are b (2 x_k'x_j - |x_j|^2) = b |x_k|^2 - b |x_k - x_j|^2 returns the mean

    prediction_k = sum_j y_j exp(-b |x_k - x_j|^2) / sum_j exp(-b |x_k - x_j|^2)

over the k examples, the kernel smoother of Nadaraya and Watson (1964). It tends to the nearest example's y: the weight
of all others is at most (k - 1) exp(-b gap), where the gap is the difference of the two least squared distances.
"""

from typing import Any, ClassVar, Literal

import equinox as eqx
import numpy as np

from function_classes.base import FunctionClass, Predictor
from function_classes.fields import setting
from icl.layouts import Joint
from icl.models.constructions.base import Construction
from icl.models.constructions.channels import Attention, Channels, Product, join, write_block, write_linear
from icl.models.mixers.linear import LinearAttention
from icl.models.mixers.softmax import SoftmaxAttention
from icl.models.transformer import Transformer
from icl.references.nearest_neighbors import NearestNeighbors


@Construction.registry.add("nearest-neighbor", papers=("garg-2022",))
class NearestNeighborWeights(Construction):
    """1-nearest-neighbor up to (k - 1) exp(-scale gap), for prompts of any length: 2 blocks, one head, width D + 3.

    Channels: x, y, n = |x|^2, m.

        block 0  attention silent;                                                  MLP: n += x'x
        block 1  softmax of scale (2 x_k'x_j - n_j), values y_j to m;               MLP silent

    The prediction is m. The first query sees nothing and predicts 0.
    """

    kind: ClassVar[Literal["exact", "approximate"]] = "approximate"

    scale: float = setting(100.0, "of the scores, in the unit of 1 / |x|^2; the limit is at infinity", above=0)

    def config(self, task: FunctionClass) -> Transformer:
        channels = _channels(task)
        silent, softmax = LinearAttention(key_size=1), SoftmaxAttention(key_size=channels.width - 2, scaled=False)
        return Transformer(
            layout=Joint(query="every", marker=False, sees_itself=False),
            depth=2,
            width=channels.width,
            heads=1,
            mixers=(silent, softmax),
            mlp_ratio=1,
            activation="bilinear",
            norm="none",
            positions="none",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        c, scale = _channels(task), float(self.scale)
        dim = task.x_space.features
        squares = Product(c.copy("x"), c.copy("x"), np.ones((dim, 1)) * c.place("n"))
        query = join(c.map(dim, x=2 * scale), c.map(1, bias=-scale))
        attention = Attention(query, c.copy("x", "n"), c.copy("y"), c.place("m"))
        parts = [
            write_linear(network.embed, c.place("x", "y")),
            (write_block(network.blocks[0], None, squares), write_block(network.blocks[1], attention)),
            write_linear(network.head, c.copy("m").weight),
        ]
        return eqx.tree_at(lambda n: [n.embed, n.blocks, n.head], network, parts)

    def algorithm(self, task: FunctionClass) -> Predictor:
        return NearestNeighbors(neighbors=1)


def _channels(task: FunctionClass) -> Channels:
    return Channels(x=task.x_space.features, y=1, n=1, m=1)
