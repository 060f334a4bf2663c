"""No mixing at all: the control that any mixer must beat wherever context helps."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from icl.models.mixers.base import Mixer, MixerConfig, Place, Visible


@MixerConfig.registry.add("identity")
class Identity(MixerConfig):
    """y_t = 0: the residual stream passes unchanged, so a network of these predicts from its own token alone."""

    cost = "0"
    expected = "nothing"
    supports_visibility = True

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return NoMixing(place.width)


class NoMixing(Mixer):
    """0 for every token."""

    supports_visibility = True
    channels: int = eqx.field(static=True)

    @property
    def width(self) -> int:
        return self.channels

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        return jnp.zeros_like(x)

    def init_state(self, length: int) -> PyTree:
        return ()

    def step(self, x: Float[Array, "E"], state: PyTree) -> tuple[Float[Array, "E"], PyTree]:
        return jnp.zeros_like(x), state
