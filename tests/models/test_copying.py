"""Copying and then one step on interleaved tokens, against explicit loops in float64, and what its first layer does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from icl import taps
from icl.models.constructions import Construction

D, P = 3, 7
TASK = fc.get("linear-regression", dim=D, points=P)
RATE = 0.7


def draw(prompts: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(prompts, P, D))
    return xs, np.einsum("bpd,bd->bp", xs, rng.normal(size=(prompts, D))) + 0.3 * rng.normal(size=(prompts, P))


def difference(sharpness: float) -> float:
    """Between the network at every position, in float64, and rate / k sum_i y_i x_i'x_k, over the largest answer."""
    xs, ys = draw()
    with jax.enable_x64(True):
        learner = Construction.registry.get("copy-then-step", rate=RATE, sharpness=sharpness).make(TASK)
        found = np.asarray(jax.jit(jax.vmap(lambda x, y: learner(Prompt(x, y)).mean))(jnp.asarray(xs), jnp.asarray(ys)))
        assert found.dtype == np.float64
    wanted = np.zeros(ys.shape)
    for k in range(1, P):
        weights = RATE / k * np.einsum("bi,bid->bd", ys[:, :k], xs[:, :k])
        wanted[:, k] = np.sum(weights * xs[:, k], -1)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_it_is_one_step_in_the_limit_of_sharp_attention():
    """What is wrong falls as `leak` does; at sharpness 80 it is below the rounding of float32."""
    leaks = {s: Construction.registry.get("copy-then-step", sharpness=s).leak(2 * P - 1) for s in (5.0, 20.0, 80.0)}
    errors = {s: difference(s) for s in leaks}
    assert all(errors[s] <= 3 * leaks[s] for s in leaks)
    assert errors[5.0] > 1e-3
    assert errors[80.0] < 1e-10


def test_the_first_layer_makes_joint_tokens_of_y_tokens_and_leaves_the_others():
    xs, ys = (jnp.asarray(a[0], jnp.float32) for a in draw())
    learner = Construction.registry.get("copy-then-step").make(TASK)
    tokens = learner.layout.tokens(Prompt(xs, ys), learner.signature)
    ids, visible = np.arange(2 * P - 1), learner.layout.visible(P, learner.signature)
    _, seen = taps.capture(learner.network, tokens, ids, visible, at="blocks.0.residual")
    after = np.asarray(seen["blocks.0.residual"])[:, : 1 + D]
    np.testing.assert_allclose(after[1::2], np.concatenate([ys[:-1, None], xs[:-1]], 1), atol=1e-5)
    np.testing.assert_allclose(after[2::2], tokens[2::2], atol=1e-5)
    # The first token has none before it; whatever it takes, its y is 0, so no step uses it.
    assert not np.any(after[0, 0])


@pytest.mark.parametrize("points", [2, 20, 64])
def test_the_codes_tell_the_token_before_from_all_others_of_long_prompts(points):
    made = Construction.registry.get("copy-then-step")
    assert made.leak(2 * points - 1) < 1e-5
    other = fc.get("linear-regression", dim=D, points=points)
    prompt = other.sample(jax.random.key(0))
    found, wanted = (
        jax.jit(f)(prompt.hide()).mean[-1] for f in (made.make(other).__call__, made.algorithm(other).__call__)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
