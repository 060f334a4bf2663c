"""Every function class trains: its default layout and loss fit the default model, made small."""

import jax
import jax.numpy as jnp
import numpy as np

import function_classes as fc
from icl.config import Config
from icl.training.engine import Program
from tests.conftest import rotate


def pytest_generate_tests(metafunc):
    metafunc.parametrize("name", rotate(metafunc.config, fc.names(), size=5))


def test_one_step_is_finite_and_moves_the_weights(name):
    task = fc.get(name, points=9)
    settings = {"depth": 1, "width": 8, "heads": 2, "batch": 2, "validation_prompts": 2}
    config = Config.create(task, steps=2, schedule="constant", **settings)
    program = Program(config)
    data = program.data([config])
    validation, data = program.prepare([config], data)
    state = program.start(data)
    before = jax.tree.map(np.array, state.params)
    state = program.chunk(state, 0, 1, data)
    assert bool(jnp.all(state.alive))
    assert np.isfinite(state.total).all()
    moved = [np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (before, state.params)), strict=True)]
    assert np.mean(moved) > 0.5
    assert all(np.isfinite(values).all() for values in program.validate(state.params, validation).values())
