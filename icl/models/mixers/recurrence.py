"""Mixers with a state of fixed size: one token in, the state updated, one output read from it."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from icl.models.mixers.base import CausalMixer, causal_only, vmapped
from icl.models.mixers.fork import Fork, after
from icl.models.parts import beside


class ShortConvolution(eqx.Module):
    """silu(sum_{j < W} w_j x_{t-j} + b), every channel for itself: what a recurrence reads in place of its token."""

    weight: Float[Array, "W C"]
    bias: Float[Array, "C"]

    def __init__(self, channels: int, width: int, *, key: PRNGKeyArray):
        bound = width**-0.5
        self.weight = jax.random.uniform(key, (width, channels), minval=-bound, maxval=bound)
        self.bias = jnp.zeros(channels)

    def __call__(self, x: Float[Array, "*B T C"], fork: Fork | None = None) -> Float[Array, "*B T C"]:
        return jax.nn.silu(depthwise(self.weight, x, fork) + beside(self.bias, x))


class Recurrence(CausalMixer):
    """out_t, state_t = advance(state_{t-1}, part_t) with parts = inputs(enter(x), x), and y = leave(outs, x).

    `enter`, `inputs` and `leave` act on every token alone, of one sequence or of a batch, whose products then are one
    large one; between `enter` and `inputs` a class may have a short convolution. `parallel` computes all outs of a
    sequence at once, and `forked` those of a fork, in which leaves advance from a state without changing it; unless a
    class knows better they run `advance` along the tokens.
    """

    def enter(self, x: Float[Array, "*B T E"]) -> Float[Array, "*B T C"]:
        return x

    @property
    def convolution(self) -> ShortConvolution | None:
        return None

    def inputs(self, entered: Float[Array, "*B T C"], x: Float[Array, "*B T E"]) -> PyTree:
        """What the recurrence reads at every token: arrays with leading axes *B T."""
        raise NotImplementedError

    def start(self) -> PyTree:
        """The state before the first token."""
        raise NotImplementedError

    def advance(self, state: PyTree, part: PyTree) -> tuple[PyTree, PyTree]:
        """The state after a token, and what is read from it."""
        raise NotImplementedError

    def parallel(self, parts: PyTree) -> PyTree:
        # The backward pass keeps the states alone: what else a step computes takes longer to load than to compute.
        advance = jax.checkpoint(lambda state, part: self.advance(state, part), prevent_cse=False)
        return jax.lax.scan(advance, self.start(), parts)[1]

    def forked(self, parts: PyTree, fork: Fork) -> PyTree:
        trunk, leaves = fork.split(parts)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def advance(state: PyTree, part: PyTree) -> tuple[PyTree, tuple[PyTree, PyTree]]:
            state, out = self.advance(state, part)
            return state, (state, out)

        start = self.start()
        states, outs = jax.lax.scan(advance, start, trunk)[1]
        before = jax.tree.map(lambda all, first: after(all, first, fork), states, start)
        others = jax.vmap(self.advance)(before, leaves)[1]
        return jax.tree.map(lambda *both: jnp.concatenate(both), outs, others)

    def leave(self, outs: PyTree, x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        raise NotImplementedError

    def mixed(self, x: Float[Array, "*B T E"], fork: Fork | None) -> Float[Array, "*B T E"]:
        if x.dtype == jnp.bfloat16:
            # A state that grows over many tokens needs more digits than 16 bits have.
            return widened(self).mixed(x.astype(jnp.float32), fork).astype(x.dtype)
        run = self.parallel if fork is None else functools.partial(self.forked, fork=fork)

        def mix(x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
            entered = self.enter(x)
            entered = entered if self.convolution is None else self.convolution(entered, fork)
            return self.leave(vmapped(run, x.ndim - 2)(self.inputs(entered, x)), x)

        return causal_only(mix, x, fork)

    def init_state(self, length: int) -> PyTree:
        """The tokens a short convolution still reads, and the state of the recurrence."""
        wide = widened(self)
        return None if wide.convolution is None else jnp.zeros_like(wide.convolution.weight[1:]), wide.start()

    def step(self, x: Float[Array, "E"], state: PyTree) -> tuple[Float[Array, "E"], PyTree]:
        if x.dtype == jnp.bfloat16:
            y, state = widened(self).step(x.astype(jnp.float32), state)
            return y.astype(x.dtype), state
        window, inner = state
        entered = self.enter(x[None])
        if self.convolution is not None:
            recent = jnp.concatenate([window, entered])
            entered, window = self.convolution(recent)[-1:], recent[1:]
        parts = self.inputs(entered, x[None])
        inner, out = self.advance(inner, jax.tree.map(lambda a: a[0], parts))
        return self.leave(jax.tree.map(lambda a: a[None], out), x[None])[0], (window, inner)


def widened(mixer: "Recurrence") -> "Recurrence":
    """The same with parameters of 16 bits in 32."""
    return jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == jnp.bfloat16 else a, mixer)


def depthwise(
    weight: Float[Array, "W C"], x: Float[Array, "*B T C"], fork: Fork | None = None
) -> Float[Array, "*B T C"]:
    """sum_{j < W} weight_j x_{t-j} for every channel, with 0 before the first token. Before a leaf of a fork comes what
    it continues."""
    width, length = weight.shape[0], x.shape[-2] if fork is None else fork.trunk
    zeros = jnp.zeros((*x.shape[:-2], width - 1, x.shape[-1]), x.dtype)
    padded = jnp.concatenate([zeros, x[..., :length, :]], -2)
    taps = [beside(weight[j], x) for j in range(width)]
    terms = [tap * padded[..., width - 1 - j : width - 1 - j + length, :] for j, tap in enumerate(taps)]
    mixed = sum(terms[1:], terms[0])
    if fork is None:
        return mixed
    terms = [tap * padded[..., width - j + fork.follows, :] for j, tap in enumerate(taps) if j]
    return jnp.concatenate([mixed, sum(terms, taps[0] * x[..., length:, :])], -2)


def token_sum(weights: Float[Array, "*H T T"], values: Float[Array, "*H T V"]) -> Float[Array, "*H T V"]:
    """sum_{s <= t} weights[t, s] values[s]; entries above the diagonal do not count, whatever they are."""
    length = weights.shape[-1]
    mask = jnp.tril(jnp.ones((length, length), bool))
    return jnp.matmul(jnp.where(mask[(None,) * (weights.ndim - 2)], weights, 0), values)
