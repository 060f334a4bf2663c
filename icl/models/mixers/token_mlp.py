"""Fixed weights between places: the MLP-Mixer (Tolstikhin et al. 2021) and gMLP (Liu et al. 2021), made causal."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from icl.models.mixers.base import CausalMixer, Mixer, MixerConfig, Place, causal_only
from icl.models.mixers.fork import Fork, mask_of
from icl.models.parts import LayerNorm, Linear, beside, initial_std


@MixerConfig.registry.add("mlp-mixer", papers=("tolstikhin-2021",))
class MLPMixer(MixerConfig):
    """y = tril(W_2) gelu(tril(W_1) x + b_1) + b_2 along the tokens, alike for all channels: what a token reads depends
    on places alone. Row t of both starts with variance 1 / (t + 1). At most as many tokens as the weights have."""

    cost = "T^2 E"
    expected = "averaging, recency"
    forks = True
    bounded = True

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return TokenMLP(place, key=key)


@MixerConfig.registry.add("gmlp", papers=("liu-2021",))
class GMLP(MixerConfig):
    """(a, b) = gelu(W x), y = W_o (a . (tril(S) norm(b) + 1)): a gate that reads earlier places with fixed weights S,
    which start near 0, so that a block starts as an MLP. At most as many tokens as S has.

    Deviation: the paper learns a bias for every place that starts at 1; here it is 1.
    """

    cost = "T^2 E"
    expected = "recency"
    forks = True
    bounded = True

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return SpatialGate(place, key=key)


class TokenMLP(CausalMixer):
    """Both triangles are cut to the tokens there are."""

    first: Float[Array, "L L"]
    second: Float[Array, "L L"]
    bias: Float[Array, "L"]
    shift: Float[Array, "L"]
    channels: int = eqx.field(static=True)

    def __init__(self, place: Place, *, key: PRNGKeyArray):
        first, second = jax.random.split(key)
        length = place.length
        spread = jnp.asarray(np.arange(1, length + 1) ** -0.5)[:, None]
        self.first = spread * jax.random.normal(first, (length, length))
        deep = (2 * place.depth) ** -0.5
        self.second = deep * spread * jax.random.normal(second, (length, length))
        self.bias, self.shift = jnp.zeros(length), jnp.zeros(length)
        self.channels = place.width

    @property
    def max_length(self) -> int:
        return self.bias.shape[0]

    @property
    def width(self) -> int:
        return self.channels

    def mixed(self, x: Float[Array, "*B T E"], fork: Fork | None) -> Float[Array, "*B T E"]:
        length = x.shape[-2]
        places = np.arange(length) if fork is None else fork.places
        first, second = (between(weights, length, fork) for weights in (self.first, self.second))

        def mix(x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
            hidden = jax.nn.gelu(jnp.matmul(first, x) + beside(self.bias[places, None], x))
            return jnp.matmul(second, hidden) + beside(self.shift[places, None], x)

        return causal_only(mix, x, fork)


class SpatialGate(CausalMixer):
    """The gate's weights are cut to the tokens there are."""

    into: Linear
    norm: LayerNorm
    between: Float[Array, "L L"]
    output: Linear

    def __init__(self, place: Place, *, key: PRNGKeyArray):
        into, between, output = jax.random.split(key, 3)
        width, length = place.width, place.length
        self.into = Linear(width, 2 * width, initial_std(place.init, width), key=into)
        self.norm = LayerNorm(width)
        self.between = 1e-3 * jax.random.normal(between, (length, length))
        self.output = Linear(width, width, initial_std(place.init, width, place.depth), key=output)

    @property
    def max_length(self) -> int:
        return self.between.shape[0]

    @property
    def width(self) -> int:
        return self.output.weight.shape[0]

    def mixed(self, x: Float[Array, "*B T E"], fork: Fork | None) -> Float[Array, "*B T E"]:
        weights = between(self.between, x.shape[-2], fork)

        def mix(x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
            own, other = jnp.split(jax.nn.gelu(self.into(x)), 2, -1)
            gate = jnp.matmul(weights, self.norm(other)) + 1
            return self.output(own * gate)

        return causal_only(mix, x, fork)


def between(weights: Float[Array, "L L"], length: int, fork: Fork | None) -> Float[Array, "T T"]:
    """The weight of every token for every one it continues, by their places."""
    if fork is None:
        return jnp.tril(weights[:length, :length])
    return jnp.where(mask_of(fork), weights[fork.places[:, None], fork.places[None, :]], 0)
