"""Closed forms against sampled moments, and the probe on layers whose products are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
import probes
from function_classes import NotAvailable
from function_classes.inputs import Diagonal, Gaussian, PowerLaw, Uniform
from icl import references
from icl.models.attention_only import AttentionOnly
from icl.models.constructions.disguise import rotated
from icl.models.constructions.gradient_descent import GradientDescentPlusPlus, GradientDescentWeights
from icl.models.constructions.products import from_products, products
from icl.models.constructions.zhang import ZhangOptimum
from icl.models.mixers.linear import LinearAttention
from icl.models.transformer import Transformer
from probes.closed_forms import best_step, gamma, moments, optimum
from probes.gd_construction import averaged, step_alone, unused

SKEWED = fc.get("linear-regression", dim=3, points=9, noise_std=0.6, weight_std=1.5, inputs=Diagonal((2.0, 1.0, 0.3)))
ROUND = fc.get("linear-regression", dim=3, points=9, noise_std=0.6, weight_std=1.5)
LAST, ONE = np.array([8]), np.ones(1)
KEY = jax.random.key(0)


def measure(learner, task, prompts=64):
    return probes.get("gd-construction")(learner, task=task, key=KEY, prompts=prompts)


def number(result, predictor, metric):
    return float(result.table().where(predictor=predictor, metric=metric).value[0])


@pytest.mark.parametrize(
    "inputs", [Gaussian(std=1.3), Uniform(low=-0.5, high=0.5), Diagonal((2.0, 1.0, 0.3)), PowerLaw(exponent=1.0)]
)
def test_gamma_is_the_second_moment_of_the_averages(inputs):
    """E m m' = Lambda Gamma for m = (1/k) sum y x, and E m w' = Lambda, in units of the weights' variance."""
    rng, k, draws = np.random.default_rng(0), 4, 200_000
    task = dataclasses.replace(ROUND, inputs=inputs)
    xs = np.asarray(inputs.sample(jax.random.key(1), draws * k, 3), np.float64).reshape(draws, k, 3)
    ws, noise = 1.5 * rng.normal(size=(draws, 3)), 0.6 * rng.normal(size=(draws, k))
    means = np.einsum("nk,nkd->nd", np.einsum("nkd,nd->nk", xs, ws) + noise, xs) / k / 1.5
    known = moments(task)
    diagonal = gamma(known, k, 0.6 / 1.5)
    np.testing.assert_allclose(np.mean(means**2, 0), known.variances * diagonal, rtol=0.03)


def test_the_closed_forms_agree_with_the_constructions_and_the_textbook():
    np.testing.assert_allclose(1 / optimum(SKEWED, LAST, ONE), ZhangOptimum().gamma(SKEWED), rtol=1e-12)
    noise = (0.6 / 1.5) ** 2
    assert best_step(ROUND, LAST, ONE) == pytest.approx(8 / (8 + 3 + 1 + noise))
    von_oswald = fc.get("linear-regression", dim=10, points=11, noise_std=0.0, inputs=Uniform(low=-0.5, high=0.5))
    assert best_step(von_oswald, np.array([10]), ONE) == pytest.approx(120 / 19.8)


def test_the_optimum_over_positions_is_a_minimum():
    """The expected loss sum_k a_k^2 U^2 Gamma_k - 2 a_k U, for a layer that does not divide."""
    ks = np.arange(1, 9)
    gammas, best = gamma(moments(SKEWED), ks, 0.4), optimum(SKEWED, ks, ks.astype(float))
    loss = lambda u: np.sum(ks[:, None] ** 2 * u**2 * gammas - 2 * ks[:, None] * u, 0)  # noqa: E731
    assert np.all(loss(best) < np.minimum(loss(1.01 * best), loss(0.99 * best)))


def test_an_optimum_of_zhang_is_found_and_is_not_a_step():
    result = measure(ZhangOptimum().make(SKEWED), SKEWED)
    assert result.answer.startswith("optimum 1/Gamma (")
    assert number(result, "optimum 1/Gamma", "relative_distance") < 1e-6
    assert number(result, "one step", "relative_distance") > 0.1
    assert number(result, "one step", "distance_of_shape") > 0.1
    assert number(result, "model", "effect_of_the_rest") == 0
    assert number(result, "model", "size_of_the_rest") == 0
    np.testing.assert_allclose(*(number(result, name, "squared_error") for name in ("model", "optimum 1/Gamma")))


def test_a_step_is_found_and_is_both_where_inputs_are_isotropic():
    rate = best_step(SKEWED, LAST, ONE)
    result = measure(GradientDescentWeights(rate=rate).make(SKEWED), SKEWED)
    assert result.answer.startswith("one step (")
    assert number(result, "model", "implied_rate_over_best") == pytest.approx(1, rel=1e-5)
    assert number(result, "average with one step", "loss_over_the_smaller") == pytest.approx(1, rel=1e-5)
    same = measure(GradientDescentWeights(rate=best_step(ROUND, LAST, ONE)).make(ROUND), ROUND)
    assert same.answer.startswith("one step and optimum 1/Gamma, which are alike here")
    assert (result.decision, same.decision) == ("one step", "one step and optimum 1/Gamma")


def test_a_disguise_of_raw_tokens_changes_no_number():
    """Tokens enter through a rotation, and what a step uses is found in their own coordinates."""
    base = ZhangOptimum().make(SKEWED)
    first, second = measure(base, SKEWED), measure(rotated(base, jax.random.key(8)), SKEWED)
    assert first.decision == second.decision == "optimum 1/Gamma"
    np.testing.assert_allclose(second.table().value, first.table().value, rtol=1e-3, atol=1e-4)


def test_half_of_the_best_rate_is_not_the_best_step():
    learner = GradientDescentWeights(rate=best_step(ROUND, LAST, ONE) / 2).make(ROUND)
    result = measure(learner, ROUND)
    assert result.answer.startswith("not a gradient step")
    assert result.decision == "not a gradient step"
    assert number(result, "model", "implied_rate_over_best") == pytest.approx(0.5, rel=1e-5)
    assert number(result, "one step", "distance_of_shape") < 1e-6


def test_scales_of_heads_and_their_order_change_nothing():
    base = ZhangOptimum().make(SKEWED)
    value, key_query = products(base.network.blocks[0].mixer)
    halves = from_products(
        base, np.concatenate([3 * value, -value / 5]), np.concatenate([key_query / 6, -2.5 * key_query])
    )
    first, second = measure(base, SKEWED), measure(halves, SKEWED)
    np.testing.assert_allclose(first.arrays["learned"], second.arrays["learned"], rtol=1e-5)
    assert number(second, "model", "size_of_the_rest") == pytest.approx(0, abs=1e-3)
    assert "average with one step" not in second.table()["predictor"]


def test_the_rest_is_measured_by_size_and_effect():
    base = ZhangOptimum().make(SKEWED)
    value, key_query = products(base.network.blocks[0].mixer)
    leaky = value.copy()
    leaky[0, -1, 0] = value[0, -1, -1]
    learner = from_products(base, leaky, key_query)
    result = measure(learner, SKEWED, 256)
    assert result.answer.startswith("not a gradient step")
    # |PV|^2 has doubled, so the part of a step is half of the squares.
    assert number(result, "model", "size_of_the_rest") == pytest.approx(np.sqrt(0.5))
    assert number(result, "model", "effect_of_the_rest") > 0.1
    same = step_alone(learner)
    np.testing.assert_allclose(np.asarray(same.network.blocks[0].mixer.value), value, rtol=1e-6)
    assert unused(*products(same.network.blocks[0].mixer)) == 0


def test_averages_do_not_depend_on_the_gauge_nor_on_the_sign_that_is_read():
    target = 0.4 * np.eye(3)
    plus, minus = ZhangOptimum().make(SKEWED), GradientDescentWeights(rate=0.7).make(SKEWED)
    for learner, own in ((plus, np.diag(optimum(SKEWED, LAST, ONE))), (minus, 0.7 * np.eye(3))):
        found = averaged(learner, target).network
        value, key_query = (a[0] for a in products(found.blocks[0].mixer))
        mean = np.mean(np.diag(own))
        by_hand = 0.5 * (mean + 0.4) * 0.5 * (own / mean + np.eye(3))
        np.testing.assert_allclose(found.sign * value[-1, -1] * key_query[:-1, :-1], by_hand, rtol=1e-5)


def test_loops_are_compared_with_as_many_steps():
    result = measure(GradientDescentWeights(steps=3, rate=0.4).make(ROUND), ROUND)
    assert set(result.table().where(metric="relative_distance")["predictor"]) == {"3 steps"}
    best = 0.4 / number(result, "model", "implied_rate_over_best")
    data = ROUND.batch(jax.random.key(5), 4096)
    bayes = np.asarray(jax.jit(jax.vmap(ROUND.bayes))(data).mean)[:, -1]

    @jax.jit
    def loss(rate):
        means = jax.vmap(references.get("gradient-descent", steps=3, rate=rate).means)(data)[:, -1]
        return jnp.mean((means - bayes) ** 2)

    assert loss(best) < min(loss(0.8 * best), loss(1.25 * best))


def test_descent_plus_plus_is_not_descent():
    learner = GradientDescentPlusPlus(rates=(0.5,), gammas=(0.05,)).make(ROUND)
    looped = dataclasses.replace(learner, network=dataclasses.replace(learner.network, loops=2))
    result = measure(looped, ROUND)
    assert result.answer.startswith("not a gradient step")
    assert number(result, "model", "effect_of_the_rest") > 0.01


def test_results_survive_the_disk(tmp_path):
    result = measure(ZhangOptimum().make(SKEWED), SKEWED)
    assert len(probes.load(result.save(tmp_path)).plot().axes) == 2 * 5


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (Transformer(depth=1, width=8, heads=2), "has more to it; it works on one attention-only layer"),
        (AttentionOnly(depth=2), "one set of weights, and this has 2"),
        (AttentionOnly(mixer=LinearAttention(bias=True)), "without biases"),
    ],
)
def test_refusals(config, said):
    with pytest.raises(NotAvailable, match=said):
        measure(config.make(ROUND, key=KEY), ROUND)


def test_refusals_of_classes():
    learner = ZhangOptimum().make(ROUND)
    with pytest.raises(NotAvailable, match="moments around 0, not uniform"):
        measure(learner, dataclasses.replace(ROUND, inputs=Uniform(low=0.0, high=1.0)))
    with pytest.raises(NotAvailable, match="not on random-covariance"):
        measure(learner, fc.get("random-covariance", dim=3))
    with pytest.raises(NotAvailable, match="not GradientDescent"):
        measure(references.get("gradient-descent", rate=0.1), ROUND)
