"""Pooling: the mean of the tokens so far (causal PoolFormer, Yu et al. 2022)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.recurrence import Recurrence


@MixerConfig.registry.add("pooling", papers=("yu-2022",))
class Pooling(MixerConfig):
    """y_t = mean of x_s over the last `window` tokens, t among them, minus x_t; no window: over all tokens so far.

    Without parameters. Places before the first token do not count.
    """

    cost = "T^2 E"
    expected = "averaging"
    forks = True
    window: int | None = setting(None, "tokens in the mean; none: all so far", at_least=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return Pool(place.width, self.window)


class Pool(Recurrence):
    """The state: the sum of all tokens and their number, and where there is a window its tokens."""

    channels: int = eqx.field(static=True)
    window: int | None = eqx.field(static=True)

    def inputs(self, entered: Float[Array, "*B T E"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        return entered

    def parallel(self, parts: Float[Array, "T E"]) -> Float[Array, "T E"]:
        length = parts.shape[0]
        lag = jnp.arange(length)[:, None] - jnp.arange(length)[None, :]
        inside = (lag >= 0) & (lag < (self.window or length))
        weights = inside.astype(parts.dtype)
        return jnp.matmul(weights / jnp.sum(weights, 1, keepdims=True), parts)

    def start(self):
        count = jnp.zeros((), jnp.int32)
        return jnp.zeros((self.window or 1, self.channels)), count

    def advance(self, state, part):
        kept, count = state
        part = part.astype(kept.dtype)
        kept = kept + part[None] if self.window is None else jnp.concatenate([kept[1:], part[None]])
        count = count + 1
        number = count if self.window is None else jnp.minimum(count, self.window)
        return (kept, count), jnp.sum(kept, 0) / number.astype(kept.dtype)

    def leave(self, outs: Float[Array, "*B T E"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        return outs.astype(x.dtype) - x
