"""A mixer with a mask-free causal map: the mean of all tokens so far, through one matrix."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.fields import setting
from icl.models.mixers import Mixer, MixerConfig
from icl.models.mixers.base import Place


@MixerConfig.registry.add("my-mean")
class Mean(MixerConfig):
    """y_t = W mean(x_0..x_t)."""

    cost = "T E"
    expected = "averaging"
    scale: float = setting(1.0, "of the start of W", above=0)

    def make(self, place: Place, *, key):
        return MeanMixer(self.scale * jax.random.normal(key, (place.width, place.width)) * place.width**-0.5)


class MeanMixer(Mixer):
    weight: Float[Array, "E E"]

    @property
    def width(self):
        return self.weight.shape[0]

    def __call__(self, x, visible=None):
        counts = jnp.arange(1, x.shape[0] + 1, dtype=x.dtype)
        return jnp.cumsum(x, 0) / counts[:, None] @ self.weight
