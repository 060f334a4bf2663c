"""What outputs mean: a number, a Gaussian; its log predictive, its loss, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import function_classes as fc
from icl.config import Config
from icl.models import ModelConfig
from icl.training.engine import Program
from tests.harness import Interventions

TASK = fc.get("heteroscedastic-linear", dim=2, points=5)
CHAIN = fc.get("chain-of-thought", dim=2, points=4, layers=2)


@pytest.mark.parametrize("task", [TASK, CHAIN], ids=lambda task: task.name)
def test_a_gaussian_head_states_a_density(task):
    config = ModelConfig.registry.get("transformer", depth=1, width=8, heads=2, head="gaussian")
    config = (
        config
        if task is TASK
        else ModelConfig.registry.get("transformer", depth=1, width=8, heads=2, head="gaussian", layout="interleaved")
    )
    learner, prompts = config.make(task, key=jax.random.key(0)), task.batch(jax.random.key(1), 3)
    one, fast = jax.vmap(learner)(prompts), learner.batched(prompts)
    for name in ("mean", "variance"):
        np.testing.assert_allclose(getattr(one, name), getattr(fast, name), atol=1e-5)
    assert float(jnp.min(one.variance)) > 0
    wanted = norm.logpdf(prompts.ys, one.mean, np.sqrt(one.variance))
    wanted = wanted if task is TASK else wanted.sum(-1)
    np.testing.assert_allclose(jax.vmap(learner.log_predictive)(prompts), wanted, rtol=1e-4)
    assert not any(Interventions(learner, prompts, task.steps).leaks().values())


def test_training_minimizes_its_nats():
    """The first loss is that of the untrained net's Gaussian, and steps lower it; the excess is against Bayes' own."""
    config = Config.create(TASK, depth=1, width=16, heads=2, head="gaussian", steps=30, batch=64, optimizer="adam")
    program = Program(config)
    validation, data = program.prepare([config], program.data([config]))
    state = program.start(data)
    learner = program.learner(jax.tree.map(lambda leaf: leaf[0], state.params))
    prompts = jax.tree.map(lambda leaf: leaf[0], validation.prompts)
    first = program.validate(state.params, validation)
    nats = -float(jnp.mean(jax.vmap(learner.log_predictive)(prompts)))
    np.testing.assert_allclose(first["validation_loss"][0], nats, rtol=1e-4)
    bayes = jax.vmap(TASK.bayes)(prompts)
    floor = -float(np.mean(norm.logpdf(prompts.ys, bayes.mean, np.sqrt(bayes.variance))))
    np.testing.assert_allclose(first["excess"][0], nats - floor, rtol=1e-3)
    state = program.chunk(state, 0, 30, data)
    assert program.validate(state.params, validation)["validation_loss"][0] < first["validation_loss"][0]


def test_symbols_have_no_gaussian():
    with pytest.raises(fc.ConfigError, match="gaussian is a law of numbers, and markov has symbols"):
        Config.create("markov", head="gaussian")
