"""Layers that train a small model on the tokens they read: TTT (Sun et al. 2024), and the omega rule (Behrouz 2025).

Every token is an example (k_t, v_t) for an inner model f_W; its loss is |f_W(k_t) - v_t|^2 / 2, and the output is
f_{W_t}(q_t) after the step. W starts at learned weights in every sequence.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.fast_weights import FastWeights, FastWeightsConfig, by_head, chunked, unit
from icl.models.mixers.recurrence import token_sum
from icl.models.parts import Linear, initial_std


@MixerConfig.registry.add("ttt-linear", papers=("sun-2024",))
class TTTLinear(FastWeightsConfig):
    """f_W(k) = W k, a matrix for every head: gradient descent on the tokens, `minibatch` of them at the same weights.

    W_t = W_b - sum_{b < s <= t} r_s (W_b k_s - v_s) k_s', W_b the weights at the start of the minibatch. A minibatch of
    1 is the delta rule; one as long as the sequence is gradient descent from W_0, one step over all tokens so far. r_s
    = rate sigmoid(w'x_s). Queries and keys have unit length. Deviation: no norm or residual inside f.
    """

    cost = "T E (E / H + b), a minibatch of b at a time"
    expected = "averaging, recency"
    minibatch: int = setting(16, "tokens whose gradients are taken at the same weights", at_least=1)
    rate: float = setting(1.0, "largest inner learning rate", above=0)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return Trained(place, Matrix(place), self.minibatch, self.rate, key=key)


@MixerConfig.registry.add("ttt-mlp", papers=("sun-2024",))
class TTTMLP(FastWeightsConfig):
    """`ttt-linear` with f_W(k) = k + W_2 gelu(W_1 k), hidden units `ratio` times as many as channels.

    A minibatch at a time its gradients are written out (`Perceptron.descend`); a step of one token differentiates the
    loss automatically.
    """

    cost = "r T E (E / H + b), a minibatch of b at a time, r hidden units per channel"
    expected = "averaging, recency"
    minibatch: int = setting(16, "tokens whose gradients are taken at the same weights", at_least=1)
    rate: float = setting(0.1, "largest inner learning rate", above=0)
    ratio: int = setting(4, "hidden units per channel of a head", at_least=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        inner, rest = jax.random.split(key)
        return Trained(place, Perceptron(place, self.ratio, key=inner), self.minibatch, self.rate, key=rest)


@MixerConfig.registry.add("omega", papers=("behrouz-2025",))
class Omega(FastWeightsConfig):
    """The omega rule: each step descends on the losses of the last `window` tokens, at the newest weights.

    W_t = a W_{t-1} - sum_{t - window < s <= t} r_s (W_{t-1} k_s - v_s) k_s', a = `keep`. A window of 1 with a = 1 is
    the delta rule.
    """

    cost = "T E^2 / H, one token after the other"
    expected = "averaging, recency"
    window: int = setting(4, "tokens that every step descends on", at_least=1)
    rate: float = setting(0.5, "largest inner learning rate", above=0)
    keep: float = setting(1.0, "share of the weights that every step keeps", above=0, at_most=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return OmegaMixer(place, self.window, self.rate, self.keep, key=key)


class Matrix(eqx.Module):
    """f_W(k) = W k for every head; W starts at 0, as least squares does."""

    weight: Float[Array, "H K K"]

    def __init__(self, place: Place):
        size = place.width // place.heads
        self.weight = jnp.zeros((place.heads, size, size))

    def __call__(self, key: Float[Array, "H K"]) -> Float[Array, "H K"]:
        return jnp.einsum("hvk,hk->hv", self.weight, key)

    def descend(
        self,
        query: Float[Array, "H C K"],
        key: Float[Array, "H C K"],
        value: Float[Array, "H C K"],
        rate: Float[Array, "H C 1"],
    ) -> tuple["Matrix", Float[Array, "H C K"]]:
        """W after a minibatch, and the outputs in it: O = Q W' - tril(Q K') E, W <- W - E' K, E = r (K W' - V)."""
        step = rate * (jnp.matmul(key, flipped(self.weight)) - value)
        outs = jnp.matmul(query, flipped(self.weight)) - token_sum(jnp.matmul(query, flipped(key)), step)
        return eqx.tree_at(lambda m: m.weight, self, self.weight - jnp.matmul(flipped(step), key)), outs


class Perceptron(eqx.Module):
    """f_W(k) = k + W_2 gelu(W_1 k) for every head."""

    up: Float[Array, "H R K"]
    down: Float[Array, "H K R"]

    def __init__(self, place: Place, ratio: int, *, key: PRNGKeyArray):
        size = place.width // place.heads
        up, down = jax.random.split(key)
        self.up = jax.random.normal(up, (place.heads, ratio * size, size)) * size**-0.5
        self.down = jax.random.normal(down, (place.heads, size, ratio * size)) * 0.1 * (ratio * size) ** -0.5

    def __call__(self, key: Float[Array, "H K"]) -> Float[Array, "H K"]:
        hidden = jax.nn.gelu(jnp.einsum("hrk,hk->hr", self.up, key))
        return key + jnp.einsum("hkr,hr->hk", self.down, hidden)

    def descend(
        self,
        query: Float[Array, "H C K"],
        key: Float[Array, "H C K"],
        value: Float[Array, "H C K"],
        rate: Float[Array, "H C 1"],
    ) -> tuple["Perceptron", Float[Array, "H C K"]]:
        """W after a minibatch, and the outputs in it. With Z = K W_1', E = r (f(K) - V) and D = (E W_2) . gelu'(Z), the
        hidden units of the queries are gelu(Q W_1' - tril(Q K') D), and tril(.) E comes off their read-out (the dual
        form of Sun et al. 2024); W_1 <- W_1 - D' K, W_2 <- W_2 - E' gelu(Z)."""
        before = jnp.matmul(key, flipped(self.up))
        hidden, slope = jax.jvp(jax.nn.gelu, (before,), (jnp.ones_like(before),))
        step = rate * (key + jnp.matmul(hidden, flipped(self.down)) - value)
        inner = jnp.matmul(step, self.down) * slope
        asked = jnp.matmul(query, flipped(self.up)) - token_sum(jnp.matmul(query, flipped(key)), inner)
        asked = jax.nn.gelu(asked)
        outs = query + jnp.matmul(asked, flipped(self.down)) - token_sum(jnp.matmul(asked, flipped(hidden)), step)
        up = self.up - jnp.matmul(flipped(inner), key)
        return eqx.tree_at(lambda m: (m.up, m.down), self, (up, self.down - jnp.matmul(flipped(step), hidden))), outs


def flipped(x: Float[Array, "H N M"]) -> Float[Array, "H M N"]:
    """Every head's matrix transposed."""
    return jnp.swapaxes(x, -1, -2)


class Descending(FastWeights):
    """Queries, keys, values and the rate of every token's own step."""

    rates: Linear
    rate: float = eqx.field(static=True)

    def __init__(self, place: Place, rate: float, *, key: PRNGKeyArray):
        rest, rates = jax.random.split(key)
        super().__init__(place, normalized=True, key=rest)
        self.rates = Linear(place.width, place.heads, initial_std(place.init, place.width), key=rates)
        self.rate = rate

    def inputs(self, entered: Float[Array, "*B T C"], x: Float[Array, "*B T E"]):
        query, key, value = self.split(entered)
        return unit(query), unit(key), value, self.rate * jax.nn.sigmoid(self.rates(x))


class Trained(Descending):
    """The state: weights at the start of the minibatch, the sum of its steps, and how many they are."""

    inner: Matrix | Perceptron
    minibatch: int = eqx.field(static=True)

    def __init__(self, place: Place, inner: Matrix | Perceptron, minibatch: int, rate: float, *, key: PRNGKeyArray):
        super().__init__(place, rate, key=key)
        self.inner, self.minibatch = inner, minibatch

    def parallel(self, parts):
        """A minibatch at a time; tokens of rate 0 fill the last."""
        length, heads = parts[0].shape[:2]
        size = min(self.minibatch, length)
        query, key, value, rate = (by_head(chunked(by_head(a), size)) for a in (*parts[:3], parts[3][..., None]))
        outs = jax.lax.scan(lambda inner, part: inner.descend(*part), self.inner, (query, key, value, rate))[1]
        return jnp.reshape(by_head(outs), (heads, -1, outs.shape[-1])).swapaxes(0, 1)[:length]

    def start(self):
        return self.inner, jax.tree.map(jnp.zeros_like, self.inner), jnp.zeros((), jnp.int32)

    def advance(self, state, part):
        base, steps, count = state
        query, key, value, rate = part

        def loss(inner: Matrix | Perceptron) -> Float[Array, ""]:
            # Heads share nothing, so the sum weighted by rates gives every head its own step.
            return 0.5 * jnp.sum(rate[:, None] * (inner(key) - value) ** 2)

        steps = jax.tree.map(lambda s, g: s - g, steps, jax.grad(loss)(base))
        now = jax.tree.map(jnp.add, base, steps)
        full = count + 1 == self.minibatch
        base = jax.tree.map(lambda new, old: jnp.where(full, new, old), now, base)
        steps = jax.tree.map(lambda s: jnp.where(full, 0, s), steps)
        return (base, steps, jnp.where(full, 0, count + 1)), now(query)


class OmegaMixer(Descending):
    """The state: the weights, and the keys, values and rates of the window (0 before the first token)."""

    keep: float = eqx.field(static=True)
    window: int = eqx.field(static=True)

    def __init__(self, place: Place, window: int, rate: float, keep: float, *, key: PRNGKeyArray):
        super().__init__(place, rate, key=key)
        self.window, self.keep = window, keep

    def start(self):
        weights = super().start()
        recent = jnp.zeros((self.window, self.heads, self.size), weights.dtype)
        return weights, recent, recent, recent[:, :, 0]

    def advance(self, state, part):
        weights, keys, values, rates = state
        query, key, value, rate = part
        keys, values, rates = (
            jnp.concatenate([old[1:], new[None]]) for old, new in ((keys, key), (values, value), (rates, rate))
        )
        errors = jnp.einsum("hvk,whk->whv", weights, keys) - values
        weights = self.keep * weights - jnp.einsum("wh,whv,whk->hvk", rates, errors, keys)
        return (weights, keys, values, rates), jnp.einsum("hvk,hk->hv", weights, query)
