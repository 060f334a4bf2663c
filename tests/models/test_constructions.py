"""Hand-set weights: equal to explicit loops in float64, to their own algorithm in float32, with the papers' risks."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import ConfigError, Prompt
from function_classes.base import NotAvailable
from icl.config import Config
from icl.models import Learner
from icl.models.attention_only import loop
from icl.models.constructions import Construction, Needs
from icl.models.constructions.products import effective, from_products, products
from icl.programs import predict
from icl.training.engine import Program
from tests.harness import Interventions

TASK = fc.get("linear-regression", dim=4, points=9, noise_std=0.3)
TASKS, D, N = 1000, 4, 8
FIELDS = {
    "gradient-descent": {"steps": 3, "rate": 0.4},
    "gradient-descent-plus-plus": {"rates": (0.5, 0.7, 0.4), "gammas": (0.02, 0.04, 0.01)},
    "zhang-optimum": {},
    "sherman-morrison": {"penalty": 0.25},
    "finite-pool": {"size": 5, "seed": 3, "noise_std": 1.5},
    "nearest-neighbor": {"scale": 30.0},
    "explicit-moment": {"rate": 0.7},
    "copy-then-step": {"rate": 0.7},
}
NEEDS = {
    "gradient-descent": Needs(3, 1, 5),
    "gradient-descent-plus-plus": Needs(3, 1, 5),
    "zhang-optimum": Needs(1, 1, 5),
    "sherman-morrison": Needs(16, 1, 30),
    "finite-pool": Needs(8, 5, 50),
    "nearest-neighbor": Needs(2, 1, 7),
    "explicit-moment": Needs(2, 1, 14),
    "copy-then-step": Needs(2, 1, 15),
}


def prompts64() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(TASKS, N + 1, D))
    return xs, np.einsum("bpd,bd->bp", xs, rng.normal(size=(TASKS, D))) + 0.3 * rng.normal(size=(TASKS, N + 1))


def in_float64(construction: Construction, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Predictions for the last input of every prompt by the network itself, which has no single-precision parts."""
    with jax.enable_x64(True):
        learner = construction.make(TASK)
        tokens = np.concatenate([xs, ys[..., None]], -1)
        tokens[:, -1, -1] = 0.0
        visible = learner.layout.visible(N + 1, learner.signature)

        @eqx.filter_jit
        def run(network, tokens):
            return jax.vmap(lambda one: network(one, np.arange(N + 1), visible, (N,))[0, 0])(tokens)

        found = run(learner.network, jnp.asarray(tokens))
        assert found.dtype == jnp.float64
        return np.asarray(found)


def descent(xs, ys, rates, gammas, size):
    """GD++ as the paper states it: every step on the data that the step before has transformed, in float64."""
    found = []
    for x, y in zip(xs, ys, strict=True):
        context, residual, query, total = x[:-1].copy(), y[:-1].copy(), x[-1].copy(), 0.0
        for rate, gamma in zip(rates, gammas, strict=True):
            gradient = context.T @ residual
            second = context.T @ context
            total += rate / size * query @ gradient
            residual = residual - rate / size * context @ gradient
            context, query = context - gamma * context @ second, query - gamma * second @ query
        found.append(total)
    return np.array(found)


def weights_after(xs, ys, rate, steps):
    """w <- w - rate d/dw sum (w'x - y)^2 / 2N."""
    found = []
    for x, y in zip(xs, ys, strict=True):
        w = np.zeros(D)
        for _ in range(steps):
            w = w - rate * x[:-1].T @ (x[:-1] @ w - y[:-1]) / len(x[:-1])
        found.append(w @ x[-1])
    return np.array(found)


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_loops_are_steps_of_gradient_descent(steps):
    xs, ys = prompts64()
    found = in_float64(Construction.registry.get("gradient-descent", steps=steps, rate=0.7), xs, ys)
    assert relative(found, weights_after(xs, ys, 0.7, steps)) < 1e-10
    assert relative(found, weights_after(xs, ys, 0.7, steps + 1)) > 1e-3


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
def test_layers_are_steps_of_gradient_descent_plus_plus(layers):
    xs, ys = prompts64()
    rates, gammas = (0.5, 0.7, 0.4, 0.6, 0.3)[:layers], (0.02, 0.04, 0.01, 0.03, 0.02)[:layers]
    made = Construction.registry.get("gradient-descent-plus-plus", rates=rates, gammas=gammas)
    assert relative(in_float64(made, xs, ys), descent(xs, ys, rates, gammas, N)) < 1e-10


def test_without_gamma_it_is_gradient_descent():
    xs, ys = prompts64()
    assert relative(descent(xs, ys, (0.7,) * 3, (0.0,) * 3, N), weights_after(xs, ys, 0.7, 3)) < 1e-12


def test_a_query_among_its_own_keys_is_harmless_once_and_wrong_from_the_second_step():
    """Its y slot is 0 before the first step and -w'x after it."""
    prompts = TASK.batch(jax.random.key(0), 50)
    run = eqx.filter_jit(lambda predictor: jax.vmap(lambda p: predictor(p).mean)(prompts))
    for steps, same in [(1, True), (2, False)]:
        made = Construction.registry.get("gradient-descent", steps=steps, rate=0.4)
        learner = made.make(TASK)
        seeing = dataclasses.replace(learner, layout=dataclasses.replace(learner.layout, sees_itself=True))
        assert (relative(np.asarray(run(seeing)), np.asarray(run(made.algorithm(TASK)))) < 1e-5) == same


def off_the_nearest(made: Construction, prompts: Prompt) -> np.ndarray:
    """(k - 1) exp(-scale gap) times the largest difference of labels, in float64; 1 % for rounded distances."""
    xs, ys, bound = np.asarray(prompts.xs, float), np.asarray(prompts.ys, float), np.zeros(prompts.ys.shape)
    for k in range(2, xs.shape[1]):
        squares = np.sum((xs[:, :k] - xs[:, k : k + 1]) ** 2, -1)
        near, next_ = np.partition(squares, 1)[:, :2].T
        bound[:, k] = (k - 1) * np.exp(-made.scale * (next_ - near)) * np.ptp(ys[:, :k], axis=1)
    return 1.01 * bound


LIMITS = {"nearest-neighbor": off_the_nearest}


@pytest.mark.parametrize("name", Construction.registry.names())
def test_the_learner_equals_its_algorithm_at_every_position(name):
    made = Construction.registry.get(name, **FIELDS.get(name, {}))
    task = made.example()
    prompts = task.batch(jax.random.key(1), 200)
    learner, algorithm = made.make(task), made.algorithm(task)
    found, wanted = (np.asarray(predict(f, prompts).as_mean(task.y_space)) for f in (learner, algorithm))
    if name in LIMITS:
        assert np.all(np.abs(found - wanted) <= LIMITS[name](made, prompts) + 1e-5)
    else:
        assert relative(found, wanted) < (1e-5 if made.kind == "exact" else 1e-2)
    if name in NEEDS:
        np.testing.assert_array_equal(found[:, 0] == 0, wanted[:, 0] == 0)
        assert made.needs(task) == NEEDS[name]
    for predictor in (learner, algorithm):
        leaves = lambda p, f=predictor: jax.tree.leaves(f(p))  # noqa: E731
        assert not any(Interventions(leaves, jax.tree.map(lambda a: a[:2], prompts)).leaks().values())


def test_more_loops_are_more_steps():
    prompt = TASK.sample(jax.random.key(2))
    learner = loop(Construction.registry.get("gradient-descent", rate=0.4).make(TASK), 6)
    algorithm = Construction.registry.get("gradient-descent", steps=6, rate=0.4).algorithm(TASK)
    found, wanted = (np.asarray(eqx.filter_jit(predictor)(prompt).mean) for predictor in (learner, algorithm))
    assert relative(found, wanted) < 1e-5


@eqx.filter_jit
def squared_error(learner: Learner, prompts: Prompt) -> jax.Array:
    return jnp.mean((learner.batched(prompts).mean[:, -1] - prompts.ys[:, -1]) ** 2)


def risks(trained: fc.FunctionClass, tested: fc.FunctionClass, *constructions: Construction) -> list[float]:
    """Mean squared error of the last position on the same prompts, which may be longer or shorter than those the
    weights were made for."""
    made = [construction.make(trained) for construction in constructions]
    draw = jax.jit(lambda key: tested.batch(key, 10_000))
    parts = [draw(key) for key in jax.random.split(jax.random.key(3), 10)]
    return [float(np.mean([squared_error(learner, part) for part in parts])) for learner in made]


@pytest.mark.parametrize(("shown", "wanted"), [(20, 0.84577), (10, 1.4638)])
def test_risk_at_the_optimum_of_zhang(shown, wanted):
    """Formula of the paper at Lambda = diag(2, 1, .5, .25, .25), N = 20 training examples, M shown."""
    law = {"name": "diagonal", "eigenvalues": (2.0, 1.0, 0.5, 0.25, 0.25)}
    trained, tested = (fc.get("linear-regression", dim=5, points=p + 1, noise_std=0, inputs=law) for p in (20, shown))
    # Lambda^-1 in place of Gamma^-1, the limit of long training prompts, has visibly more.
    made = [Construction.registry.get("zhang-optimum", examples=examples) for examples in (None, 10**6)]
    found, limit = risks(trained, tested, *made)
    assert found == pytest.approx(wanted, rel=0.03)
    assert limit > 1.1 * wanted


def test_balance_of_the_optimum():
    """u^2 = |U|_F^2, which gradient flow conserves, and u U = Gamma^-1."""
    made = Construction.registry.get("zhang-optimum")
    mixer = made.make(TASK).network.blocks[0].mixer
    block, u = mixer.key_query[0, :4, :4], float(mixer.value[0, 4, 4])
    assert u**2 == pytest.approx(float(jnp.sum(block**2)), rel=1e-5)
    np.testing.assert_allclose(u * jnp.diag(block), 1 / made.gamma(TASK), rtol=1e-5)
    # Best rate of one step with label noise s on isotropic inputs: N / (N + dim + 1 + s^2).
    np.testing.assert_allclose(1 / made.gamma(TASK), 8 / (8 + 4 + 1 + 0.09), rtol=1e-6)


def test_risk_of_the_best_single_step():
    """dim = N = 10, x ~ U(-.5, .5): best rate N / (s2 (N + dim - 2 + 1.8)) = 6.0606 with s2 = 1/12, half the mean
    squared error .20623; rates 15 % away are worse."""
    law = {"name": "uniform", "low": -0.5, "high": 0.5}
    task = fc.get("linear-regression", dim=10, points=11, noise_std=0, inputs=law)
    made = [Construction.registry.get("gradient-descent", rate=rate) for rate in (6.0606, 5.15, 6.97)]
    best, *others = (found / 2 for found in risks(task, task, *made))
    assert best == pytest.approx(0.2062, abs=0.003)
    assert min(others) > best + 0.001


def test_products_are_the_function_of_a_layer():
    """Those of one step are diag(0, -rate) and diag(I, 0); merged matrices with the products of random factors are the
    same layer; what is effective at Zhang's optimum is 1 / Gamma."""
    step = Construction.registry.get("gradient-descent", rate=0.7).make(TASK)
    value, key_query = products(step.network.blocks[0].mixer)
    np.testing.assert_allclose(value[0], np.diag([0, 0, 0, 0, -0.7]), atol=1e-7)
    np.testing.assert_allclose(key_query[0], np.diag([1, 1, 1, 1, 0]), atol=1e-7)
    config = Config.create(TASK, model="attention-only", heads=2, **{"model.mixer": {"name": "linear", "key_size": 3}})
    random = config.model.make(TASK, key=jax.random.key(1))
    random = jax.tree.map(lambda a: 10 * a if eqx.is_inexact_array(a) else a, random)
    merged = from_products(random, *products(random.network.blocks[0].mixer))
    prompts = TASK.batch(jax.random.key(2), 16)
    np.testing.assert_allclose(merged.batched(prompts).mean, random.batched(prompts).mean, rtol=1e-4, atol=1e-5)
    assert np.ptp(random.batched(prompts).mean) > 0.1
    optimum = Construction.registry.get("zhang-optimum")
    np.testing.assert_allclose(effective(optimum.make(TASK)), np.diag(1 / optimum.gamma(TASK)), rtol=1e-6, atol=1e-7)
    softmax = Config.create(TASK, model="attention-only", **{"model.mixer": "softmax"})
    with pytest.raises(NotAvailable, match="needs linear attention"):
        products(softmax.model.make(TASK, key=jax.random.key(3)).network.blocks[0].mixer)


def test_refusals():
    with pytest.raises(NotAvailable, match="stream"):
        Construction.registry.get("gradient-descent").make(fc.get("markov"))
    with pytest.raises(NotAvailable, match="inputs gaussian or diagonal"):
        Construction.registry.get("zhang-optimum").make(fc.get("linear-regression", inputs="uniform"))
    with pytest.raises(NotAvailable, match="2 eigenvalues"):
        Construction.registry.get("zhang-optimum", eigenvalues=(1.0, 2.0)).make(TASK)
    with pytest.raises(ConfigError, match="as many as rates"):
        Construction.registry.get("gradient-descent-plus-plus", rates=(0.1,))
    with pytest.raises(ValueError, match="recurrent"):
        loop(Construction.registry.get("gradient-descent-plus-plus").make(TASK), 3)


def test_training_from_the_balanced_start_finds_the_optimum():
    """Gradient flow on one merged layer converges to u U = Gamma^-1 (Theorem 4.1); Lambda^-1 is 30 % away here."""
    law = {"name": "diagonal", "eigenvalues": (1.5, 0.5)}
    fields = {"model": "attention-only", "model.mixer": "merged-linear", "model.layout.sees_itself": True}
    fields |= {"task.inputs": law, "optimizer": "adam", "learning_rate": 0.01, "validation_prompts": 8}
    config = Config.create("linear-regression", dim=2, points=11, noise_std=0, steps=1000, batch=256, **fields)
    program = Program(config)
    data = program.data([config])
    _, data = program.prepare([config], data)
    state = program.chunk(program.start(data), 0, 1000, data)
    mixer = program.learner(jax.tree.map(lambda a: a[0], state.params)).network.blocks[0].mixer
    product = np.asarray(mixer.value[0, 2, 2] * mixer.key_query[0, :2, :2])
    optimum = np.diag(1 / Construction.registry.get("zhang-optimum").gamma(config.task))
    assert np.linalg.norm(product - optimum) < 0.05 * np.linalg.norm(optimum)
    assert np.linalg.norm(optimum - np.diag([1 / 1.5, 1 / 0.5])) > 0.3 * np.linalg.norm(optimum)
