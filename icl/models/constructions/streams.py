"""Induction heads on streams of symbols: two layers of attention that predict what followed the same symbol before.

Layout `stream`: a start token, then one-hot symbols. The residual stream of width 4C + 1 + P holds

    current (C) | start (1) | place (P), one-hot | previous (C) | found (C) | logits (C)

Layer 1 attends to the place before and writes its symbol into `previous`. Layer 2 compares the current symbol with
everybody's `previous` and writes the symbols beside the matches into `found`. Its MLP turns `found` into logits through

    f(x) = f(x_M) + sum_i b_i relu(x_i - x),      b_i = slope right of x_i - slope left of x_i

which is f at the knots x_0 < ... < x_M, linear between them and constant beyond. For a concave f all b_i but b_0 have
one sign, so little cancels. There are no norms, and the MLP of the first block is zero.
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
from icl.models.mixers.base import MixerConfig
from icl.models.mixers.linear import LinearAttention
from icl.models.mixers.softmax import SoftmaxAttention
from icl.models.parts import MLP, Linear
from icl.models.transformer import Network, Transformer
from icl.references.base import stream_of_symbols
from icl.references.kgram import CountedKGram, transitions

Reads = dict[str, np.ndarray]
"""Channel -> matrix (size of the channel, n): n linear functions of the residual stream."""


class InductionHead(Construction):
    """What the heads below share."""

    def mixer(self, size: int) -> MixerConfig:
        """The attention of both layers: one head, keys and values of that size."""
        raise NotImplementedError

    def knots(self, task: FunctionClass) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
        """Values of `found` in growing order, and the logits there."""
        raise NotImplementedError

    def layers(self, symbols: int, points: int) -> tuple[tuple[Reads, Reads, Reads], ...]:
        """Query, key and value of both layers."""
        symbol, place = np.eye(symbols), np.eye(points)
        before = {"place": np.eye(points, k=-1)}, {"place": place}, {"current": symbol}
        return before, ({"current": symbol}, {"previous": symbol}, {"current": symbol})

    @classmethod
    def example(cls) -> FunctionClass:
        return Markov(points=9, symbols=4)

    def applies(self, task: FunctionClass) -> str | None:
        return stream_of_symbols(self.name, task)

    def config(self, task: FunctionClass) -> Transformer:
        symbols, points = _sizes(task)
        width, units = 4 * symbols + 1 + points, symbols * len(self.knots(task)[0])
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

    def fill(self, network: Network, task: FunctionClass) -> Network:
        symbols, points = _sizes(task)
        channels = Channels(symbols, points)
        layers = zip(network.blocks, self.layers(symbols, points), ("previous", "found"), strict=True)
        mixers = [channels.attend(block.mixer, *reads, into) for block, reads, into in layers]
        first, second = (block.mlp for block in network.blocks)
        assert first is not None
        assert second is not None
        assert network.head is not None
        embed = np.eye(symbols + 1, channels.width)
        head = channels.read({"logits": np.eye(symbols)}, symbols)
        places = channels.read({"place": np.eye(points)}, points).T
        mlps = [_zero(first), self._read_out(second, channels, task)]
        ends = _write(network.embed, embed), _write(network.head, head), jnp.asarray(places, float)
        where = lambda n: [  # noqa: E731
            *(block.mixer for block in n.blocks),
            *(block.mlp for block in n.blocks),
            *(n.embed, n.head, n.positions),
        ]
        return eqx.tree_at(where, network, [*mixers, *mlps, *ends])

    def _read_out(self, mlp: MLP, channels: "Channels", task: FunctionClass) -> MLP:
        """logits = f(found), every symbol for itself."""
        knots, values = self.knots(task)
        slopes = np.concatenate([[0.0], np.diff(values) / np.diff(knots), [0.0]])
        symbols = _sizes(task)[0]
        units = np.repeat(np.eye(symbols), len(knots), 1)
        up = channels.read({"found": -units}, units.shape[1])
        down = channels.read({"logits": units * np.tile(np.diff(slopes), symbols)[None, :]}, units.shape[1])
        last = channels.read({"logits": np.full((symbols, 1), values[-1])}, 1)[:, 0]
        parts = _write(mlp.up, up, np.tile(knots, symbols)), _write(mlp.down, down.T, last)
        return eqx.tree_at(lambda m: (m.up, m.down), mlp, parts)


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

    def layers(self, symbols: int, points: int) -> tuple[tuple[Reads, Reads, Reads], ...]:
        (query, key, value), _ = super().layers(symbols, points)
        scale = float(self.scale)
        eye, last = np.eye(symbols, symbols + 1), np.eye(symbols + 1)[-1:]
        # Every token but the start has one symbol, so symbols and start add up to the constant 1.
        match = {"current": scale * (eye + last / 2), "start": scale * last / 2}
        uniform = np.full((1, symbols), 1 / symbols)
        second = match, {"previous": eye, "start": last}, {"current": np.eye(symbols), "start": uniform}
        return ({"place": scale * query["place"]}, key, value), second

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


class Channels:
    """Where everything stands in the residual stream of an induction head."""

    def __init__(self, symbols: int, points: int):
        names = ("current", "start", "place", "previous", "found", "logits")
        ends = np.cumsum([symbols, 1, points, symbols, symbols, symbols])
        self.slices = {n: slice(a, b) for n, a, b in zip(names, [0, *ends[:-1]], ends, strict=True)}
        self.width = int(ends[-1])

    def read(self, reads: Reads, size: int) -> Float[np.ndarray, "E N"]:
        """The matrix of `size` linear functions of the residual stream; those not given are 0."""
        weight = np.zeros((self.width, size))
        for name, part in reads.items():
            weight[self.slices[name], : part.shape[1]] = part
        return weight

    def attend(self, mixer: Any, query: Reads, key: Reads, value: Reads, into: str) -> Any:
        """A one-head attention with these projections, which writes its values into a channel."""
        inner = mixer.output.weight.shape[0]
        target = self.slices[into]
        output = self.read({into: np.eye(target.stop - target.start)}, inner).T
        weights = [self.read(reads, inner) for reads in (query, key, value)]
        where = lambda m: [m.query, m.key, m.value, m.output]  # noqa: E731
        return eqx.tree_at(where, mixer, [_write(a, w) for a, w in zip(where(mixer), [*weights, output], strict=True)])


def _write(linear: Linear, weight: np.ndarray, bias: np.ndarray | None = None) -> Linear:
    """A linear map with these numbers in its first rows and columns, and 0 elsewhere."""
    full, shift = np.zeros(linear.weight.shape), np.zeros(linear.weight.shape[1])
    full[: weight.shape[0], : weight.shape[1]] = weight
    shift[: 0 if bias is None else len(bias)] = 0 if bias is None else bias
    linear = eqx.tree_at(lambda m: m.weight, linear, jnp.asarray(full, float))
    return linear if linear.bias is None else eqx.tree_at(lambda m: m.bias, linear, jnp.asarray(shift, float))


def _zero(mlp: MLP) -> MLP:
    empty = np.zeros((0, 0))
    return eqx.tree_at(lambda m: (m.up, m.down), mlp, (_write(mlp.up, empty), _write(mlp.down, empty)))


def _sizes(task: FunctionClass) -> tuple[int, int]:
    """C and P."""
    space = task.y_space
    assert isinstance(space, Symbols)
    return space.n, task.points
