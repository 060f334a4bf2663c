"""Blocks that are computed again for the gradient: the same gradients, less memory, and who cannot."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from icl.config import Config
from icl.models import ModelConfig
from icl.models.stacked import recomputing
from icl.training.engine import Program

TASK = fc.get("linear-regression", dim=3, points=5)
PROMPTS = TASK.batch(jax.random.key(0), 3)
MODELS = {
    "alike": ("transformer", {"depth": 3, "width": 8, "heads": 2}),
    "mixed": ("transformer", {"depth": 3, "width": 8, "heads": 2, "mixers": ("softmax", "gru", "softmax")}),
    "recurrent": ("attention-only", {"depth": 3, "recurrent": True, "init_scale": 1.0}),
    "looped": ("looped", {"loops": 3, "width": 8, "heads": 2, "loss_window": 2}),
    "halting": ("looped", {"loops": 3, "width": 8, "heads": 2, "halting": True}),
}


def objective(learner):
    found = learner.batched(PROMPTS) if learner.in_training is None else learner.in_training(PROMPTS, jnp.int32(0))
    return jnp.mean(jnp.square(found.mean - 1))


def with_remat(learner):
    return dataclasses.replace(learner, network=recomputing(learner.network))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same(name):
    model, fields = MODELS[name]
    learner = ModelConfig.registry.get(model, **fields).make(TASK, key=jax.random.key(1))
    again = with_remat(learner)
    assert "remat" in str(jax.make_jaxpr(lambda m: jax.grad(objective)(m))(again))
    gradient = eqx.filter_jit(eqx.filter_value_and_grad(objective))
    (value, wanted), (other, found) = gradient(learner), gradient(again)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1e-3, float(jnp.max(jnp.abs(b)))))


def test_memory_does_not_grow_with_what_is_inside_of_blocks():
    """Of eight blocks on a batch of 64 prompts, the gradient's temporary memory."""
    prompts = TASK.batch(jax.random.key(0), 64)
    learner = ModelConfig.registry.get("transformer", depth=8, width=16, heads=2).make(TASK, key=jax.random.key(1))

    def bytes_of(learner):
        arrays, rest = eqx.partition(learner, eqx.is_array)
        loss = lambda arrays: jnp.mean(eqx.combine(arrays, rest).batched(prompts).mean ** 2)  # noqa: E731
        return jax.jit(jax.grad(loss)).lower(arrays).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(with_remat(learner)) < 0.5 * bytes_of(learner)


def test_a_run_trains_with_it():
    """Same weights after the same steps, under the same identity."""
    sizes = {"depth": 2, "width": 8, "heads": 2, "steps": 2, "batch": 8, "optimizer": "adam"}
    plain, again = Config.create(TASK, **sizes), Config.create(TASK, **sizes, remat=True)
    assert plain.identity == again.identity

    def trained(config):
        program = Program(config)
        _, data = program.prepare([config], program.data([config]))
        return jax.tree.leaves(program.chunk(program.start(data), 0, 2, data).params)

    for a, b in zip(trained(plain), trained(again), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
