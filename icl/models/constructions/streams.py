"""Induction heads on streams of symbols: two layers of attention that predict what followed the same symbol before.

Layout `stream`: a start token, then one-hot symbols. The residual stream of width 4C + 1 + P holds

    current (C) | start (1) | place (P), one-hot | previous (C) | found (C) | logits (C)

Layer 1 attends to the place before and writes its symbol into `previous`. Layer 2 compares the current symbol with
everybody's `previous` and writes the symbols beside the matches into `found`. Its MLP turns `found` into logits through

    f(x) = f(x_M) + sum_i b_i relu(x_i - x),      b_i = slope right of x_i - slope left of x_i

which is f at the knots x_0 < ... < x_M, linear between them and constant beyond. There are no norms, and the MLP of the
first block is zero.
"""

import math
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Prediction, Predictor, Prompt
from function_classes.fields import setting
from function_classes.markov import Markov
from function_classes.spaces import Symbols
from icl.layouts import Stream
from icl.models.constructions.base import Construction
from icl.models.constructions.channels import (
    Attention,
    Channels,
    Map,
    interpolate,
    write_linear,
    write_rectified,
)
from icl.models.mixers.base import MixerConfig
from icl.models.mixers.linear import LinearAttention
from icl.models.mixers.softmax import SoftmaxAttention
from icl.models.transformer import Transformer
from icl.references.base import stream_of_symbols
from icl.references.kgram import CountedKGram, transitions


class InductionHead(Construction):
    """What the heads below share."""

    def mixer(self, size: int) -> MixerConfig:
        """The attention of both layers: one head, keys and values of that size."""
        raise NotImplementedError

    def knots(self, task: FunctionClass) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
        """Values of `found` in growing order, and the logits there."""
        raise NotImplementedError

    def layers(self, c: Channels, symbols: int, points: int) -> tuple[Attention, Attention]:
        """The heads of both layers."""
        before = c.map(points, place=np.eye(points, k=-1))
        copy = Attention(before, c.copy("place"), c.copy("current"), c.place("previous"))
        return copy, Attention(c.copy("current"), c.copy("previous"), c.copy("current"), c.place("found"))

    @classmethod
    def example(cls) -> FunctionClass:
        return Markov(points=9, symbols=4)

    def applies(self, task: FunctionClass) -> str | None:
        return stream_of_symbols(self.name, task)

    def config(self, task: FunctionClass) -> Transformer:
        symbols, points = _sizes(task)
        width, units = self.channels(task).width, symbols * len(self.knots(task)[0]) + 1
        return Transformer(
            layout=Stream(),
            max_points=points,
            depth=2,
            width=width,
            heads=1,
            mixers=(self.mixer(max(points, symbols)), self.mixer(symbols + 1)),
            mlp_ratio=math.ceil(units / width),
            activation="relu",
            norm="none",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        c, (knots, values) = self.channels(task), self.knots(task)
        copy, match = self.layers(c, *_sizes(task))
        logits = interpolate(c.copy("found"), knots, values, c.place("logits"))
        parts = [
            write_linear(network.embed, c.place("current", "start")),
            jnp.asarray(c.place("place"), float),
            (write_rectified(network.blocks[0], copy), write_rectified(network.blocks[1], match, logits)),
            write_linear(network.head, c.copy("logits").weight),
        ]
        return eqx.tree_at(lambda n: [n.embed, n.positions, n.blocks, n.head], network, parts)

    def channels(self, task: FunctionClass) -> Channels:
        """Where everything stands in the residual stream."""
        symbols, points = _sizes(task)
        return Channels(current=symbols, start=1, place=points, previous=symbols, found=symbols, logits=symbols)


@Construction.registry.add("add-alpha", papers=("edelman-2024",))
class AddAlpha(InductionHead):
    """The statistical induction head: linear attention counts N(current symbol, c), and the logits are log(N + alpha).

    P(c) = (N(s, c) + alpha) / (N(s) + alpha C) for the current symbol s, uniform before there is a transition: exactly
    the bigram of `k-gram`, and Bayes for `markov` of order 1 with this alpha. One knot for every count up to P - 2.
    """

    alpha: float = setting(1.0, "added to every count", above=0)

    def mixer(self, size: int) -> LinearAttention:
        return LinearAttention(key_size=size)

    def knots(self, task: FunctionClass) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
        counts = np.arange(max(task.points - 1, 2))
        return counts.astype(float), np.log(counts + float(self.alpha))

    def algorithm(self, task: FunctionClass) -> Predictor:
        return CountedKGram(jnp.float32(self.alpha), 1, _sizes(task)[0])


@Construction.registry.add("induction", papers=("olsson-2022",))
class SoftmaxInduction(InductionHead):
    """The induction head of softmax attention: the mean of what followed the current symbol, as probabilities.

    Scores are `scale` at a match and 0 elsewhere. The start token has scale / 2 and says 1 / C for every symbol: what
    is predicted before any match. So `found` is the empirical bigram up to about P exp(-scale / 2). Logits are
    log(max(found, floor)), linear between `pieces` points that are equally spaced in the logarithm, which is off by at
    most h^2 / 8 nats for a spacing h = log(1 / floor) / (pieces - 1).
    """

    kind: ClassVar[Literal["exact", "approximate"]] = "approximate"

    scale: float = setting(40.0, "score of a match, in nats", above=0)
    floor: float = setting(1e-3, "least probability before they are made to sum to 1", above=0, below=1)
    pieces: int = setting(64, "points between which the logarithm is linear", at_least=2)

    def mixer(self, size: int) -> SoftmaxAttention:
        return SoftmaxAttention(bias=False, key_size=size, scaled=False)

    def layers(self, c: Channels, symbols: int, points: int) -> tuple[Attention, Attention]:
        copy, _ = super().layers(c, symbols, points)
        scale = float(self.scale)
        eye, last = np.eye(symbols, symbols + 1), np.eye(symbols + 1)[-1:]
        # Every token but the start has one symbol, so symbols and start add up to the constant 1.
        query = c.map(symbols + 1, current=scale * (eye + last / 2), start=scale * last / 2)
        key = c.map(symbols + 1, previous=eye, start=last)
        value = c.map(symbols, current=1.0, start=np.full((1, symbols), 1 / symbols))
        sharper = copy._replace(query=Map(scale * copy.query.weight, copy.query.bias))
        return sharper, Attention(query, key, value, c.place("found"))

    def knots(self, task: FunctionClass) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
        logs = np.linspace(np.log(float(self.floor)), 0.0, self.pieces)
        return np.exp(logs), logs

    def algorithm(self, task: FunctionClass) -> Predictor:
        return FlooredBigram(jnp.float32(self.floor), _sizes(task)[0])


class FlooredBigram(eqx.Module):
    """P(c) in proportion to max(N(s, c) / N(s), floor) for the current symbol s; uniform where N(s) = 0."""

    floor: Float[Array, ""]
    symbols: int = eqx.field(static=True)

    def __call__(self, prompt: Prompt) -> Prediction:
        counts = transitions(prompt.ys, 1, self.symbols)
        total = jnp.sum(counts, -1, keepdims=True)
        probs = jnp.where(total > 0, counts / jnp.maximum(total, 1), 1 / self.symbols)
        kept = jnp.maximum(probs, self.floor)
        return Prediction(log_probs=jnp.log(kept / jnp.sum(kept, -1, keepdims=True)))


def _sizes(task: FunctionClass) -> tuple[int, int]:
    """C and P."""
    space = task.y_space
    assert isinstance(space, Symbols)
    return space.n, task.points
