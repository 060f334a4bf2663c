"""Momentum attention: values of recent tokens are added, as momentum adds gradients (Dai et al. 2022, section 5)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import MixerConfig, Place
from icl.models.mixers.fork import Visible, mask_of, needs_fork
from icl.models.mixers.softmax import Attention, refuse_heads


@MixerConfig.registry.add("momentum", papers=("dai-2022",))
class MomentumAttention(MixerConfig):
    """o_t = softmax attention + sum_{i < t} momentum^(t - i) v_i: not normalized, without the token itself.

    momentum = 0 is `softmax`, bit for bit. The recursion is m_t = momentum (m_{t-1} + v_{t-1}).
    """

    cost = "T^2 E"
    expected = "everything"
    forks = True
    ordered = True
    momentum: float = setting(0.5, "share of the sum that every token keeps", at_least=0, below=1)

    def refuses(self, width: int, heads: int) -> str | None:
        return refuse_heads(width, heads, None)

    def make(self, place: Place, *, key: PRNGKeyArray) -> "MomentumHeads":
        return MomentumHeads(place, self.momentum, key=key)


class MomentumHeads(Attention):
    """Softmax attention with a decaying sum of values. It reads the order of tokens: of masks it honours forks."""

    supports_visibility = False
    momentum: float = eqx.field(static=True)

    def __init__(self, place: Place, momentum: float, *, key: PRNGKeyArray):
        size = place.width // place.heads
        super().__init__(place, size, size**-0.5, bias=True, key=key)
        self.momentum = momentum

    def _more(
        self,
        mixed: Float[Array, "*B H R K"],
        value: Float[Array, "*B H T K"],
        visible: Visible | None,
        rows: tuple[int, ...] | None,
    ) -> Float[Array, "*B H R K"]:
        fork = needs_fork(visible)
        places = np.arange(value.shape[-2]) if fork is None else fork.places
        lag = np.maximum(places[:, None] - places[None, :], 0)
        inside = lag > 0 if fork is None else mask_of(fork) & (lag > 0)
        weights = np.where(inside, np.power(self.momentum, lag, dtype=float), 0.0)
        weights = weights if rows is None else weights[np.asarray(rows)]
        finite = jnp.isfinite(value)
        sums = jnp.matmul(jnp.asarray(weights, value.dtype), jnp.where(finite, value, 0))
        return mixed + sums
