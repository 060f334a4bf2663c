"""Attention and nothing else: the residual stream is the token itself, as in the linear self-attention literature."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import Problem, setting
from icl.layouts import Joint, Layout, Signature
from icl.models.base import Learner, ModelConfig
from icl.models.mixers import Mixer, MixerConfig
from icl.models.mixers.base import Visible
from icl.models.mixers.linear import LinearAttention
from icl.models.parts import affine, sinusoids
from icl.models.stacked import Stacked, in_turn
from icl.taps import tap


@ModelConfig.registry.add("attention-only", papers=("von-oswald-2022", "zhang-2023"))
class AttentionOnly(Stacked):
    """e <- e + damping * mixer(e), `depth` times: no read-in, no MLP, no norm.

    The width is the layout's number of channels, and the prediction is the y slot of the query token, or minus it (von
    Oswald: a step of gradient descent subtracts there what it adds to the prediction). `recurrent` applies one set of
    weights `depth` times; `loop` applies a trained one any other number of times. `init_scale` is the variance of the
    projections times their fan-in and depth, as von Oswald et al. scale theirs: std = sqrt(init_scale / (depth fan_in))
    / .8796; a mixer with weights of its own at the start does not read it.

    With `positions = sinusoidal` every token gets `code_size` more channels behind those of the layout, its position's
    code (`sinusoids`), as where von Oswald et al. put x and y into separate tokens. Codes exist for any length.
    """

    layout: Layout = setting(Joint(query="last", marker=False, sees_itself=False), "how examples become tokens")
    depth: int = setting(1, "number of layers or loops, L", at_least=1, at_most=1024)
    heads: int = setting(1, "attention heads, H", at_least=1)
    mixer: MixerConfig = setting(LinearAttention(), "what mixes tokens")
    mixers: tuple[MixerConfig, ...] = setting((), "the mixer of every layer, where they differ; none: mixer", absent=())
    positions: Literal["none", "sinusoidal"] = setting("none", "how tokens know their place", absent="none")
    code_size: int = setting(10, "channels of a position's code", at_least=2, absent=10)
    recurrent: bool = setting(False, "one set of weights, applied depth times")
    damping: float = setting(1.0, "multiplies what a layer adds", above=0)
    clip_tokens: float | None = setting(None, "bound on every entry after every layer; none: not clipped", above=0)
    reads: Literal["y", "minus-y"] = setting("y", "the prediction: y slot of the query token, or minus it")
    init_scale: float = setting(0.002, "variance times fan-in and depth of the projections at the start", above=0)

    @classmethod
    def usual_layout(cls, signature: Signature) -> Layout:
        return Joint(query="last", marker=False, sees_itself=False)

    def problems(self):
        if self.mixers and self.recurrent:
            yield Problem("mixers", "one set of weights has one mixer; leave mixers out, or use recurrent false")
        elif self.mixers and len(self.mixers) != self.depth:
            yield Problem("mixers", f"must be one for each of the {self.depth} layers, got {len(self.mixers)}")
        if self.code_size % 2:
            yield Problem("code_size", f"must be even, a sine and a cosine of each frequency; got {self.code_size}")

    @property
    def stack(self) -> tuple[MixerConfig, ...]:
        """The mixer of every set of weights."""
        return self.mixers or (self.mixer,) * (1 if self.recurrent else self.depth)

    def width(self, signature: Signature) -> int:
        """E: the channels of the layout and of the codes."""
        return self.layout.features(signature) + (self.code_size if self.positions == "sinusoidal" else 0)

    def refuses(self, task: FunctionClass) -> list[tuple[str, str]]:
        signature, found = Signature.of(task), super().refuses(task)
        if not found and self.layout.slot(signature) is None:
            words = f"layout {self.layout.name!r} has no y slot in its queries, where attention-only reads; use joint"
            found.append(("layout", words))
        return found or self.refuse_mixers(task, self.width(signature))

    def make(self, task: FunctionClass, *, key: PRNGKeyArray) -> Learner:
        signature = Signature.of(task)
        slot, width = self.layout.slot(signature), self.width(signature)
        if slot is None:
            raise NotAvailable(f"layout {self.layout.name!r} has no y slot in its queries")
        init = self.init_scale / self.depth
        pairs = zip(self.stack, jax.random.split(key, len(self.stack)), strict=True)
        place = self.place(task, width, init)
        layers = tuple(Layer(mixer.make(place, key=k)) for mixer, k in pairs)
        sign = 1.0 if self.reads == "y" else -1.0
        loops = self.depth if self.recurrent else None
        codes = self.code_size if self.positions == "sinusoidal" else 0
        slots = slot.start, slot.stop
        network = AttentionOnlyNetwork(layers, loops, self.damping, self.clip_tokens, slots, sign, codes)
        points = self.room(task) if self.bounded else None
        return Learner(network, self.layout, signature, self.head.make(task), points, self.bounded)


def loop(learner: Learner, loops: int, damping: float | None = None) -> Learner:
    """The same recurrent weights applied another number of times, and with other damping if that is given. Raises
    NotAvailable, a ValueError, for a network whose layers have weights of their own."""
    network = learner.network
    if not isinstance(network, AttentionOnlyNetwork) or network.loops is None:
        raise NotAvailable("only a recurrent attention-only network can be applied another number of times")
    damping = network.damping if damping is None else damping
    if loops < 1:
        raise ValueError(f"loops must be at least 1, got {loops}")
    return dataclasses.replace(learner, network=dataclasses.replace(network, loops=loops, damping=damping))


class Layer(eqx.Module):
    """e + damping * mixer(e), clipped."""

    mixer: Mixer

    def __call__(
        self, x: Float[Array, "T E"], visible: Visible | None, damping: float, clip: float | None
    ) -> Float[Array, "T E"]:
        return tap(_clip(x + damping * self.mixer(x, visible), clip), "residual")

    def batched(
        self,
        x: Float[Array, "B T E"],
        visible: Visible | None,
        rows: tuple[int, ...] | None,
        damping: float,
        clip: float | None,
    ) -> Float[Array, "B R E"]:
        kept = x if rows is None else x[:, np.asarray(rows)]
        return _clip(kept + damping * self.mixer.batched(x, visible, rows), clip)


def _clip(x: Array, bound: float | None) -> Array:
    return x if bound is None else jnp.clip(x, -bound, bound)


class AttentionOnlyNetwork(eqx.Module):
    """Tokens (T, F) to the y slot (R, O) of the rows that are read. `loops` is None where layers have own weights.

    A token e is the layout's F channels and `codes` channels of its position's code, E in all. With a `frame` G, tokens
    enter as e G and are read as e G'. For an orthogonal G that is the same function class in other coordinates; None
    stands for the identity.
    """

    blocks: tuple[Layer, ...]
    loops: int | None = eqx.field(static=True)
    damping: float = eqx.field(static=True)
    clip: float | None = eqx.field(static=True)
    slot: tuple[int, int] = eqx.field(static=True)
    sign: float = eqx.field(static=True)
    codes: int = eqx.field(static=True, default=0)
    frame: Float[Array, "E E"] | None = None
    remat: bool = eqx.field(static=True, default=False)

    def __call__(
        self,
        tokens: Float[Array, "T F"],
        position_ids: Int[Array, "T"] | np.ndarray,
        visible: Visible | None = None,
        rows: tuple[int, ...] | None = None,
    ) -> Float[Array, "R O"]:
        x = tap(self._enter(tokens, position_ids), "residual")
        if self.loops is None:
            for layer in self.blocks:
                x = layer(x, visible, self.damping, self.clip)
        else:
            (layer,) = self.blocks
            step = lambda x, _: (layer(x, visible, self.damping, self.clip), None)  # noqa: E731
            x = jax.lax.scan(step, x, length=self.loops)[0]
        return self.read_out(x if rows is None else x[np.asarray(rows)])

    def batched(
        self,
        tokens: Float[Array, "B T F"],
        position_ids: np.ndarray,
        visible: np.ndarray | None = None,
        rows: tuple[int, ...] | None = None,
    ) -> Float[Array, "B R O"]:
        layers = self.blocks if self.loops is None else self.blocks * self.loops
        x = self._enter(tokens, position_ids)
        step = lambda layer, x, rows: layer.batched(x, visible, rows, self.damping, self.clip)  # noqa: E731
        return self.read_out(in_turn(step, layers, x, rows, self.remat))

    def _enter(
        self, tokens: Float[Array, "*B T F"], position_ids: Int[Array, "T"] | np.ndarray
    ) -> Float[Array, "*B T E"]:
        if self.codes:
            code = sinusoids(position_ids, self.codes, tokens.dtype)
            tokens = jnp.concatenate([tokens, jnp.broadcast_to(code, (*tokens.shape[:-1], self.codes))], -1)
        return tokens if self.frame is None else affine(tokens, self.frame, None)

    def read_out(self, x: Float[Array, "*B R E"]) -> Float[Array, "*B R O"]:
        """The y slot, after the last layer or, as a lens, after any."""
        slot = slice(*self.slot)
        return self.sign * (x[..., slot] if self.frame is None else affine(x, self.frame[slot].T, None))
