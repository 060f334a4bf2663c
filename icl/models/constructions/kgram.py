"""k-grams in two layers: k heads copy the last k symbols, one head compares them all at once and counts what followed.

Layout `stream`: a start token, then one-hot symbols; one-hot places. Layer 1 writes into every token the k symbols
before its own, by one head for each distance. Rectified units then hold the one-hot code of a whole context,

    relu([s_1 = c_1] + ... + [s_k = c_k] - (k - 1)) = 1 for the context c_1 ... c_k, else 0

once for the k symbols up to the token itself, once for those before it. In layer 2 the first is the query, the second
the key and the symbol the value of a linear attention, whose sums N(context, c) are whole numbers without rounding.
Where fewer than k symbols have been seen no unit is on, and nothing is counted. (The order-k generalization of the
statistical induction head of Edelman et al. 2024. Rajaraman et al. 2024 need three layers and one head for any k; these
weights are ours, and pay C^k channels for being exact with two.)
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from function_classes.base import FunctionClass, Predictor
from function_classes.fields import setting
from function_classes.markov import Markov
from function_classes.spaces import Symbols
from icl.layouts import Stream
from icl.models.constructions.base import Construction
from icl.models.constructions.channels import (
    Attention,
    Channels,
    Map,
    Rectified,
    columns,
    interpolate,
    side_by_side,
    write_linear,
    write_rectified,
)
from icl.models.mixers.linear import LinearAttention
from icl.models.transformer import Transformer
from icl.references.base import stream_of_symbols
from icl.references.kgram import CountedKGram

# One-hot codes of contexts: the keys of every head of layer 2 have that many entries.
LARGEST = 256


@Construction.registry.add("k-gram", papers=("edelman-2024", "rajaraman-2024"))
class KGramWeights(Construction):
    """P(c) = (N(context, c) + alpha) / (N(context) + alpha C) for the last k symbols, uniform before there are k.

    2 blocks, k heads, width (k + 3) C + 2 C^k + P, with C^k at most 256. Exactly `k-gram` of that order, and Bayes for
    `markov` of that order and alpha. `add-alpha` is order 1 without codes.

    Channels: current (C), place (P), past (k C), context (C^k), before (C^k), found (C), logits (C).

        layer 1   head i attends to the place i before, current to past_i;    MLP: both codes
        layer 2   context with before, current to found;                      MLP: logits = log(found + alpha)

    The logarithm is linear between whole numbers, of which there are P - k.
    """

    order: int = setting(2, "number of symbols in the context, k", at_least=1)
    alpha: float = setting(1.0, "added to every count", above=0)

    @classmethod
    def example(cls) -> FunctionClass:
        return Markov(points=10, symbols=3, order=2)

    def applies(self, task: FunctionClass) -> str | None:
        reason = stream_of_symbols(self.name, task)
        if reason is None and (count := _sizes(task)[0] ** self.order) > LARGEST:
            words = f"{self.name} of order {self.order} codes each of {count} contexts by a channel of its own"
            return f"{words}, at most {LARGEST}; take a lower order or fewer symbols"
        return reason

    def config(self, task: FunctionClass) -> Transformer:
        (symbols, points), contexts = _sizes(task), _sizes(task)[0] ** self.order
        width = self.channels(task).width
        units = max(2 * contexts, symbols * len(self._knots(task)) + 1)
        sizes = max(points, symbols), max(contexts, symbols)
        return Transformer(
            layout=Stream(),
            max_points=points,
            depth=2,
            width=width,
            heads=self.order,
            mixers=tuple(LinearAttention(key_size=size) for size in sizes),
            mlp_ratio=-(-units // width),
            activation="relu",
            norm="none",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        c, (symbols, points), order = self.channels(task), _sizes(task), self.order
        copies = []
        for i in range(order):
            earlier, into = np.eye(points, k=-1 - i), c.place("past")[i * symbols : (i + 1) * symbols]
            head = Attention(c.map(points, place=earlier), c.copy("place"), c.copy("current"), into)
            copies.append(head)
        tuples = np.stack(np.unravel_index(np.arange(symbols**order), (symbols,) * order))
        member = (tuples[:, None, :] == np.arange(symbols)[None, :, None]).reshape(order * symbols, -1).astype(float)
        window, codes = c.copy("current", "past"), []
        for start, name in ((0, "context"), (symbols, "before")):
            seen = columns(window, np.arange(start, start + order * symbols))
            every = Map(seen.weight @ member, np.full(symbols**order, 1.0 - order))
            codes.append(Rectified(every, c.place(name)))
        first = write_rectified(network.blocks[0], side_by_side(max(points, symbols), *copies), *codes)
        count = Attention(c.copy("context"), c.copy("before"), c.copy("current"), c.place("found"))
        knots = self._knots(task)
        logs = interpolate(c.copy("found"), knots, np.log(knots + float(self.alpha)), c.place("logits"))
        second = write_rectified(network.blocks[1], count, logs)
        parts = [
            write_linear(network.embed, c.place("current")),
            jnp.asarray(c.place("place"), float),
            (first, second),
            write_linear(network.head, c.copy("logits").weight),
        ]
        return eqx.tree_at(lambda n: [n.embed, n.positions, n.blocks, n.head], network, parts)

    def algorithm(self, task: FunctionClass) -> Predictor:
        return CountedKGram(jnp.float32(self.alpha), self.order, _sizes(task)[0])

    def channels(self, task: FunctionClass) -> Channels:
        """Where everything is in the residual stream."""
        (symbols, points), contexts = _sizes(task), _sizes(task)[0] ** self.order
        sizes = {"current": symbols, "place": points, "past": self.order * symbols}
        return Channels(**sizes, context=contexts, before=contexts, found=symbols, logits=symbols)

    def _knots(self, task: FunctionClass) -> np.ndarray:
        """The counts that are possible, two at least."""
        return np.arange(max(task.points - self.order, 2), dtype=float)


def _sizes(task: FunctionClass) -> tuple[int, int]:
    """C and P."""
    space = task.y_space
    assert isinstance(space, Symbols)
    return space.n, task.points
