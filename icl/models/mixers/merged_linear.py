"""Linear attention with merged matrices: W_KQ of keys and queries, W_PV of values and output (Zhang et al. 2023)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import Mixer, MixerConfig, Place, Visible
from icl.models.mixers.linear import DIVISORS, Normalizer, Sums, weigh
from icl.taps import tap


@MixerConfig.registry.add("merged-linear", papers=("zhang-2023",))
class MergedLinear(MixerConfig):
    """sum_j W_PV e_j (e_j' W_KQ e_i) / N over the visible tokens j, summed over H heads; each matrix is E x E.

    Weights start balanced, as the analysis of gradient flow supposes: W_PV = s e e' with e the last coordinate, and
    W_KQ = s [[TT', 0], [0, 0]] with |TT'|_F = 1, T random of its own for every head. Gradient flow on tokens (x, y)
    converges where s^2 |Gamma|_op sqrt(D) < 2. These weights need the width to end with y.
    """

    cost = "H T^2 E"
    expected = "averaging"
    supports_visibility = True
    normalizer: Normalizer = setting("count", f"what the sum is divided by: {DIVISORS}")
    start: float = setting(0.1, "s, the size of the weights at the start", above=0)

    def refuses(self, width: int, heads: int) -> str | None:
        return None if width > 1 else "merged-linear needs tokens of at least two channels"

    def make(self, place: Place, *, key: PRNGKeyArray) -> "MergedHeads":
        width, heads = place.width, place.heads
        factors = jax.random.normal(key, (heads, width - 1, width - 1))
        squares = jnp.matmul(factors, jnp.swapaxes(factors, -1, -2))
        squares = squares / jnp.linalg.norm(squares, axis=(-2, -1), keepdims=True)
        key_query = self.start * jnp.pad(squares, ((0, 0), (0, 1), (0, 1)))
        value = jnp.zeros((heads, width, width)).at[:, -1, -1].set(self.start)
        return MergedHeads(key_query, value, self.normalizer)


class MergedHeads(Mixer):
    """W_KQ and W_PV of every head, in the paper's convention that tokens are columns."""

    supports_visibility = True
    key_query: Float[Array, "H E E"]
    value: Float[Array, "H E E"]
    normalizer: str = eqx.field(static=True)

    @property
    def width(self) -> int:
        return self.value.shape[-1]

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        key, value = self._project(x)
        scores = tap(jnp.matmul(x[None], jnp.swapaxes(key, -1, -2)), "scores")
        return jnp.sum(tap(weigh(scores, value, visible, self.normalizer), "heads"), 0)

    def batched(
        self, x: Float[Array, "B T E"], visible: Visible | None, rows: tuple[int, ...] | None
    ) -> Float[Array, "B R E"]:
        key, value = self._project(x)
        query = x if rows is None else x[:, np.asarray(rows)]
        scores = jnp.matmul(query[:, None], jnp.swapaxes(key, -1, -2))
        return jnp.sum(weigh(scores, value, visible, self.normalizer, rows), 1)

    def init_state(self, length: int) -> Sums:
        """Heads share sum_j e_j e_j', which lies between both their matrices."""
        return Sums.empty(1, self.width, self.value.dtype, self.normalizer)

    def step(self, x: Float[Array, "E"], state: Sums) -> tuple[Float[Array, "E"], Sums]:
        mixed, state = state.read_after(jnp.matmul(self.key_query, x), x[None], x[None])
        return jnp.einsum("hfe,he->f", self.value, mixed), state

    def _project(self, x: Float[Array, "*B T E"]) -> tuple[Float[Array, "*B H T E"], Float[Array, "*B H T E"]]:
        """e_j' W_KQ and W_PV e_j as rows, for every head."""
        return jnp.einsum("...te,hef->...htf", x, self.key_query), jnp.einsum("...te,hfe->...htf", x, self.value)
