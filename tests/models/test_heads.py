"""What outputs mean: a number, a Gaussian, bars; log predictives, losses, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import halfnorm, norm

import function_classes as fc
from icl.config import Config
from icl.models import ModelConfig
from icl.models.heads import BarHead, BarPrediction, HeadConfig
from icl.training.engine import Program
from tests.harness import Interventions

TASK = fc.get("heteroscedastic-linear", dim=2, points=5)
CHAIN = fc.get("chain-of-thought", dim=2, points=4, layers=2)


BARS = {"name": "bars", "count": 12}


def bar_density(learner, outputs, ys):
    """Log density of bars in float64, from the outputs (..., N): mass over width, half-normal tails."""
    edges = np.asarray(learner.head.borders, float)
    logs = outputs - np.log(np.sum(np.exp(outputs), -1, keepdims=True))
    found = np.empty(ys.shape)
    for index, y in np.ndenumerate(ys):
        bar = int(np.sum(y >= edges[1:-1]))
        width = edges[bar + 1] - edges[bar]
        if bar == 0:
            within = halfnorm.logpdf(edges[1] - y, scale=width / norm.ppf(0.75))
        elif bar == len(edges) - 2:
            within = halfnorm.logpdf(y - edges[-2], scale=width / norm.ppf(0.75))
        else:
            within = -np.log(width)
        found[index] = logs[index][bar] + within
    return found


@pytest.mark.parametrize("head", ["gaussian", BARS], ids=["gaussian", "bars"])
@pytest.mark.parametrize("task", [TASK, CHAIN], ids=lambda task: task.name)
def test_a_head_states_a_density(task, head):
    layout = "paired" if task is TASK else "interleaved"
    config = ModelConfig.registry.get("transformer", depth=1, width=8, heads=2, head=head, layout=layout)
    learner, prompts = config.make(task, key=jax.random.key(0)), task.batch(jax.random.key(1), 3)
    one, fast = jax.vmap(learner)(prompts), learner.batched(prompts)
    for name in ("mean", "variance"):
        np.testing.assert_allclose(getattr(one, name), getattr(fast, name), atol=1e-5)
    assert float(jnp.min(one.variance)) > 0
    if head == "gaussian":
        wanted = norm.logpdf(prompts.ys, one.mean, np.sqrt(one.variance))
    else:
        wanted = bar_density(learner, np.asarray(one.log_masses, float), np.asarray(prompts.ys, float))
    wanted = wanted if task is TASK else wanted.sum(-1)
    np.testing.assert_allclose(jax.vmap(learner.log_predictive)(prompts), wanted, rtol=1e-4, atol=1e-4)
    assert not any(Interventions(learner, prompts, task.steps).leaks().values())


def test_bars_are_one_law():
    """Density, mean and variance belong together, also for outputs that no draw reached; every bar is equally likely
    before anything is seen."""
    head = HeadConfig.registry.get("bars", count=12).make(TASK)
    edges = np.asarray(head.borders, float)
    prior = np.asarray(TASK.batch(jax.random.key(5), 2000).ys).reshape(-1)
    shares = np.bincount(np.searchsorted(edges[1:-1], prior), minlength=12) / prior.size
    np.testing.assert_allclose(shares, 1 / 12, atol=0.02)
    far = 40 * (edges[-1] - edges[0])
    grid = np.sort(np.concatenate([edges + 1e-6, edges - 1e-6, np.linspace(edges[0] - far, edges[-1] + far, 200_001)]))
    logits = jax.random.normal(jax.random.key(2), (1, 12))
    found = head.read(logits, TASK.y_space, (1,))
    repeated = jax.tree.map(lambda a: jnp.broadcast_to(a, (grid.size, *a.shape[1:])), found)
    density = np.exp(np.asarray(repeated.log_density(jnp.asarray(grid, jnp.float32)), float))
    assert abs(np.trapezoid(density, grid) - 1) < 1e-3
    mean = np.trapezoid(grid * density, grid)
    np.testing.assert_allclose(found.mean[0], mean, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(found.variance[0], np.trapezoid((grid - mean) ** 2 * density, grid), rtol=1e-2)


@pytest.mark.parametrize(("width", "nats"), [(1.0, 0.0400), (0.5, 0.0103), (0.25, 0.0026)])
def test_what_bars_cost_a_gaussian(width, nats):
    """[calc] the masses of N(0, 1) on bars of one width cost (width^2 / 24) nats more than its density."""
    edges = np.arange(-8, 8 + width / 2, width)
    masses = np.diff(norm.cdf(edges))
    ys = np.linspace(-7, 7, 28_001)
    logs, borders = (np.broadcast_to(a, (ys.size, a.size)) for a in (np.log(masses), edges))
    stated = BarPrediction(log_masses=jnp.float32(logs), edges=jnp.float32(borders)).log_density(jnp.float32(ys))
    excess = np.trapezoid(norm.pdf(ys) * (norm.logpdf(ys) - np.asarray(stated, float)), ys)
    assert excess == pytest.approx(nats, abs=1e-4)


def test_borders_are_not_trained():
    config = Config.create(TASK, depth=1, width=8, heads=2, head=BARS, steps=3, batch=8, optimizer="adamw")
    program = Program(config)
    _, data = program.prepare([config], program.data([config]))
    state = program.start(data)
    before = np.asarray(state.params.head.borders)
    state = program.chunk(state, 0, 3, data)
    np.testing.assert_array_equal(before, state.params.head.borders)
    assert np.all(np.diff(before[0]) > 0)


@pytest.mark.parametrize("head", ["gaussian", BARS], ids=["gaussian", "bars"])
def test_training_minimizes_its_nats(head):
    """The first loss is that of the untrained net's density, and steps lower it; the excess is against Bayes' own."""
    config = Config.create(TASK, depth=1, width=16, heads=2, head=head, steps=30, batch=64, optimizer="adam")
    program = Program(config)
    validation, data = program.prepare([config], program.data([config]))
    state = program.start(data)
    learner = program.learner(jax.tree.map(lambda leaf: leaf[0], state.params))
    prompts = jax.tree.map(lambda leaf: leaf[0], validation.prompts)
    first = program.validate(state.params, validation)
    nats = -float(jnp.mean(jax.vmap(learner.log_predictive)(prompts)))
    np.testing.assert_allclose(first["validation_loss"][0], nats, rtol=1e-4)
    floor = -float(jnp.mean(jax.vmap(TASK.log_predictive)(prompts)))
    np.testing.assert_allclose(first["excess"][0], nats - floor, rtol=1e-3)
    state = program.chunk(state, 0, 30, data)
    assert program.validate(state.params, validation)["validation_loss"][0] < first["validation_loss"][0]


def test_symbols_have_no_gaussian():
    with pytest.raises(fc.ConfigError, match="gaussian is a law of numbers, and markov has symbols"):
        Config.create("markov", head="gaussian")


def test_each_tail_has_the_spread_of_its_own_bar():
    """Half of a tail's mass lies within its bar, for bars of very different widths."""
    edges = jnp.array([-1.0, 0.0, 1.0, 9.0])
    head = BarHead(edges)
    for bar, (inner, border) in {0: (0.0, -1.0), 2: (1.0, 9.0)}.items():
        logits = jnp.full((1, 3), -40.0).at[0, bar].set(0.0)
        found = head.read(logits, TASK.y_space, (1,))
        grid = np.linspace(inner, border, 4001)
        repeated = jax.tree.map(lambda a: jnp.broadcast_to(a, (4001, *a.shape[1:])), found)
        density = np.exp(np.asarray(repeated.log_density(jnp.asarray(grid, jnp.float32)), float))
        assert abs(np.trapezoid(density[1:], grid[1:])) == pytest.approx(0.5, abs=2e-3)
