"""BaseConv: a learned long convolution times a linear map, the simplest gated convolution (Arora et al. 2023)."""

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from icl.models.mixers.base import Mixer, MixerConfig, Place, Visible
from icl.models.mixers.convolution import EXACT, causal_convolution
from icl.models.mixers.fork import needs_fork
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


class BaseConvMixer(Mixer):
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

    def __call__(self, x: Float[Array, "T E"], visible: Visible | None = None) -> Float[Array, "T E"]:
        return self.output(causal_convolution(self.filters[: x.shape[0]], x, needs_fork(visible)) * self.gate(x))
