"""Copying, then a step of gradient descent, where x and y are separate tokens (von Oswald et al. 2022, section 5).

Tokens (y, x, code): (0, x_i, c(2i)) and (y_i, 0, c(2i + 1)) alternate, the query (0, x, c(2k)) is last and no key. A
rotation R of every pair of the code has R c(t) = c(t - 1), so softmax attention on codes alone,

    score(i, j) = beta (R c(i))' c(j) = beta sum_f cos(w_f (i - 1 - j)),        value x,

adds to every token the x of the token before it: y tokens become (y_i, x_i), and the others stay as they are but for
x_0, whose y is 0. One head of linear attention with W_Q = W_K on x, W_V = -y and P = 2 rate / (2k) then adds
-(rate / k) sum_i y_i x_i'x to the y slot of the query, and the prediction is minus that slot.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from function_classes.base import FunctionClass, Predictor
from function_classes.fields import setting
from icl.layouts import Interleaved, Signature
from icl.models.attention_only import AttentionOnly
from icl.models.constructions.base import Construction, write_projections
from icl.models.mixers.linear import LinearAttention
from icl.models.mixers.softmax import SoftmaxAttention
from icl.models.parts import frequencies
from icl.references.gradient_descent import GradientDescent

CODES = 10


@Construction.registry.add("copy-then-step", papers=("von-oswald-2022",))
class CopyThenStep(Construction):
    """One step of gradient descent on interleaved tokens, by the paper's two layers: softmax, then linear.

    Attention to the token before is exact in the limit of large `sharpness`, beta: all others together have at most
    `leak` of it.
    """

    kind = "approximate"

    rate: float = setting(0.5, "learning rate eta on the mean over the examples", above=0)
    sharpness: float = setting(50.0, "beta, the factor on the scores of the attention that copies", above=0)

    def config(self, task: FunctionClass) -> AttentionOnly:
        return AttentionOnly(
            layout=Interleaved(channels="separate", query="last"),
            depth=2,
            mixers=(SoftmaxAttention(bias=False, scaled=False), LinearAttention(normalizer="count")),
            positions="sinusoidal",
            code_size=CODES,
            reads="minus-y",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        dim, width = task.x_space.features, self.config(task).width(Signature.of(task))
        y, x, code = slice(0, 1), slice(1, 1 + dim), slice(1 + dim, width)
        channels = {name: np.zeros(width) for name in ("y", "x", "code")}
        for name, part in (("y", y), ("x", x), ("code", code)):
            channels[name][part] = 1.0
        before = np.zeros((width, width))
        for pair, angle in enumerate(frequencies(CODES)):
            at = slice(code.start + 2 * pair, code.start + 2 * pair + 2)
            before[at, at] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        first, second = (block.mixer for block in network.blocks)
        first = write_projections(first, channels["code"], channels["x"], channels["x"])
        first = eqx.tree_at(lambda m: m.query.weight, first, jnp.asarray(self.sharpness * before, float))
        second = write_projections(second, channels["x"], -channels["y"], 2 * self.rate * channels["y"])
        return eqx.tree_at(lambda n: [block.mixer for block in n.blocks], network, [first, second])

    def leak(self, tokens: int) -> float:
        """Bound on the weight that a token's attention gives to others than the one before it, for that many tokens:
        T exp(-beta gap), gap the least sum_f (1 - cos(w_f d)) over the other distances."""
        angles = np.arange(1, tokens)[:, None] * frequencies(CODES)[None, :]
        return float(tokens * np.exp(-self.sharpness * np.min(np.sum(1 - np.cos(angles), 1))))

    def algorithm(self, task: FunctionClass) -> Predictor:
        return GradientDescent(1, self.rate)
