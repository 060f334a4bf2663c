"""Mixers that are algorithms under other names: the delta rule, gradient descent, running averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.deltanet import SMALL, delta_rule

T, H, K = 12, 2, 4
PLACE = Place(width=H * K, heads=H, depth=1, length=T)
RNG = np.random.default_rng(0)
QUERY, KEY, VALUE = RNG.normal(size=(3, H, T, K))
WRITE, KEEP = RNG.uniform(0.1, 1.0, size=(H, T)), -RNG.uniform(0.0, 1.0, size=(H, T))


def made(name: str, **fields):
    return MixerConfig.registry.get(name, **fields).make(PLACE, key=jax.random.key(0))


def tokens(*arrays: np.ndarray) -> list[jax.Array]:
    """(H, T, ...) to parts, token by token."""
    return [jnp.asarray(np.swapaxes(a, 0, 1), jnp.float32) for a in arrays]


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


def test_the_delta_rule_is_least_mean_squares():
    """k = x_{t-1}, v = y_{t-1}, q = x_t: w += b (y - w'x) x, read before y_t is known; with unit x and b = 1 the newest
    example is always fitted (Kaczmarz)."""
    xs, ys, rate = RNG.normal(size=(T, K)), RNG.normal(size=T), 0.1
    w, wanted = np.zeros(K), []
    for t in range(T):
        if t:
            w = w + rate * (ys[t - 1] - w @ xs[t - 1]) * xs[t - 1]
        wanted.append(w @ xs[t])
    before = lambda a: np.concatenate([np.zeros_like(a[:1]), a[:-1]])  # noqa: E731
    parts = [jnp.asarray(a, jnp.float32)[None] for a in (xs, before(xs), before(ys)[:, None])]
    found = delta_rule(*parts, jnp.full((1, T), rate), jnp.zeros((1, T)))
    close(found[0, :, 0], np.array(wanted))
    unit = KEY / np.linalg.norm(KEY, axis=-1, keepdims=True)
    parts = [jnp.asarray(a, jnp.float32) for a in (unit, unit, VALUE)]
    close(delta_rule(*parts, jnp.ones((H, T)), jnp.zeros((H, T))), VALUE)


@pytest.mark.parametrize(("chunk", "strength"), [(16, 1.0), (5, 1.0), (5, 200.0)])
def test_the_gated_delta_rule_equals_its_recurrence(chunk, strength):
    """In chunks that fill the sequence or not, and where all is forgotten at once."""
    keep, state, wanted = strength * KEEP, np.zeros((H, K, K)), []
    for t in range(T):
        state = np.exp(keep[:, t])[:, None, None] * state
        error = VALUE[:, t] - np.einsum("hvk,hk->hv", state, KEY[:, t])
        state = state + WRITE[:, t, None, None] * error[:, :, None] * KEY[:, t, None, :]
        wanted.append(np.einsum("hvk,hk->hv", state, QUERY[:, t]))
    arrays = [jnp.asarray(a, jnp.float32) for a in (QUERY, KEY, VALUE, WRITE, keep)]
    close(delta_rule(*arrays, chunk), np.stack(wanted, 1))


def test_chunks_of_the_delta_rule_have_the_gradient_of_its_recurrence():
    def chunks(*parts):
        return delta_rule(*(jnp.swapaxes(a, 0, 1) for a in parts), 5).swapaxes(0, 1)

    with jax.enable_x64(True):
        mixer = made("gated-deltanet")
        parts = [jnp.asarray(np.swapaxes(a, 0, 1)) for a in (QUERY, KEY, VALUE, WRITE, KEEP)]
        forms = chunks, lambda *parts: mixer.parallel(parts)
        totals = [lambda *parts, form=form: jnp.sum(jnp.sin(form(*parts))) for form in forms]
        found, wanted = (jax.jit(jax.grad(total, range(5)))(*parts) for total in totals)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * np.abs(b).max())


def test_large_heads_of_the_delta_rule_take_chunks():
    place = Place(width=2 * SMALL, heads=1, depth=1, length=20)
    mixer = MixerConfig.registry.get("gated-deltanet").make(place, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (20, 2 * SMALL))
    mixed, steps = jax.jit(
        lambda x: (mixer(x), jax.lax.scan(lambda s, r: mixer.step(r, s)[::-1], mixer.init_state(20), x)[1])
    )(x)
    assert "triangular_solve" in str(jax.make_jaxpr(mixer)(x))
    assert "triangular_solve" not in str(jax.make_jaxpr(made("gated-deltanet"))(x[:, : H * K]))
    np.testing.assert_allclose(mixed, steps, atol=1e-4 * float(jnp.max(jnp.abs(mixed))))


def test_test_time_training_of_a_matrix_is_gradient_descent_on_all_tokens_or_the_delta_rule_on_each():
    parts = tokens(QUERY, KEY, VALUE, WRITE)
    sums = np.cumsum(WRITE[:, :, None, None] * VALUE[..., None] * KEY[..., None, :], 1)
    close(made("ttt-linear", minibatch=T).parallel(parts), np.einsum("htvk,htk->thv", sums, QUERY))
    arrays = [jnp.asarray(a, jnp.float32) for a in (QUERY, KEY, VALUE, WRITE)]
    delta = np.swapaxes(np.asarray(delta_rule(*arrays, jnp.zeros((H, T)))), 0, 1)
    close(made("ttt-linear", minibatch=1).parallel(parts), delta)
    close(made("omega", window=1).parallel(parts), delta)


def test_the_omega_rule_descends_on_the_window():
    """A window of all tokens at every step: the sum of squares of the examples so far falls at every step."""
    mixer = made("omega", window=T, rate=1.0)
    unit = KEY / np.linalg.norm(KEY, axis=-1, keepdims=True)
    rate = np.full((H, T), 1.0 / T)
    state, errors = mixer.start(), []
    for t, part in enumerate(zip(*tokens(QUERY, unit, VALUE, rate), strict=True)):
        before = np.einsum("hvk,htk->htv", state[0], unit[:, : t + 1]) - VALUE[:, : t + 1]
        state, _ = mixer.advance(state, part)
        after = np.einsum("hvk,htk->htv", state[0], unit[:, : t + 1]) - VALUE[:, : t + 1]
        errors.append((np.sum(before**2, (1, 2)), np.sum(after**2, (1, 2))))
    assert all(np.all(after < before) for before, after in errors)


def test_linear_attention_is_what_is_left_without_forgetting():
    """Gated linear attention with decay 1, and retention's weights g^(t - s) written out."""
    plain = np.einsum("htk,hsk,ts,hsv->thv", QUERY, KEY, np.tril(np.ones((T, T))), VALUE)
    parts = [*tokens(QUERY, KEY, VALUE), jnp.ones((T, H, K))]
    close(made("gated-linear-attention").parallel(parts), plain)
    mixer = made("retention")
    lag = np.maximum(np.arange(T)[:, None] - np.arange(T)[None], 0)
    weights = np.tril(mixer.rates[:, None, None] ** lag)
    # One channel a head has no pair to rotate.
    one = [a[..., :1] for a in (QUERY, KEY, VALUE)]
    wanted = np.einsum("htk,hsk,hts,hsv->thv", *one[:2], weights, one[2])
    close(mixer.parallel(tokens(*one)), wanted)


def test_an_average_with_a_fixed_query_is_softmax_attention():
    scores, values = RNG.normal(size=(H, T)), VALUE
    weights = np.tril(np.ones((T, T)))[None] * np.exp(scores)[:, None, :]
    wanted = np.einsum("hts,hsv->thv", weights / weights.sum(-1, keepdims=True), values)
    close(made("aaren").parallel(tokens(scores, values)), wanted)


def test_rwkv_is_its_sum():
    mixer = made("rwkv")
    x = RNG.normal(size=(T, H * K)).astype(np.float32)
    mixed = 0.5 * x + 0.5 * np.concatenate([np.zeros_like(x[:1]), x[:-1]])
    r, k, v = (np.asarray(mixed, np.float64) @ np.asarray(m.weight) for m in (mixer.receptance, mixer.key, mixer.value))
    w, u = np.exp(np.asarray(mixer.decay, np.float64)), np.asarray(mixer.bonus, np.float64)
    wanted = []
    for t in range(T):
        weights = [np.exp(-(t - 1 - s) * w + k[s]) for s in range(t)] + [np.exp(u + k[t])]
        wanted.append(sum(a * b for a, b in zip(weights, v, strict=False)) / sum(weights) / (1 + np.exp(-r[t])))
    close(mixer.parallel(jnp.asarray(x)), np.array(wanted))


def test_the_kernel_of_a_state_space_is_its_impulse_response():
    mixer = made("s4d")
    impulse = jnp.zeros((T, H * K)).at[0].set(1.0)
    state, outs = mixer.start(), []
    for row in impulse:
        state, out = mixer.advance(state, row)
        outs.append(out)
    close(mixer.kernel(T), np.array(outs))


def test_identity_adds_nothing_and_pooling_is_the_running_mean():
    x = RNG.normal(size=(T, H * K)).astype(np.float32)
    assert not np.any(made("identity")(jnp.asarray(x)))
    close(made("pooling")(jnp.asarray(x)), np.cumsum(x, 0) / np.arange(1, T + 1)[:, None] - x)
