"""The elimination learner of conjunctions in one block: attention counts refutations, rectified units see what is left.

Tokens (x_j, y_j) and queries (x_k, 0) in layout `joint`, of signs. A literal is x_i = +1 or x_i = -1, and positives
that it does not hold for refute it. One linear attention sums over the k examples

    n(i, +) = sum_j [y_j = +1] [x_ji = -1]            n(i, -) = sum_j [y_j = +1] [x_ji = +1]

where the key is (1 + y_j) / 2 and the values are (1 -+ x_ji) / 2. These are whole numbers, so that

    relu(1 - n(i, s) - [x_ki = s]) = 1 where literal (i, s) has survived and x_k falsifies it, else 0

exactly, and their sum u is 0 just where all surviving literals hold: the log odds of +1 are `certainty` (1 - 2 u).
(Valiant 1984; that transformers can learn so in context is Bhattamishra et al. 2023; these weights are ours.)
"""

from typing import Any, Literal

import equinox as eqx
import numpy as np

from function_classes.base import FunctionClass, Predictor
from function_classes.conjunctions import Conjunction
from function_classes.fields import setting
from icl.layouts import Joint
from icl.models.constructions.base import Construction
from icl.models.constructions.channels import (
    Attention,
    Channels,
    Map,
    Rectified,
    join,
    write_linear,
    write_rectified,
)
from icl.models.mixers.linear import LinearAttention
from icl.models.transformer import Transformer
from icl.references.surviving_literals import SurvivingLiterals


@Construction.registry.add("surviving-literals", papers=("bhattamishra-2023",))
class SurvivingLiteralsWeights(Construction):
    """What `surviving-literals` says, at any length: 1 block, one head, width 3 D + 2, 2 D + 1 hidden units.

    Channels: x, y, n (2 D), the log odds. The reference is certain; here the more literals x_k breaks, the more certain
    a no, and `certainty` 40 is one in float32. `disjunction` is the same of -x and -y.
    """

    form: Literal["conjunction", "disjunction"] = setting("conjunction", "what is learned")
    certainty: float = setting(40.0, "log odds of a yes", above=0)

    @classmethod
    def example(cls) -> FunctionClass:
        return Conjunction(dim=4, points=9)

    def applies(self, task: FunctionClass) -> str | None:
        return SurvivingLiterals(self.form).applies(task)

    def config(self, task: FunctionClass) -> Transformer:
        return Transformer(
            layout=Joint(query="every", marker=False, sees_itself=False),
            depth=1,
            width=_channels(task).width,
            heads=1,
            mixer=LinearAttention(key_size=2 * task.x_space.features, bias=True),
            mlp_ratio=1,
            activation="relu",
            norm="none",
            positions="none",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        c, dim = _channels(task), task.x_space.features
        side, certainty = (1.0 if self.form == "conjunction" else -1.0), float(self.certainty)
        holds = join(*(c.map(dim, bias=0.5, x=sign * side / 2) for sign in (1, -1)))
        broken = Map(-holds.weight, 1 - holds.bias)
        positive = c.map(1, bias=0.5, y=side / 2)
        counts = Attention(c.map(1, bias=1.0), positive, broken, c.place("n"))
        left = Map(broken.weight - c.copy("n").weight, broken.bias)
        yes = side * certainty * c.place("odds")
        says = Rectified(join(left, c.map(1, bias=1.0)), np.concatenate([np.tile(-2 * yes, (2 * dim, 1)), yes]))
        parts = [
            write_linear(network.embed, c.place("x", "y")),
            (write_rectified(network.blocks[0], counts, says),),
            write_linear(network.head, c.copy("odds").weight),
        ]
        return eqx.tree_at(lambda n: [n.embed, n.blocks, n.head], network, parts)

    def algorithm(self, task: FunctionClass) -> Predictor:
        return SurvivingLiterals(self.form)


def _channels(task: FunctionClass) -> Channels:
    dim = task.x_space.features
    return Channels(x=dim, y=1, n=2 * dim, odds=1)
