"""Attention without softmax and fast weights against their equations, written once more in NumPy, in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from tests.models.test_mixer_equations import (
    E,
    H,
    T,
    X,
    close,
    convolved,
    heads,
    linear,
    rms,
    run,
    sigmoid,
    silu,
    split,
)

K = E // H


def projected(m):
    """Queries, keys and values of attention: three maps."""
    return [heads(linear(one, X)) for one in (m.query, m.key, m.value)]


def causal_sum(weights, values):
    """sum over s <= t of weights[h, t, s] v_s: (T, H * K)."""
    return np.einsum("hts,shk->thk", np.tril(weights), values).reshape(T, -1)


def test_attention_by_positive_scores():
    """phi = elu + 1 and a division by the sum (Katharopoulos et al. 2020, equations 4 and 7); ReLU scores divided by
    the number of tokens before the query (Wortsman et al. 2023)."""
    m, outs = run("positive-linear")
    query, key, value = projected(m)
    query, key = (np.where(a > 0, a + 1, np.exp(np.minimum(a, 0))) for a in (query, key))
    weights = np.tril(np.einsum("thk,shk->hts", query, key))
    close(outs, linear(m.output, causal_sum(weights / weights.sum(-1, keepdims=True), value)))
    m, outs = run("relu")
    query, key, value = projected(m)
    weights = np.maximum(np.einsum("thk,shk->hts", query, key) / np.sqrt(K), 0)
    close(outs, linear(m.output, causal_sum(weights / np.maximum(np.arange(T), 1)[:, None], value)))


@pytest.mark.parametrize("normalizer", ["none", "count", "scores"])
def test_linear_attention(normalizer):
    m, outs = run("linear", normalizer=normalizer, key_size=3, bias=True)
    query, key, value = projected(m)
    scores = np.tril(np.einsum("thk,shk->hts", query, key))
    divisors = {"none": 1, "count": np.maximum(np.arange(T), 1)[:, None], "scores": scores.sum(-1, keepdims=True)}
    close(outs, linear(m.output, causal_sum(scores / divisors[normalizer], value)), 1e-10)


def test_linear_attention_on_pairs_is_the_averaging_baseline():
    """Tokens (x_k, x_{k-1}, y_{k-1}): with maps that pick the first two as query and key and the last as value, and a
    division by the k pairs seen, prediction k is x_k'(y_0 x_0 + ... + y_{k-1} x_{k-1}) / k."""
    dim = 3
    rng = np.random.default_rng(2)
    xs, ys = rng.normal(size=(T, dim)), rng.normal(size=T)
    before = np.concatenate([np.zeros((1, dim + 1)), np.concatenate([xs, ys[:, None]], 1)[:-1]])
    tokens = jnp.asarray(np.concatenate([xs, before], 1), jnp.float32)
    mixer = MixerConfig.registry.get("linear", normalizer="count", key_size=dim).make(
        Place(width=2 * dim + 1, heads=1, depth=1, length=T), key=jax.random.key(0)
    )
    pick = np.eye(2 * dim + 1)
    maps = pick[:, :dim], pick[:, dim : 2 * dim], np.tile(pick[:, -1:], dim), np.tile(pick[:1], (dim, 1)) / dim
    mixer = eqx.tree_at(
        lambda m: [one.weight for one in (m.query, m.key, m.value, m.output)],
        mixer,
        [jnp.asarray(one, jnp.float32) for one in maps],
    )
    wanted = [xs[k] @ sum((ys[i] * xs[i] for i in range(k)), np.zeros(dim)) / max(k, 1) for k in range(T)]
    np.testing.assert_allclose(mixer(tokens)[:, 0], wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_retention():
    """O = (Q K' . D) V with D = gamma^(t - s), gamma = 1 - 2^(-5 - h), where pairs of channels are complex numbers
    turned by t theta, theta = 10000^(-2 i / K) (Sun et al. 2023, equations 3 to 6)."""
    m, outs = run("retention")
    query, key, value = split(m)
    turned = np.exp(1j * np.arange(T)[:, None, None] * 10000.0 ** (-2 * np.arange(K // 2) / K))
    query, key = (turned * (a[..., : K // 2] + 1j * a[..., K // 2 :]) for a in (query, key))
    lag = np.arange(T)[:, None] - np.arange(T)[None]
    decay = np.stack([(1 - 2.0 ** -(5 + h)) ** np.maximum(lag, 0) for h in range(H)])
    scores = np.einsum("thk,shk->hts", query, key.conj()).real * decay / np.sqrt(K)
    mixed = rms(m, heads(causal_sum(scores, value))).reshape(T, -1)
    close(outs, linear(m.output, mixed * silu(linear(m.gate, X))))


def test_gated_linear_attention():
    """S_t = S_{t-1} Diag(a_t) + v k', a = sigmoid(W_2 W_1 x + b)^(1/16) (Yang et al. 2023, equations 3 and 4)."""
    m, outs = run("gated-linear-attention", rank=3)
    query, key, value = split(m)
    keep = heads(sigmoid(linear(m.up, linear(m.down, X))) ** (1 / 16))
    state, reads = np.zeros((H, K, K)), []
    for t in range(T):
        state = state * keep[t][:, None, :] + np.einsum("hv,hk->hvk", value[t], key[t])
        reads.append(np.einsum("hvk,hk->hv", state, query[t]) / np.sqrt(K))
    close(outs, linear(m.output, rms(m, np.array(reads)).reshape(T, -1) * silu(linear(m.gate, X))))


@pytest.mark.parametrize("member", ["deltanet", "gated-deltanet"])
def test_the_delta_rule_between_its_maps(member):
    """S = a S (I - b k k') + b v k', q and k of length 1 after silu of a short convolution, b = sigmoid; with the gate
    a = exp(-exp(A) softplus(w'x + b - 3)) (Yang et al. 2024 and 2024b, equation 10)."""
    m, outs = run(member, window=2)
    entered = silu(convolved(m.short.weight, linear(m.projection, X)) + m.short.bias)
    query, key, value = (heads(a) for a in np.split(entered, 3, -1))
    query, key = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (query, key))
    rates, state, reads = linear(m.rates, X), np.zeros((H, K, K)), []
    write, keep = sigmoid(rates[:, :H]), np.ones((T, H))
    if member == "gated-deltanet":
        keep = np.exp(-np.exp(m.log_rate) * np.log1p(np.exp(rates[:, H:] - 3)))
    for t in range(T):
        for h in range(H):
            k = key[t, h]
            state[h] = keep[t, h] * state[h] @ (np.eye(K) - write[t, h] * np.outer(k, k))
            state[h] += write[t, h] * np.outer(value[t, h], k)
        reads.append(np.einsum("hvk,hk->hv", state, query[t]))
    mixed = rms(m, np.array(reads)).reshape(T, -1)
    close(outs, linear(m.output, mixed if m.gate is None else mixed * silu(linear(m.gate, X))))


def test_momentum_attention():
    """Softmax attention, and the sum of eta^(t - i) v_i over the tokens before (Dai et al. 2022, equation 15)."""
    m, outs = run("momentum", momentum=0.7)
    query, key, value = projected(m)
    scores = np.exp(np.einsum("thk,shk->hts", query, key) / np.sqrt(K))
    weights = np.tril(scores) / np.tril(scores).sum(-1, keepdims=True)
    lag = np.arange(T)[:, None] - np.arange(T)[None]
    weights = weights + np.where(lag > 0, 0.7 ** np.maximum(lag, 0), 0.0)[None]
    close(outs, linear(m.output, causal_sum(weights, value)))
