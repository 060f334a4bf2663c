"""Hand-set loops: Newton's iteration squares its residual, and loops of one linear attention are steps of descent."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.base import NotAvailable
from icl import taps
from icl.models.constructions import Construction, Needs
from icl.models.looped import loop

D, P = 3, 7
TASK = fc.get("linear-regression", dim=D, points=P)


def draw(prompts: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    xs, w = rng.normal(size=(prompts, P, D)), rng.normal(size=(prompts, D))
    return xs, np.einsum("bpd,bd->bp", xs, w) + 0.5 * rng.normal(size=(prompts, P))


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def newton(xs: np.ndarray, ys: np.ndarray, iterations: int, penalty: float) -> np.ndarray:
    """M <- M (2I - S M) from S / |S|_F^2 on sums over the first k examples, anew at every position, in float64."""
    found = np.zeros(ys.shape)
    for prompt, (x, y) in enumerate(zip(xs, ys, strict=True)):
        for k in range(1, P):
            system = x[:k].T @ x[:k] + penalty * np.eye(D)
            inverse = system / np.sum(system**2)
            for _ in range(iterations):
                inverse = inverse @ (2 * np.eye(D) - system @ inverse)
            found[prompt, k] = x[k] @ inverse @ x[:k].T @ y[:k]
    return found


def residuals(xs: np.ndarray, ys: np.ndarray, loops: int, penalty: float) -> np.ndarray:
    """The spectral norm of I - S M after every loop, (prompts, P, loops), where the last queries hold S and M."""
    with jax.enable_x64(True):
        made = Construction.registry.get("newton", iterations=loops, penalty=penalty)
        learner, channels = made.make(TASK), made.channels(TASK)
        see = lambda x, y: taps.capture(learner, Prompt(x, y), at=("loop",))[1]["loop"]  # noqa: E731
        stream = np.asarray(jax.jit(jax.vmap(see))(jnp.asarray(xs), jnp.asarray(ys)))
    assert stream.dtype == np.float64
    system, inverse = (stream[..., -P:, channels.slices[n]].reshape(-1, loops, P, D, D) for n in ("S", "M"))
    return np.linalg.norm(np.eye(D) - system @ inverse, 2, (-2, -1)).swapaxes(1, 2)


def test_newtons_loops_are_newtons_iterations():
    xs, ys = draw(20)
    with jax.enable_x64(True):
        made = Construction.registry.get("newton", iterations=3, penalty=0.3)
        learner = made.make(TASK)

        @eqx.filter_jit
        def run(learner, xs, ys):
            return [jax.vmap(lambda x, y, m=m: m(Prompt(x, y)).mean)(xs, ys) for m in (learner, loop(learner, 6))]

        short, long = (np.asarray(a) for a in run(learner, jnp.asarray(xs), jnp.asarray(ys)))
    assert short.dtype == np.float64
    assert relative(short, newton(xs, ys, 3, 0.3)) < 1e-10
    assert relative(long, newton(xs, ys, 6, 0.3)) < 1e-10
    assert relative(short, newton(xs, ys, 4, 0.3)) > 1e-3
    assert relative(short, newton(xs, ys, 3, 0.4)) > 1e-3
    assert made.needs(TASK) == Needs(3 + 2 * 3 + 2, 1, 4 * D**2 + 4 * D + 7)


@pytest.mark.parametrize("penalty", [0.0, 0.2])
def test_every_loop_of_newton_squares_the_residual(penalty):
    """In the spectral norm, as I - S M is symmetric; from (1 - (s / |S|_F)^2), s the least eigenvalue."""
    xs, ys = draw(50)
    found = residuals(xs, ys, 12, penalty)[:, D + 1 :]
    for k, left in zip(range(D + 1, P), found.swapaxes(0, 1), strict=True):
        values = np.linalg.eigvalsh(np.einsum("bki,bkj->bij", xs[:, :k], xs[:, :k]) + penalty * np.eye(D))
        first = 1 - values[:, 0] ** 2 / np.sum(values**2, 1)
        np.testing.assert_allclose(left, first[:, None] ** 2.0 ** np.arange(1, 13), rtol=1e-9, atol=1e-10)
    before, after = found[..., :-1], found[..., 1:]
    large = after > 1e-3
    np.testing.assert_allclose(after[large], before[large] ** 2, rtol=1e-9)
    assert np.all(after[~large] <= before[~large] ** 2 + 1e-12)


@pytest.mark.parametrize("steps", [1, 5])
def test_loops_of_the_looped_model_are_steps_of_gradient_descent(steps):
    """The weights of one step, looped any number of times, for any dim and any number of examples."""
    task = fc.get("linear-regression", dim=5, points=11, noise_std=0.3)
    made = Construction.registry.get("looped-gradient-descent", steps=2, rate=0.4)
    assert made.needs(task) == Needs(2, 1, 6)
    prompts = task.batch(jax.random.key(0), 50)
    found = np.asarray(eqx.filter_jit(lambda m: m.batched(prompts).mean[:, -1])(loop(made.make(task), steps)))
    xs, ys = (np.asarray(a, float) for a in (prompts.xs, prompts.ys))
    for count, same in ((steps, True), (steps + 1, False)):
        w = np.zeros((50, 5))
        for _ in range(count):
            errors = np.einsum("bkd,bd->bk", xs[:, :-1], w) - ys[:, :-1]
            w -= 0.4 * np.einsum("bkd,bk->bd", xs[:, :-1], errors) / 10
        assert (relative(found, np.sum(w * xs[:, -1], -1)) < 1e-5) == same


def test_refusals():
    with pytest.raises(NotAvailable, match="dim <= 16; this task has 17"):
        Construction.registry.get("newton").make(fc.get("linear-regression", dim=17, points=3))
    with pytest.raises(NotAvailable, match="stream"):
        Construction.registry.get("looped-gradient-descent").make(fc.get("markov"))
