"""Attention and nothing else: the residual stream is the token itself, as in the linear self-attention literature."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import setting
from icl.layouts import Joint, Layout, Signature
from icl.models.base import Learner, ModelConfig
from icl.models.mixers import Mixer, MixerConfig
from icl.models.mixers.base import Visible
from icl.models.mixers.linear import LinearAttention
from icl.models.parts import affine
from icl.taps import tap


@ModelConfig.registry.add("attention-only", papers=("von-oswald-2022", "zhang-2023"))
class AttentionOnly(ModelConfig):
    """e <- e + damping * mixer(e), `depth` times: no read-in, no MLP, no norm, no positions.

    The width is the layout's number of channels, and the prediction is the y slot of the query token, or minus it (von
    Oswald: a step of gradient descent subtracts there what it adds to the prediction). `recurrent` applies one set of
    weights `depth` times; `loop` applies a trained one any other number of times. `init_scale` is the variance of the
    projections times their fan-in and depth, as von Oswald et al. scale theirs: std = sqrt(init_scale / (depth fan_in))
    / .8796; a mixer with weights of its own at the start does not read it.
    """

    layout: Layout = setting(Joint(query="last", marker=False, sees_itself=False), "how examples become tokens")
    depth: int = setting(1, "number of layers or loops, L", at_least=1, at_most=1024)
    heads: int = setting(1, "attention heads, H", at_least=1)
    mixer: MixerConfig = setting(LinearAttention(), "what mixes tokens")
    recurrent: bool = setting(False, "one set of weights, applied depth times")
    damping: float = setting(1.0, "multiplies what a layer adds", above=0)
    clip_tokens: float | None = setting(None, "bound on every entry after every layer; none: not clipped", above=0)
    reads: Literal["y", "minus-y"] = setting("y", "the prediction: y slot of the query token, or minus it")
    init_scale: float = setting(0.002, "variance times fan-in and depth of the projections at the start", above=0)

    @classmethod
    def usual_layout(cls, signature: Signature) -> Layout:
        return Joint(query="last", marker=False, sees_itself=False)

    def refuses(self, task: FunctionClass) -> list[tuple[str, str]]:
        signature, found = Signature.of(task), super().refuses(task)
        if not found and self.layout.slot(signature) is None:
            words = f"layout {self.layout.name!r} has no y slot in its queries, where attention-only reads; use joint"
            found.append(("layout", words))
        reason = None if found else self.mixer.refuses(self.layout.features(signature), self.heads)
        return found + ([("heads", reason)] if reason else [])

    def make(self, task: FunctionClass, *, key: PRNGKeyArray) -> Learner:
        signature = Signature.of(task)
        slot, width = self.layout.slot(signature), self.layout.features(signature)
        if slot is None:
            raise NotAvailable(f"layout {self.layout.name!r} has no y slot in its queries")
        init = self.init_scale / self.depth
        keys = jax.random.split(key, 1 if self.recurrent else self.depth)
        layers = tuple(Layer(self.mixer.make(width, self.heads, self.depth, init, key=k)) for k in keys)
        sign = 1.0 if self.reads == "y" else -1.0
        loops = self.depth if self.recurrent else None
        network = AttentionOnlyNetwork(layers, loops, self.damping, self.clip_tokens, (slot.start, slot.stop), sign)
        return Learner(network, self.layout, signature)


def loop(learner: Learner, loops: int, damping: float | None = None) -> Learner:
    """The same recurrent weights applied another number of times, and with other damping if that is given. Raises
    ValueError for a network whose layers have weights of their own."""
    network = learner.network
    if not isinstance(network, AttentionOnlyNetwork) or network.loops is None:
        raise ValueError("only a recurrent attention-only network can be applied another number of times")
    damping = network.damping if damping is None else damping
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
    """Tokens (T, E) to the y slot (R, O) of the rows that are read. `loops` is None where layers have own weights.

    With a `frame` F, tokens enter as e F and are read as e F'. For an orthogonal F that is the same function class in
    other coordinates; None stands for the identity.
    """

    blocks: tuple[Layer, ...]
    loops: int | None = eqx.field(static=True)
    damping: float = eqx.field(static=True)
    clip: float | None = eqx.field(static=True)
    slot: tuple[int, int] = eqx.field(static=True)
    sign: float = eqx.field(static=True)
    frame: Float[Array, "E E"] | None = None

    def __call__(
        self,
        tokens: Float[Array, "T E"],
        position_ids: Int[Array, "T"] | np.ndarray,
        visible: Visible | None = None,
        rows: tuple[int, ...] | None = None,
    ) -> Float[Array, "R O"]:
        x = tap(self._enter(tokens), "residual")
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
        tokens: Float[Array, "B T E"],
        position_ids: np.ndarray,
        visible: np.ndarray | None = None,
        rows: tuple[int, ...] | None = None,
    ) -> Float[Array, "B R O"]:
        *early, last = self.blocks if self.loops is None else self.blocks * self.loops
        x = self._enter(tokens)
        for layer in early:
            x = layer.batched(x, visible, None, self.damping, self.clip)
        return self.read_out(last.batched(x, visible, rows, self.damping, self.clip))

    def _enter(self, tokens: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        return tokens if self.frame is None else affine(tokens, self.frame, None)

    def read_out(self, x: Float[Array, "*B R E"]) -> Float[Array, "*B R O"]:
        """The y slot, after the last layer or, as a lens, after any."""
        slot = slice(*self.slot)
        return self.sign * (x[..., slot] if self.frame is None else affine(x, self.frame[slot].T, None))
