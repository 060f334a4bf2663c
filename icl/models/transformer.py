"""The causal decoder transformer: GPT-2's blocks around any mixer, as trained by Garg et al. 2022."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import FunctionClass
from function_classes.fields import setting
from function_classes.spaces import Symbols
from icl.layouts import Signature, Stream
from icl.models.base import Learner, ModelConfig
from icl.models.heads import HeadConfig, Mean
from icl.models.mixers import Mixer, MixerConfig
from icl.models.mixers.base import Place, Visible
from icl.models.mixers.order import Order
from icl.models.mixers.softmax import SoftmaxAttention
from icl.models.parts import GATES, MLP, LayerNorm, Linear, affine, sinusoids, uniform_linear
from icl.models.stacked import Stacked, in_turn, narrowed
from icl.taps import tap

Positions = Literal["learned", "sinusoidal", "rotary", "alibi", "relative", "none"]


@ModelConfig.registry.add("transformer", papers=("garg-2022",))
class Transformer(Stacked):
    """Read-in, L blocks of norm - mixer - norm - MLP around a residual stream, final norm, read-out.

    h_0 = x W_in + position;  h' = h + mixer(norm(h));  h = h' + mlp(norm(h'));  output = norm(h_L) W_out.
    With norm = post, h' = norm(h + mixer(h)) and h = norm(h' + mlp(h')), and none before the read-out (Vaswani et al.
    2017); with none every norm is the identity. The hidden layer of the MLP is act(W_1 h + b_1), with bilinear
    (W_1 h + b_1) * (W_g h + b_g), with swiglu (W_1 h + b_1) * silu(W_g h + b_g); activation = none leaves MLPs out.
    Positions learned and sinusoidal are added to h_0; rotary, alibi and relative act in attention, by distance, and
    need tokens in causal order. Without MLP and norms, and with one mixer, this is `attention-only` between a read-in
    and a read-out. `tied` reads out with the transposed read-in, where tokens and outputs are the same symbols.
    """

    width: int = setting(64, "size of the residual stream, E", at_least=1, at_most=65536)
    mlp_ratio: int = setting(4, "hidden units of the MLP per unit of width", at_least=1)
    activation: Literal["gelu", "relu", "swiglu", "bilinear", "none"] = setting("gelu", "of the MLP; none: no MLP")
    norm: Literal["pre", "post", "none"] = setting("pre", "LayerNorm before mixers and MLPs, after, or not at all")
    positions: Positions = setting("learned", "how tokens know their place")
    init: Literal["gpt2", "fan-in"] = setting("fan-in", "standard deviations at the start: .02, or 1 / sqrt(fan-in)")
    compute: Literal["float32", "bfloat16"] = setting("float32", "type of activations; parameters stay float32")
    head: HeadConfig = setting(Mean(), "what outputs mean: a number, a Gaussian, bars; symbols: mean", absent=Mean())
    tied: bool = setting(False, "read out with the transposed read-in, of streams of symbols", absent=False)

    def refuses(self, task: FunctionClass) -> list[tuple[str, str]]:
        found, signature = super().refuses(task), Signature.of(task)
        if self.order != "none":
            deaf = dict.fromkeys(mixer.name for mixer in self.stack if not mixer.ordered)
            if deaf:
                words = f"{self.positions} acts on queries and keys of attention, which {', '.join(deaf)} has not"
                found.append(("positions", f"{words}; use learned, sinusoidal or none"))
            if self.layout.visible(task.points, signature) is not None:
                words = f"{self.positions} needs tokens in causal order, which layout {self.layout.name!r} has not"
                found.append(("positions", f"{words}; use learned or none"))
        if self.positions == "sinusoidal" and self.width % 2:
            found.append(("positions", f"sinusoidal needs an even width, got {self.width}"))
        if self.tied and not (isinstance(self.layout, Stream) and isinstance(task.y_space, Symbols)):
            found.append(("tied", "reads symbols out as they were read in: only streams of symbols can be tied"))
        return found + self.refuse_mixers(task, self.width, visible=not found)

    @property
    def order(self) -> Order:
        """What attention knows of distances."""
        return self.positions if self.positions in ("rotary", "alibi", "relative") else "none"

    def prompt_bytes(self, task: FunctionClass, remat: bool = False) -> int:
        """What the backward pass needs of every block but the last, which may have few rows to read: residuals, hidden
        units, and half of the attention's square; with `remat`, what entered the block."""
        length = self.layout.length(task.points, Signature.of(task))
        size = 2 if self.compute == "bfloat16" else 4
        squares = sum(isinstance(mixer, SoftmaxAttention) for mixer in self.stack[:-1])
        hidden = 0 if self.activation == "none" else self.mlp_ratio * (2 if self.activation in GATES else 1)
        if remat:
            return super().prompt_bytes(task) + size * (self.depth - 1) * length * self.width
        return super().prompt_bytes(task) + size * (
            (self.depth - 1) * length * self.width * (2 + hidden) + squares * (length**2 // 2 * self.heads)
        )

    def make(self, task: FunctionClass, *, key: PRNGKeyArray) -> Learner:
        signature = Signature.of(task)
        points = self.room(task)
        rows = int(self.layout.position_ids(points, signature).max()) + 1
        place = self.place(task, self.width, self.init, self.order)
        head = self.head.make(task)
        network = Network(self, place, self.layout.features(signature), head.size(signature.y), rows, key=key)
        tables = (*(("positions",) if self.positions == "learned" else ()), *self.bounded)
        return Learner(network, self.layout, signature, head, points if tables else None, tables)


def _norm(config: Transformer, *where: str) -> LayerNorm | eqx.nn.Identity:
    """LayerNorm for the settings of `norm` that have one here."""
    return LayerNorm(config.width) if config.norm in where else eqx.nn.Identity()


class Block(eqx.Module):
    """h' = h + mixer(norm(h)); h = h' + mlp(norm(h')), or with the norms after the sums."""

    norm_mixer: LayerNorm | eqx.nn.Identity
    mixer: Mixer
    norm_mlp: LayerNorm | eqx.nn.Identity
    mlp: MLP | None
    post: bool = eqx.field(static=True)

    def __init__(self, config: Transformer, choice: MixerConfig, place: Place, *, key: PRNGKeyArray):
        mixer, mlp = jax.random.split(key)
        width, depth, init = config.width, config.depth, config.init
        self.norm_mixer, self.mixer = _norm(config, "pre", "post"), choice.make(place, key=mixer)
        has_mlp = config.activation != "none"
        self.norm_mlp = _norm(config, "pre", "post") if has_mlp else eqx.nn.Identity()
        self.mlp = MLP(width, config.mlp_ratio, config.activation, depth, init, key=mlp) if has_mlp else None
        self.post = config.norm == "post"

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        mixed = self.mixer(x if self.post else self.norm_mixer(x), visible)
        return tap(self._after(x + mixed), "residual")

    def batched(
        self, x: Float[Array, "B T E"], visible: np.ndarray | None, rows: tuple[int, ...] | None
    ) -> Float[Array, "B R E"]:
        mixed = self.mixer.batched(x if self.post else self.norm_mixer(x), visible, rows)
        return self._after((x if rows is None else x[:, np.asarray(rows)]) + mixed)

    def _after(self, x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        """What follows the sum with the mixer's output."""
        x = self.norm_mixer(x) if self.post else x
        if self.mlp is None:
            return x
        return self.norm_mlp(x + self.mlp(x)) if self.post else x + self.mlp(self.norm_mlp(x))


class Network(eqx.Module):
    """Tokens (T, F) to outputs (R, O) at the rows that are read.

    Two paths compute the same function: `__call__` on one prompt, whose every intermediate value has a name, and
    `batched`, which flattens matrix products and skips the last block's work at rows nobody reads.
    """

    embed: Linear
    positions: Float[Array, "T E"] | None
    blocks: tuple[Block, ...]
    norm: LayerNorm | eqx.nn.Identity
    head: Linear | None
    compute: str = eqx.field(static=True)
    sinusoidal: bool = eqx.field(static=True)
    remat: bool = eqx.field(static=True)

    def __init__(self, config: Transformer, place: Place, features: int, outputs: int, rows: int, *, key: PRNGKeyArray):
        embed, positions, head, *blocks = jax.random.split(key, 3 + config.depth)
        self.embed = uniform_linear(features, config.width, key=embed)
        learned = config.positions == "learned"
        self.positions = 0.02 * jax.random.normal(positions, (rows, config.width)) if learned else None
        pairs = zip(config.stack, blocks, strict=True)
        self.blocks = tuple(Block(config, mixer, place, key=k) for mixer, k in pairs)
        self.norm = _norm(config, "pre")
        self.head = None if config.tied else uniform_linear(config.width, outputs, key=head)
        self.compute, self.sinusoidal, self.remat = config.compute, config.positions == "sinusoidal", False

    def __call__(
        self,
        tokens: Float[Array, "T F"],
        position_ids: Int[Array, "T"] | np.ndarray,
        visible: Visible | None = None,
        rows: tuple[int, ...] | None = None,
    ) -> Float[Array, "R O"]:
        net, x = self._enter(tokens, position_ids)
        x = tap(x, "residual")
        for block in net.blocks:
            x = block(x, visible)
        return net.read_out(x if rows is None else x[np.asarray(rows)])

    def batched(
        self,
        tokens: Float[Array, "B T F"],
        position_ids: np.ndarray,
        visible: np.ndarray | None = None,
        rows: tuple[int, ...] | None = None,
    ) -> Float[Array, "B R O"]:
        net, x = self._enter(tokens, position_ids)
        step = lambda block, x, rows: block.batched(x, visible, rows)  # noqa: E731
        return net.read_out(in_turn(step, net.blocks, x, rows, net.remat))

    def read_out(self, x: Float[Array, "*B R E"]) -> Float[Array, "*B R O"]:
        """Outputs from the residual stream, after the last block or, as a lens, after any."""
        return self.say(self.norm(x))

    def say(self, x: Float[Array, "*B R E"]) -> Float[Array, "*B R O"]:
        """The read-out without its norm. The last channel of a tied read-in is the start token's, never an output."""
        return affine(x, self.embed.weight[:-1].T, None) if self.head is None else self.head(x)

    def _enter(self, tokens: Float[Array, "*B T F"], position_ids: Int[Array, "T"] | np.ndarray):
        """The network in its compute type, and the residual stream before the first block."""
        # As in `Space.encode`, what comes in float64 stays so.
        net, x = narrowed((self, tokens), jnp.dtype(self.compute))
        return net, net.placed(net.embed(x), position_ids)

    def placed(self, x: Float[Array, "*B T E"], position_ids: Int[Array, "T"] | np.ndarray) -> Float[Array, "*B T E"]:
        """The residual stream with the code of every token's place."""
        if self.sinusoidal:
            code = sinusoids(position_ids, x.shape[-1], x.dtype)
        elif self.positions is not None:
            code = self.positions[position_ids]
        else:
            return x
        return x + (code if x.ndim == 2 else code[None])
