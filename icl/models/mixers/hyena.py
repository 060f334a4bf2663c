"""Hyena: long convolutions whose filters are small networks of the lag, with gates between them (Poli et al. 2023)."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import Problem, setting
from icl.models.mixers.base import CausalMixer, Mixer, MixerConfig, Place, vmapped
from icl.models.mixers.convolution import EXACT, causal_convolution
from icl.models.mixers.fork import Fork
from icl.models.mixers.recurrence import depthwise
from icl.models.parts import Linear, beside, initial_std, uniform_linear

# Filters are down to this share of their size after the share fast .. slow of the longest length.
_TARGET, _FAST, _SLOW = 1e-2, 0.3, 1.5


@MixerConfig.registry.add("hyena", papers=("poli-2023",))
class Hyena(MixerConfig):
    """v, g_1..g_n = conv_3(W x); v <- h_i * (g_i v) + d_i g_i v for i = 1..n - 1; y = W_o (g_n v), n = `order`.

    h_i(t) = MLP(code(t)) exp(-|a_c| t) / sqrt(L), t = lag / L with L the longest length, sines of frequency `frequency`
    in the MLP, and a code of t and (codes - 1) / 2 pairs cos, sin of 2 pi b t, b = 1, 2, ... Filters are stretched over
    L, so they belong to it. Convolutions of up to 256 tokens are exactly causal.

    Deviations from the authors' code: the division by sqrt(L); its bands b are spread over 0 .. (codes - 3) / 2; its
    frequencies are learned and its rates a_c fixed, here it is the other way around; no bias in conv_3; one square
    layer in the MLP, not two, and a bias in its last.
    """

    # Until 1 gates followed their convolution: at order 2 both were outside, and no token chose what enters it.
    version = 2
    cost = "T^2 E"
    expected = "recency, associative recall"
    forks = True
    bounded = True
    order: int = setting(2, "n: gates, of which n - 1 precede a convolution", at_least=2)
    codes: int = setting(5, "channels of the code of a lag, odd", at_least=3)
    hidden: int = setting(32, "hidden units of the filters' network", at_least=1)
    frequency: float = setting(10.0, "of the sines in the filters' network", above=0)

    def problems(self):
        if self.codes % 2 == 0:
            yield Problem("codes", f"must be odd: the lag, and pairs of cosine and sine; got {self.codes}")

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return HyenaMixer(place, self.order, self.codes, self.hidden, self.frequency, key=key)


class HyenaMixer(CausalMixer):
    """The network of the filters is shared by all of them but for its last layer."""

    exact_length = EXACT
    projection: Linear
    short: Float[Array, "W C"]
    layers: tuple[Linear, ...]
    log_decay: Float[Array, "C"]
    skip: Float[Array, "G E"]
    output: Linear
    frequency: float = eqx.field(static=True)
    length: int = eqx.field(static=True)
    codes: int = eqx.field(static=True)

    def __init__(self, place: Place, order: int, codes: int, hidden: int, frequency: float, *, key: PRNGKeyArray):
        project, short, first, second, last, skip, output = jax.random.split(key, 7)
        width, filters = place.width, order - 1
        self.projection = Linear(width, (order + 1) * width, initial_std(place.init, width), key=project)
        self.short = jax.random.uniform(short, (3, (order + 1) * width), minval=-(3**-0.5), maxval=3**-0.5)
        self.layers = (
            uniform_linear(codes, hidden, key=first),
            uniform_linear(hidden, hidden, key=second),
            uniform_linear(hidden, filters * width, key=last),
        )
        rates = np.linspace(-math.log(_TARGET) / _SLOW, -math.log(_TARGET) / _FAST, width)
        self.log_decay = jnp.asarray(np.log(np.tile(rates, filters)))
        self.skip = jax.random.normal(skip, (filters, width))
        self.output = Linear(width, width, initial_std(place.init, width, place.depth), key=output)
        self.frequency, self.length, self.codes = frequency, place.length, codes

    @property
    def max_length(self) -> int:
        return self.length

    @property
    def width(self) -> int:
        return self.output.weight.shape[0]

    def filters(self, length: int) -> Float[Array, "G T E"]:
        """The first taps of every filter."""
        t = np.arange(length) / self.length
        bands = 2 * np.pi * np.arange(1, (self.codes - 1) // 2 + 1)
        angles = t[:, None] * bands[None, :]
        code = np.concatenate([t[:, None], np.cos(angles), np.sin(angles)], 1)
        dtype = self.output.weight.dtype
        first, second, last = self.layers
        hidden = jnp.sin(self.frequency * first(jnp.asarray(code, dtype)))
        taps = last(jnp.sin(self.frequency * second(hidden)))
        taps = taps * jnp.exp(-jnp.exp(self.log_decay)[None] * jnp.asarray(t, dtype)[:, None])
        # As long a sum as the filter has taps: the sum of squares stays near 1.
        taps = taps / math.sqrt(self.length)
        return jnp.swapaxes(taps.reshape(length, -1, self.width), 0, 1)

    def mixed(self, x: Float[Array, "*B T E"], fork: Fork | None) -> Float[Array, "*B T E"]:
        v, *gates = jnp.split(depthwise(self.short, self.projection(x), fork), self.skip.shape[0] + 2, -1)
        for taps, skip, gate in zip(self.filters(x.shape[-2]), self.skip, gates, strict=False):
            v = gate * v
            convolve = functools.partial(causal_convolution, taps.astype(x.dtype), fork=fork)
            v = vmapped(convolve, x.ndim - 2)(v) + beside(skip, v) * v
        return self.output(gates[-1] * v)
