"""Looped transformers: the same blocks again and again, with the input added in every loop (Yang et al. 2023).

    P = x W_in,  Y_0 = 0,  Y_{t+1} = norm(blocks(inject(Y_t, P) + position)),  prediction_t = Y_{t+1} W_out

The loss is the mean over the last T of b loops; loops before them run without gradient, and the state that enters the
window is a constant. AlgoFormer (Gao et al. 2024) has blocks of their own before and after the loop. With a halting
read-out (Graves 2016, Banino et al. 2021) every token says after every loop whether it is done:

    h_t = sigmoid(Y_t w + c),  p_t = h_t prod_{s < t} (1 - h_s),  h_b = 1,      output = sum_t p_t output_t
"""

import dataclasses
import math
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import Problem, setting
from icl.models.base import Learner, ModelConfig
from icl.models.mixers.base import Place, Visible
from icl.models.parts import LayerNorm, Linear, sinusoids
from icl.models.stacked import narrowed
from icl.models.transformer import Block, Network, Transformer
from icl.taps import tap

# Channels of the code of a loop's number, where loops are told apart.
CODES = 16


@ModelConfig.registry.add("looped", papers=("yang-2023", "graves-2016", "banino-2021"))
class Looped(Transformer):
    """`depth` blocks in a loop, run `loops` times (b); the loss covers the last `loss_window` of them (T).

    inject = add: Y + P, multiply: Y * P with Y_0 = 1, none: Y_0 = P and nothing after. Positions and the last norm are
    inside the loop. b may grow: loops_start, then loops_by more every loops_every steps, up to `loops`; a change
    compiles nothing. `timesteps` adds a learned map of the loop's number. At test time any number of loops may be run:
    `loop(learner, count)`. Validation runs all `loops` from the start.

    With `halting` outputs, before the head reads them, are means over the loops by the probabilities p of halting, and
    the loss is that of what is read, through all loops; at the start w = 0 and h_t = 1 / b. Deviations: ACT averages
    states and PonderNet losses, and both put a price on loops.
    """

    depth: int = setting(1, "blocks in the loop", at_least=1, at_most=1024)
    loops: int = setting(12, "b, how often the loop runs", at_least=1)
    loss_window: int | None = setting(None, "T, the last loops, which the loss covers; none: all", at_least=1)
    loops_start: int | None = setting(None, "b at the first step; none: loops", at_least=1)
    loops_by: int = setting(2, "loops added at every increment", at_least=1)
    loops_every: int = setting(500, "steps between increments", at_least=1)
    inject: Literal["add", "multiply", "none"] = setting("add", "how the input enters every loop")
    timesteps: bool = setting(False, "whether blocks are told the number of the loop")
    halting: bool = setting(False, "whether every token weighs the loops by when it halts", absent=False)

    def problems(self):
        yield from super().problems()
        if self.halting and (self.loss_window is not None or self.loops_start is not None):
            words = "halting weighs all loops from the first; leave loss_window and loops_start out"
            yield Problem("halting", words)
        if self.loss_window is not None and self.loss_window > self.loops:
            yield Problem("loss_window", f"must be at most loops = {self.loops}, got {self.loss_window}")
        if self.loops_start is not None and not (self.loss_window or self.loops) <= self.loops_start <= self.loops:
            least = f"loss_window = {self.loss_window}" if self.loss_window else f"loops = {self.loops}"
            yield Problem("loops_start", f"must be from {least} to loops = {self.loops}, got {self.loops_start}")

    @property
    def rule(self) -> "Loop":
        return Loop(self.loops, self.loss_window, self.loops_start, self.loops_by, self.loops_every, self.inject)

    def on_tokens(self, length: int, features: int, outputs: int, *, key: PRNGKeyArray) -> "LoopedNetwork":
        """The network of no function class: tokens (length, features) to outputs (length, outputs)."""
        place = Place(self.width, self.heads, self.depth, length, self.init, self.order)
        inner = Network(self, place, features, outputs, length, key=key)
        return LoopedNetwork(Stack(()), inner, Stack(()), eqx.nn.Identity(), None, None, self.rule)

    def prompt_bytes(self, task: FunctionClass, remat: bool = False) -> int:
        """What the window's loops keep."""
        return super().prompt_bytes(task, remat) * (self.loss_window or self.loops)

    def make(self, task: FunctionClass, *, key: PRNGKeyArray) -> Learner:
        return self.learner(task, (0, 0), key=key)

    def learner(self, task: FunctionClass, ends: tuple[int, int], *, key: PRNGKeyArray) -> Learner:
        """With blocks before and after the loop."""
        inner, times, first, last = jax.random.split(key, 4)
        single, place = super().make(task, key=inner), self.place(task, self.width, self.init, self.order)
        before, after = (
            tuple(Block(self, self.stack[0], place, key=k) for k in jax.random.split(own, count))
            for own, count in zip((first, last), ends, strict=True)
        )
        clock = Linear(CODES, self.width, CODES**-0.5, bias=False, key=times) if self.timesteps else None
        last = LayerNorm(self.width) if after and self.norm == "pre" else eqx.nn.Identity()
        halt = Linear(self.width, 1, 0.0, key=key) if self.halting else None
        if halt is not None:
            halt = eqx.tree_at(lambda m: m.bias, halt, jnp.full(1, -math.log(max(self.loops - 1, 1))))
        network = LoopedNetwork(Stack(before), single.network, Stack(after), last, clock, halt, self.rule)
        return dataclasses.replace(single, network=network)


@ModelConfig.registry.add("algoformer", papers=("gao-2024",))
class AlgoFormer(Looped):
    """Blocks before the loop, a loop, blocks after it: a representation, an iterative solver, a read-out.

    The loop is that of `looped`, on the output of the first blocks, which read positions too; blocks after the loop
    have a norm of their own before the read-out. `mixers` are those of the loop; all blocks before and after it take
    the first of them. No code of the paper is public: sizes are ours.
    """

    before: int = setting(1, "blocks before the loop", at_least=0)
    after: int = setting(1, "blocks after the loop", at_least=0)

    def make(self, task: FunctionClass, *, key: PRNGKeyArray) -> Learner:
        return self.learner(task, (self.before, self.after), key=key)


class Loop(eqx.Module):
    """How often the loop runs, and what of it is trained."""

    loops: int = eqx.field(static=True)
    window: int | None = eqx.field(static=True)
    start: int | None = eqx.field(static=True)
    by: int = eqx.field(static=True)
    every: int = eqx.field(static=True)
    inject: str = eqx.field(static=True)

    def count(self, step: Int[Array, ""]) -> Int[Array, ""]:
        """b at a training step."""
        if self.start is None:
            return jnp.asarray(self.loops, jnp.int32)
        return jnp.minimum(self.start + self.by * (step // self.every), self.loops).astype(jnp.int32)


class Stack(eqx.Module):
    """Blocks, one after the other."""

    blocks: tuple[Block, ...]


class LoopedNetwork(eqx.Module):
    """`inner` is the transformer whose blocks and last norm are the loop, whose read-in and read-out are around it."""

    before: Stack
    inner: Network
    after: Stack
    last: LayerNorm | eqx.nn.Identity
    clock: Linear | None
    halt: Linear | None
    rule: Loop

    def __call__(
        self,
        tokens: Float[Array, "T F"],
        position_ids: Int[Array, "T"] | np.ndarray,
        visible: Visible | None = None,
        rows: tuple[int, ...] | None = None,
    ) -> Float[Array, "R O"]:
        net, enters = self._enter(tokens, position_ids, visible)
        if net.halt is not None:
            return net._halted(enters, position_ids, visible, rows)
        step = lambda y, t: (tap(net._body(y, enters, position_ids, visible, t), "loop"), None)  # noqa: E731
        y = jax.lax.scan(step, net._first(enters), jnp.arange(self.rule.loops))[0]
        return net.read_out(net._leave(y, visible), rows)

    def batched(
        self,
        tokens: Float[Array, "B T F"],
        position_ids: np.ndarray,
        visible: np.ndarray | None = None,
        rows: tuple[int, ...] | None = None,
    ) -> Float[Array, "B R O"]:
        net, enters = self._enter(tokens, position_ids, visible)
        if net.halt is not None:
            return net._halted(enters, position_ids, visible, rows)
        step = lambda y, t: (net._body(y, enters, position_ids, visible, t), None)  # noqa: E731
        y = jax.lax.scan(step, net._first(enters), jnp.arange(self.rule.loops))[0]
        return net.read_out(net._leave(y, visible), rows)

    def in_training(
        self,
        tokens: Float[Array, "B T F"],
        position_ids: np.ndarray,
        visible: np.ndarray | None,
        rows: tuple[int, ...] | None,
        step: Int[Array, ""],
    ) -> Float[Array, "N B R O"]:
        """The outputs of the loops in the window, at the number of loops of this training step."""
        net, enters = self._enter(tokens, position_ids, visible)
        if net.halt is not None:
            return net._halted(enters, position_ids, visible, rows)[None]
        count, window = self.rule.count(step), self.rule.window or self.rule.loops
        # Nothing before the window has a gradient, so its number of loops may be data.
        still, given = jax.lax.stop_gradient((net, enters))
        first = count - window
        y = jax.lax.fori_loop(
            0, first, lambda t, y: still._body(y, given, position_ids, visible, t), still._first(given)
        )
        start = jnp.where(first > 0, jax.lax.stop_gradient(y), net._first(enters))

        def loop(y: Float[Array, "B T E"], t: Int[Array, ""]):
            y = net._body(y, enters, position_ids, visible, t)
            return y, y

        loop = jax.checkpoint(loop) if net.inner.remat else loop
        states = jax.lax.scan(loop, start, first + jnp.arange(window))[1]
        return jax.vmap(lambda y: net.read_out(net._leave(y, visible), rows))(states)

    def _halted(self, enters, position_ids, visible, rows) -> Float[Array, "*B R O"]:
        """The outputs of all loops, weighted by the probabilities of halting there."""
        halt, at_rows = self.halt, ... if rows is None else (..., np.asarray(rows), slice(None))
        assert halt is not None

        def loop(state, t):
            y, left, total = state
            y = tap(self._body(y, enters, position_ids, visible, t), "loop")
            stops = jax.nn.sigmoid(halt(y[at_rows])[..., 0])
            share = tap(left * jnp.where(t == self.rule.loops - 1, jnp.ones_like(stops), stops), "halting")
            found = self.read_out(self._leave(y, visible), rows)
            return (y, left - share, total + share[..., None] * found), None

        first = self._first(enters)
        like = jax.eval_shape(lambda y: self.read_out(self._leave(y, visible), rows), first)
        state = first, jnp.ones(like.shape[:-1], like.dtype), jnp.zeros(like.shape, like.dtype)
        loop = jax.checkpoint(loop) if self.inner.remat else loop
        return jax.lax.scan(loop, state, jnp.arange(self.rule.loops))[0][2]

    def read_out(self, x: Float[Array, "*B T E"], rows: tuple[int, ...] | None = None) -> Float[Array, "*B R O"]:
        """Outputs from the state after any loop; its norm was inside the loop."""
        x = x if rows is None else x[..., np.asarray(rows), :]
        return self.inner.say(x)

    def _enter(
        self, tokens: Float[Array, "*B T F"], position_ids: Int[Array, "T"] | np.ndarray, visible: Visible | None
    ) -> tuple["LoopedNetwork", Float[Array, "*B T E"]]:
        """The network in its compute type, and what is injected: the read-in, after the first blocks."""
        net, tokens = narrowed((self, tokens), jnp.dtype(self.inner.compute))
        x = net.inner.embed(tokens)
        x = net.inner.placed(x, position_ids) if net.before.blocks else x
        for block in net.before.blocks:
            x = _apply(block, x, visible)
        return net, x

    def _first(self, enters: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        """Y_0."""
        if self.rule.inject == "none":
            return enters
        return jnp.ones_like(enters) if self.rule.inject == "multiply" else jnp.zeros_like(enters)

    def _body(self, y, enters, position_ids, visible, t) -> Float[Array, "*B T E"]:
        if self.rule.inject != "none":
            y = y * enters if self.rule.inject == "multiply" else y + enters
        y = self.inner.placed(y, position_ids)
        if self.clock is not None:
            code = self.clock(sinusoids(jnp.asarray(t)[None], CODES, y.dtype))[0]
            y = y + code.reshape((1,) * (y.ndim - 1) + (-1,))
        for block in self.inner.blocks:
            y = _apply(block, y, visible)
        return self.inner.norm(y)

    def _leave(self, y: Float[Array, "*B T E"], visible: Visible | None) -> Float[Array, "*B T E"]:
        for block in self.after.blocks:
            y = _apply(block, y, visible)
        return self.last(y)


def _apply(block: Block, x: Float[Array, "*B T E"], visible: Any) -> Float[Array, "*B T E"]:
    return block(x, visible) if x.ndim == 2 else block.batched(x, visible, None)


def loop(learner: Learner, loops: int) -> Learner:
    """The same weights with another number of loops. Raises NotAvailable, a ValueError, for a network without a loop,
    ValueError for less than one loop."""
    network = learner.network
    if not isinstance(network, LoopedNetwork):
        raise NotAvailable("only a looped network can be run for another number of loops; train with --model looped")
    if loops < 1:
        raise ValueError(f"loops must be at least 1, got {loops}")
    rule = dataclasses.replace(network.rule, loops=loops)
    return dataclasses.replace(learner, network=dataclasses.replace(network, rule=rule))


@eqx.filter_jit
def outputs_of_loops(network: LoopedNetwork, tokens: Float[Array, "B T F"]) -> Float[Array, "N B T O"]:
    """The outputs at every token after each of the network's loops, where all tokens see each other."""
    length = tokens.shape[1]
    seen = np.ones((length, length), bool)
    every = dataclasses.replace(network, rule=dataclasses.replace(network.rule, window=None, start=None))
    return every.in_training(tokens, np.arange(length), seen, None, jnp.zeros((), jnp.int32))
