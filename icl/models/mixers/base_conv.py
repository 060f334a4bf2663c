"""BaseConv: a learned long convolution times a linear map, the simplest gated convolution (Arora et al. 2023)."""

import functools

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from icl.models.mixers.base import CausalMixer, Mixer, MixerConfig, Place, vmapped
from icl.models.mixers.convolution import EXACT, causal_convolution
from icl.models.mixers.fork import Fork
from icl.models.parts import Linear, initial_std


@MixerConfig.registry.add("base-conv", papers=("arora-2023",))
class BaseConv(MixerConfig):
    """y = W_o ((h * u) . (W u + b)), h one filter tap for every lag and channel; taps start N(0, 1 / longest length).

    Convolutions of up to 256 tokens are exactly causal, longer ones go through the frequency domain. Deviation: the
    output map W_o, so that a block starts as others do, and no residual of its own.
    """

    cost = "T^2 E"
    expected = "recency, associative recall"
    forks = True
    bounded = True

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return BaseConvMixer(place, key=key)


class BaseConvMixer(CausalMixer):
    """Filters hold `length` taps."""

    exact_length = EXACT
    filters: Float[Array, "L E"]
    gate: Linear
    output: Linear

    def __init__(self, place: Place, *, key: PRNGKeyArray):
        filters, gate, output = jax.random.split(key, 3)
        width = place.width
        self.filters = jax.random.normal(filters, (place.length, width)) * place.length**-0.5
        self.gate = Linear(width, width, initial_std(place.init, width), key=gate)
        self.output = Linear(width, width, initial_std(place.init, width, place.depth), key=output)

    @property
    def max_length(self) -> int:
        return self.filters.shape[0]

    @property
    def width(self) -> int:
        return self.filters.shape[1]

    def mixed(self, x: Float[Array, "*B T E"], fork: Fork | None) -> Float[Array, "*B T E"]:
        convolve = functools.partial(causal_convolution, self.filters[: x.shape[-2]], fork=fork)
        return self.output(vmapped(convolve, x.ndim - 2)(x) * self.gate(x))
