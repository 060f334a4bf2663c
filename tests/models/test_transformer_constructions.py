"""Hand-set transformers against NumPy in float64: ridge, the posterior of a finite pool, the nearest neighbor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import ConfigError, Prompt
from function_classes.base import NotAvailable
from function_classes.spaces import Signs
from icl import taps
from icl.models.constructions import Construction
from icl.models.constructions.channels import Channels, Product, write_block

D, P = 3, 6
TASK = fc.get("linear-regression", dim=D, points=P)


def draw(prompts: int, dim: int = D, points: int = P, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    xs, w = rng.normal(size=(prompts, points, dim)), rng.normal(size=(prompts, dim))
    return xs, np.einsum("bpd,bd->bp", xs, w) + 0.5 * rng.normal(size=(prompts, points))


def in_float64(construction: Construction, xs: np.ndarray, *labels: np.ndarray) -> list[np.ndarray]:
    """Predictions at every position, without any part in single precision, for each of the labellings."""
    with jax.enable_x64(True):
        learner = construction.make(TASK)
        run = jax.jit(jax.vmap(lambda x, y: learner(Prompt(x, y)).mean))
        found = [run(jnp.asarray(xs), jnp.asarray(ys)) for ys in labels]
        assert all(f.dtype == jnp.float64 for f in found)
        return [np.asarray(f) for f in found]


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def ridge(xs: np.ndarray, ys: np.ndarray, penalty: float) -> np.ndarray:
    """x_k' (X'X + penalty I)^-1 X'y over the first k examples, solved anew at every position."""
    found = np.zeros(ys.shape)
    for k in range(xs.shape[1]):
        x, y = xs[:, :k], ys[:, :k]
        second = np.einsum("bki,bkj->bij", x, x) + penalty * np.eye(xs.shape[2])
        weights = np.linalg.solve(second, np.einsum("bki,bk->bi", x, y)[..., None])[..., 0]
        found[:, k] = np.sum(weights * xs[:, k], -1)
    return found


def test_sherman_morrison_is_ridge_in_closed_form():
    xs, ys = draw(300)
    (found,) = in_float64(Construction.registry.get("sherman-morrison", penalty=0.3), xs, ys)
    assert relative(found, ridge(xs, ys, 0.3)) < 1e-10
    assert relative(found, ridge(xs, ys, 0.31)) > 1e-4
    assert not np.any(found[:, 0])


def final_stream(construction: Construction, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """The residual stream after the last block where predictions are read, (prompts, P, E), in float64."""
    with jax.enable_x64(True):
        learner = construction.make(TASK)
        last = f"blocks.{len(learner.network.blocks) - 1}.residual"
        read = learner.layout.read(P, learner.signature)
        see = lambda x, y: taps.capture(learner, Prompt(x, y), at=last)[1][last][read]  # noqa: E731
        found = jax.jit(jax.vmap(see))(jnp.asarray(xs), jnp.asarray(ys))
        assert found.dtype == jnp.float64
        return np.asarray(found)


def test_weights_of_ridge_in_the_stream_are_those_of_numpy_and_change_no_prediction():
    xs, ys = draw(50)
    plain, keeps = (Construction.registry.get("sherman-morrison", penalty=0.3, keeps_weights=k) for k in (False, True))
    np.testing.assert_array_equal(in_float64(keeps, xs, ys)[0], in_float64(plain, xs, ys)[0])
    assert keeps.needs(TASK).width == plain.needs(TASK).width + 2 * D + 1
    held = final_stream(keeps, xs, ys)[..., -D:]
    for k in range(P):
        x, y = xs[:, :k], ys[:, :k]
        second = np.einsum("bki,bkj->bij", x, x) + 0.3 * np.eye(D)
        weights = np.linalg.solve(second, np.einsum("bki,bk->bi", x, y)[..., None])[..., 0]
        np.testing.assert_allclose(held[:, k], weights, rtol=1e-9, atol=1e-12)


def test_the_moment_is_in_the_stream_of_one_construction_and_its_predictions_are_those_of_another():
    xs, ys = draw(50)
    written, raw = (Construction.registry.get(n, rate=0.7) for n in ("explicit-moment", "gradient-descent"))
    assert relative(*(in_float64(c, xs, ys)[0] for c in (written, raw))) < 1e-12
    held = final_stream(written, xs, ys)[..., 2 * D + 1 : 3 * D + 1]
    for k in range(1, P):
        np.testing.assert_allclose(held[:, k], np.einsum("bkd,bk->bd", xs[:, :k], ys[:, :k]) / k, rtol=1e-10)


def test_sherman_morrison_in_single_precision():
    xs, ys = (a.astype(np.float32) for a in draw(1000, dim=4, points=12))
    task = fc.get("linear-regression", dim=4, points=12)
    learner = Construction.registry.get("sherman-morrison", penalty=0.25).make(task)
    assert len(learner.network.blocks) == 22
    found = np.asarray(jax.jit(lambda x, y: learner.batched(Prompt(x, y)).mean)(xs, ys))
    assert relative(found, ridge(xs.astype(float), ys.astype(float), 0.25)) < 1e-5


def test_hand_set_positions_hold_the_length_they_were_written_for():
    """Shorter prompts are the first positions of longer ones; longer ones are refused."""
    learner = Construction.registry.get("sherman-morrison").make(fc.get("linear-regression", dim=2, points=3))
    xs, ys = (jnp.asarray(a[0], jnp.float32) for a in draw(1, dim=2, points=4))
    short, full = jax.jit(lambda x, y: [learner(Prompt(x[:n], y[:n])).mean for n in (2, 3)])(xs, ys)
    np.testing.assert_allclose(short, full[:2], rtol=1e-6)
    with pytest.raises(NotAvailable, match="hold 3 points"):
        learner(Prompt(xs, ys))


def posterior_mean(xs: np.ndarray, ys: np.ndarray, pool: np.ndarray, noise: float) -> np.ndarray:
    """Weights of the pool by their likelihood, one position after another."""
    values, log_weights, found = xs @ pool.T, np.zeros((len(xs), len(pool))), np.zeros(ys.shape)
    for k in range(xs.shape[1]):
        weights = np.exp(log_weights - log_weights.max(1, keepdims=True))
        found[:, k] = np.sum(weights * values[:, k], 1) / weights.sum(1)
        log_weights = log_weights - (ys[:, k, None] - values[:, k]) ** 2 / (2 * noise**2)
    return found


@pytest.mark.parametrize("size", [1, 5])
def test_finite_pool_is_the_posterior_mean(size):
    """Also where every likelihood is below the smallest number of double precision, and for labels from the pool."""
    made = Construction.registry.get("finite-pool", size=size, seed=7, noise_std=0.4)
    pool = np.asarray(made.pool(TASK), float)
    xs, ys = draw(200)
    inside = np.einsum("bpd,bd->bp", xs, pool[np.arange(200) % size])
    inside += 0.4 * np.random.default_rng(1).normal(size=ys.shape)
    labels = {"near": ys, "far": ys + 100, "inside": inside}
    for found, shown in zip(in_float64(made, xs, *labels.values()), labels.values(), strict=True):
        assert relative(found, posterior_mean(xs, shown, pool, 0.4)) < 1e-10
        np.testing.assert_allclose(found[:, 0], xs[:, 0] @ pool.mean(0), rtol=1e-10)
        if size > 1:
            assert relative(found, posterior_mean(xs, shown, pool, 0.5)) > 1e-4


def test_what_a_tournament_leaves_is_just_below_the_largest():
    """The logistic mean of f and l lies d / (1 + e^d) below the larger, d = |f - l|, which is .2785 at most."""
    made = Construction.registry.get("finite-pool", size=2, seed=7, noise_std=1.0)
    learner, channels = made.make(TASK), made.channels(TASK)
    prompts = TASK.batch(jax.random.key(0), 500)
    site = "blocks.2.residual"
    seen = jax.jit(jax.vmap(lambda p: taps.capture(learner, p, at=(site,))[1][site]))(prompts)
    scores, left = (np.asarray(seen[:, -P:, channels.slices[name]], float) for name in ("a", "c1"))
    below = scores.max(-1) - left[..., 0]
    d = np.abs(np.diff(scores)[..., 0])
    np.testing.assert_allclose(below, d / (1 + np.exp(d)), atol=1e-5 * np.abs(scores).max())
    assert 0.27 < below.max() < 0.28


def test_the_pool_is_its_seed():
    one, same, other = (Construction.registry.get("finite-pool", size=4, seed=s).pool(TASK) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.any(one == other)


def smoother(xs: np.ndarray, ys: np.ndarray, scale: float) -> np.ndarray:
    """Nadaraya and Watson with a Gaussian kernel; 0 without examples."""
    found = np.zeros(ys.shape)
    for k in range(1, xs.shape[1]):
        squares = np.sum((xs[:, :k] - xs[:, k : k + 1]) ** 2, -1)
        weights = np.exp(-scale * (squares - squares.min(1, keepdims=True)))
        found[:, k] = np.sum(weights * ys[:, :k], 1) / weights.sum(1)
    return found


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_nearest_neighbor_is_a_kernel_smoother(scale):
    xs, ys = draw(200)
    (found,) = in_float64(Construction.registry.get("nearest-neighbor", scale=scale), xs, ys)
    assert relative(found, smoother(xs, ys, scale)) < 1e-10
    assert not np.any(found[:, 0])
    np.testing.assert_allclose(found[:, 1], ys[:, 0], rtol=1e-12)


def test_weight_off_the_nearest_falls_exponentially():
    """Labels that are 0 at the nearest example and 1 at the others make the prediction that weight: at most
    (k - 1) exp(-scale gap), and at least exp(-scale gap) / k."""
    xs, _ = draw(200)
    k = P - 1
    squares = np.sum((xs[:, :k] - xs[:, k : k + 1]) ** 2, -1)
    gap = np.diff(np.sort(squares)[:, :2])[:, 0]
    ys = np.ones((200, P))
    ys[np.arange(200), np.argmin(squares, 1)] = 0
    found = {s: in_float64(Construction.registry.get("nearest-neighbor", scale=s), xs, ys)[0][:, k] for s in (2.0, 8.0)}
    for scale, weight in found.items():
        bound = np.exp(-scale * gap)
        assert np.all(weight <= (k - 1) * bound * (1 + 1e-10))
        assert np.all(weight >= bound / k * (1 - 1e-10))
    assert np.all(found[8.0] < found[2.0])


def test_refusals():
    class Sided(type(TASK)):
        @property
        def y_space(self):
            return Signs()

    with pytest.raises(NotAvailable, match="read logits"):
        Construction.registry.get("sherman-morrison").make(Sided(dim=D, points=P))
    for name, field in [("sherman-morrison", "penalty"), ("finite-pool", "noise_std"), ("nearest-neighbor", "scale")]:
        with pytest.raises(ConfigError, match="must be above 0"):
            Construction.registry.get(name, **{field: 0.0})


def test_an_mlp_that_is_too_narrow_is_refused():
    learner = Construction.registry.get("nearest-neighbor").make(TASK)
    channels = Channels(x=learner.network.embed.weight.shape[1])
    everything = Product(channels.copy("x"), channels.copy("x"), channels.place("x"))
    with pytest.raises(ValueError, match="hidden units"):
        write_block(learner.network.blocks[0], None, everything, everything)
