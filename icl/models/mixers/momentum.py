"""Momentum attention: values of recent tokens are added, as momentum adds gradients (Dai et al. 2022, section 5)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import MixerConfig, Place
from icl.models.mixers.order import distances
from icl.models.mixers.softmax import Attention, refuse_heads


@MixerConfig.registry.add("momentum", papers=("dai-2022",))
class MomentumAttention(MixerConfig):
    """o_t = softmax attention + sum_{i < t} momentum^(t - i) v_i: not normalized, without the token itself.

    momentum = 0 is `softmax`, bit for bit. The recursion is m_t = momentum (m_{t-1} + v_{t-1}).
    """

    cost = "T^2 E"
    expected = "everything"
    ordered = True
    momentum: float = setting(0.5, "share of the sum that every token keeps", at_least=0, below=1)

    def refuses(self, width: int, heads: int) -> str | None:
        return refuse_heads(width, heads, None)

    def make(self, place: Place, *, key: PRNGKeyArray) -> "MomentumHeads":
        return MomentumHeads(place, self.momentum, key=key)


class MomentumHeads(Attention):
    """Softmax attention with a decaying sum of values. It reads the order of tokens, so it honours no other mask."""

    supports_visibility = False
    momentum: float = eqx.field(static=True)

    def __init__(self, place: Place, momentum: float, *, key: PRNGKeyArray):
        size = place.width // place.heads
        super().__init__(place, size, size**-0.5, bias=True, key=key)
        self.momentum = momentum

    def _more(
        self, mixed: Float[Array, "*B H R K"], value: Float[Array, "*B H T K"], rows: tuple[int, ...] | None
    ) -> Float[Array, "*B H R K"]:
        lag = distances(value.shape[-2])
        weights = np.where(lag > 0, np.power(self.momentum, lag, dtype=float), 0.0)
        weights = weights if rows is None else weights[np.asarray(rows)]
        finite = jnp.isfinite(value)
        sums = jnp.matmul(jnp.asarray(weights, value.dtype), jnp.where(finite, value, 0))
        return mixed + sums
