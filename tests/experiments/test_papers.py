"""Measures of the papers' experiments on hand-set weights, where every answer is known."""

import functools
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import von_oswald, zhang
from function_classes.inputs import Diagonal
from icl import prng
from icl.models.constructions import Construction
from icl.programs import draw


@functools.cache
def steps(scale=1.0):
    """Two seeds that are one step of gradient descent at `scale` times the best rate, not divided by the count."""
    built = Construction.registry.get(
        "gradient-descent-plus-plus", rates=(scale * von_oswald.BEST_RATE,), gammas=(0.0,)
    ).make(von_oswald._task())
    return {"one layer": [SimpleNamespace(model=built)] * 2}


@functools.cache
def optima():
    laws = {"isotropic": zhang.task(), "anisotropic": zhang.task(inputs=Diagonal(zhang.SPECTRUM))}
    make = Construction.registry.get("zhang-optimum").make
    return {name: [SimpleNamespace(model=make(law))] * 2 for name, law in laws.items()}


def values(measured, part=0):
    return measured.all[part].values


def test_one_step_is_judged_to_be_one_step():
    runs = steps()
    np.testing.assert_allclose(values(von_oswald.implied_rate(runs, "smoke")), 1, rtol=1e-5)
    np.testing.assert_allclose(values(von_oswald.sensitivity(runs, "smoke")), 1, rtol=1e-5)
    np.testing.assert_allclose(values(von_oswald.interpolation(runs, "smoke")), 1, rtol=1e-4)
    np.testing.assert_allclose(values(von_oswald.input_range(runs, "smoke")), 1, rtol=1e-4)
    # Weights are made in float32 and then widened, which strict promotion of the tests would refuse.
    with jax.numpy_dtype_promotion("standard"):
        assert values(von_oswald.construction(runs, "smoke")) < 1e-10


def reading_the_token_after(learner):
    """Scores with queries and keys exchanged: every token copies from the one after it."""
    where = lambda m: (m.network.blocks[0].mixer.query, m.network.blocks[0].mixer.key)  # noqa: E731
    return eqx.tree_at(where, learner, where(learner)[::-1])


def test_copying_and_then_one_step_is_judged_to_be_that():
    """The loss is that of one step; what makes it is seen, and neither in the reverse copy nor in random nets."""
    made = Construction.registry.get("copy-then-step", rate=von_oswald.BEST_RATE).make(von_oswald._task())
    config = von_oswald._configs(1, dict.fromkeys(von_oswald.NETS, 1))["copy"][0]
    random = [config.change(init_scale=s).model.make(config.task, key=jax.random.key(int(s))) for s in (0.02, 2.0)]
    learners = [made, reading_the_token_after(made), *random]
    found = von_oswald.copying({"copy": [SimpleNamespace(model=learner) for learner in learners]}, "smoke")
    prompts = von_oswald.tasks("smoke")
    step = von_oswald.half(von_oswald.descend(prompts, 1, von_oswald.BEST_RATE), prompts)
    np.testing.assert_allclose(values(found)[0], np.mean(step) / von_oswald.ONE_STEP, rtol=1e-4)
    assert np.all(values(found)[1:] > 1.5)
    np.testing.assert_array_equal(values(found, 1)[:, 0], [1, 0, 0, 0])
    assert von_oswald.bound(made)[0] > 1e3


def test_another_rate_is_seen():
    runs = steps(0.5)
    np.testing.assert_allclose(values(von_oswald.implied_rate(runs, "smoke")), 0.5, rtol=1e-5)
    assert np.all(values(von_oswald.input_range(runs, "smoke"))[:, 1] > 1.02)


def test_the_closed_form_of_one_step():
    """Half-MSE .20623 at the best rate, within four standard errors; the search finds that rate."""
    prompts = von_oswald.tasks("cpu")
    loss = np.asarray(von_oswald.half(von_oswald.descend(prompts, 1, von_oswald.BEST_RATE), prompts))
    assert abs(loss.mean() - von_oswald.ONE_STEP) < 4 * loss.std() / np.sqrt(loss.size)
    assert abs(von_oswald.tuned(1, 3.0)[0] - von_oswald.BEST_RATE) < 0.25


@pytest.mark.parametrize("gamma", [0.0, 0.05])
def test_descent_equals_an_explicit_loop(gamma):
    prompts = draw(von_oswald._task(), prng.stream(0, "evaluation"), 0, 16)
    found = von_oswald.descend(prompts, 3, 2.0, gamma)
    for index in range(16):
        rows, ys = np.asarray(prompts.xs[index], float), np.asarray(prompts.ys[index, :-1], float)
        answer, left = 0.0, ys.copy()
        for _ in range(3):
            xs, query = rows[:-1], rows[-1]
            weights = 2.0 / len(ys) * left @ xs
            answer, left = answer + weights @ query, left - xs @ weights
            rows = rows - gamma * rows @ xs.T @ xs
        np.testing.assert_allclose(found[index], answer, rtol=1e-4, atol=1e-5)


def test_the_optimum_is_judged_to_be_the_optimum():
    runs = optima()
    np.testing.assert_allclose(values(zhang.global_minimum(runs, "smoke")), 0, atol=1e-6)
    assert np.all(values(zhang.gamma_not_lambda(runs, "smoke")) > 1e3)
    for measure in (zhang.risk, zhang.covariate_scale):
        part = measure(runs, "smoke").all[0]
        spread = part.replicates.std(-1)
        assert np.all(np.abs(part.values - 1) < 5 * spread), (part.values, spread)


def test_average_over_random_covariances():
    """The matrix u I of `zhang.random_covariance` is [E Gamma Lambda^2]^-1 E Lambda^2 for eigenvalues Exp(1)."""
    spectra = np.random.default_rng(0).exponential(size=(400_000, zhang.DIM))
    gammas = (1 + 1 / zhang.EXAMPLES) * spectra + spectra.sum(1, keepdims=True) / zhang.EXAMPLES
    wanted = np.mean(spectra**2) / np.mean(gammas * spectra**2)
    built = Construction.registry.get("zhang-optimum").make(zhang.task())
    factor = np.sqrt(wanted * (zhang.EXAMPLES + zhang.DIM + 1) / zhang.EXAMPLES)
    model = jax.tree.map(lambda a: a * jnp.float32(factor) if eqx.is_inexact_array(a) else a, built)
    part = zhang.random_covariance({"random covariance": [SimpleNamespace(model=model)] * 2}, "smoke").all[0]
    np.testing.assert_allclose(part.values, 0, atol=0.02)
