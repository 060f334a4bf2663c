"""Optimizers, schedules and the curriculum against what their papers define."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from icl.config import Config
from icl.training.curriculum import Curriculum
from icl.training.optimizers import Optimizer
from icl.training.schedules import Schedule

PARAMS = {"blocks": [{"weight": jnp.ones((6, 4)), "bias": jnp.ones(4)}], "head": {"weight": jnp.ones((4, 1))}}


def gradient(seed: int = 0):
    keys = iter(jax.random.split(jax.random.key(seed), 3))
    return jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape), PARAMS)


@pytest.mark.parametrize("name", Optimizer.registry.names())
def test_directions_descend(name):
    """Minimizing |p|^2 / 2 from ones: small steps along -direction shrink it."""
    transform = Optimizer.registry.get(name).transform()
    params, state = PARAMS, transform.init(PARAMS)
    for _ in range(50):
        direction, state = transform.update(params, state, params)
        params = jax.tree.map(lambda p, d: p - 0.01 * d, params, direction)
    norm = sum(float(jnp.sum(p**2)) for p in jax.tree.leaves(params))
    assert norm < 0.8 * sum(p.size for p in jax.tree.leaves(PARAMS))


def test_muon_orthogonalizes_block_matrices_and_leaves_the_rest_to_adam():
    muon, adam = (Optimizer.registry.get(n).transform() for n in ("muon", "adam"))
    g = gradient()
    direction, _ = muon.update(g, muon.init(PARAMS), PARAMS)
    reference, _ = adam.update(g, adam.init(PARAMS), PARAMS)
    singular = np.linalg.svd(np.asarray(direction["blocks"][0]["weight"]) / (0.2 * np.sqrt(6)), compute_uv=False)
    assert np.all((singular > 0.5) & (singular < 1.5))
    np.testing.assert_array_equal(direction["head"]["weight"], reference["head"]["weight"])
    np.testing.assert_array_equal(direction["blocks"][0]["bias"], reference["blocks"][0]["bias"])


def test_muon_treats_stacked_and_separate_matrices_alike():
    transform = Optimizer.registry.get("muon").transform()
    a, b = (gradient(s)["blocks"][0]["weight"] for s in (1, 2))
    stacked = {"blocks": {"weight": jnp.stack([a, b])}}
    together, _ = transform.update(stacked, transform.init(stacked), stacked)
    for index, one in enumerate((a, b)):
        alone = {"blocks": {"weight": one}}
        direction, _ = transform.update(alone, transform.init(alone), alone)
        np.testing.assert_allclose(together["blocks"]["weight"][index], direction["blocks"]["weight"], atol=1e-5)


def test_adamw_decays_matrices_only():
    transform = Optimizer.registry.get("adamw", weight_decay=0.5).transform()
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    direction, _ = transform.update(zero, transform.init(PARAMS), PARAMS)
    np.testing.assert_allclose(direction["head"]["weight"], 0.5)
    np.testing.assert_allclose(direction["blocks"][0]["bias"], 0.0)
    # Time scales of a recurrence are an array, too, and no matrix.
    rates = {"blocks": [{"log_rate": jnp.ones((3, 4))}]}
    direction, _ = transform.update(jax.tree.map(jnp.zeros_like, rates), transform.init(rates), rates)
    np.testing.assert_allclose(direction["blocks"][0]["log_rate"], 0.0)


@pytest.mark.parametrize("name", Schedule.registry.names())
def test_schedules_stay_between_zero_and_one_and_share_their_prefix(name):
    schedule = Schedule.registry.get(name)
    steps = 400
    factor = jax.jit(jax.vmap(schedule.factor, (0, None)))
    short = np.asarray(factor(jnp.arange(steps), jnp.int32(steps)))
    long = np.asarray(factor(jnp.arange(steps), jnp.int32(3 * steps)))
    assert np.all((short >= 0) & (short <= 1))
    assert short.max() > 0.99
    shared = schedule.prefix(steps)
    np.testing.assert_array_equal(short[:shared], long[:shared])
    if shared < steps:
        assert short[min(shared + 2, steps - 1)] != long[min(shared + 2, steps - 1)]


def test_curriculum_of_garg_2022_ends_at_step_30000():
    config = Config.create(preset="garg-2022")
    curriculum, task = config.training.curriculum, config.task
    assert (curriculum.dims(0, 20), curriculum.points(0, 41)) == (5, 11)
    assert (curriculum.dims(29_999, 20), curriculum.points(29_999, 41)) == (19, 39)
    assert (curriculum.dims(30_000, 20), curriculum.points(30_000, 41)) == (20, 41)
    assert (curriculum.dims(10**6, 20), curriculum.points(10**6, 41)) == (task.dim, task.points)


def test_truncated_inputs_are_zero_and_outputs_follow_them():
    task = fc.get("linear-regression", dim=6, points=5, noise_std=0.0)
    curriculum = Curriculum(dims_start=2, dims_every=10, points_start=3, points_every=10, points_by=1)
    prompts = jax.vmap(lambda i: curriculum.task(task, jnp.int32(25)).sample(jax.random.key(i)))(jnp.arange(4))
    assert np.all(np.asarray(prompts.xs)[..., 4:] == 0)
    assert np.all(np.asarray(prompts.xs)[..., :4] != 0)
    np.testing.assert_allclose(prompts.ys, np.einsum("bpd,bd->bp", prompts.xs, prompts.latent), atol=1e-5)
    weights = np.asarray(curriculum.weights(prompts, jnp.int32(15)))
    np.testing.assert_array_equal(weights, np.broadcast_to([1, 1, 1, 1, 0], (4, 5)))


def test_muon_scales_by_the_larger_side():
    """.2 sqrt(max(rows, columns)), tall or wide: the size of Adam's updates."""
    transform = Optimizer.registry.get("muon").transform()
    for shape in ((64, 4), (4, 64)):
        params = {"blocks": [{"weight": jax.random.normal(jax.random.key(0), shape)}]}
        direction, _ = transform.update(params, transform.init(params), params)
        singular = np.linalg.svd(np.asarray(direction["blocks"][0]["weight"]), compute_uv=False)
        # Newton-Schulz steps bring singular values near 1, not to it; the smaller side would be a factor 4 below.
        assert np.all((singular > 0.5 * 1.6) & (singular < 1.5 * 1.6))


def test_cosine_reaches_its_peak_when_warmup_ends_and_falls_from_there():
    steps, warmup = 400, 80
    factor = jax.jit(jax.vmap(Schedule.registry.get("cosine", warmup=warmup / steps).factor, (0, None)))
    found = np.asarray(factor(jnp.arange(steps), jnp.int32(steps)), float)
    done = np.arange(steps)
    rise = (done + 1) / (warmup + 1)
    fall = 0.5 * (1 + np.cos(np.pi * np.clip((done - warmup) / (steps - warmup), 0, 1)))
    np.testing.assert_allclose(found, np.minimum(rise, fall), atol=1e-6)
    assert found.argmax() == warmup
    assert found[warmup] == 1


def test_other_schedules_at_every_step():
    """As their docstrings say, in float64."""
    steps, done = 100, np.arange(100)
    wanted = {
        "constant": np.ones(100),
        "warmup-stable-decay": np.minimum(1, np.minimum((done + 1) / 8, (steps - done) / 70)),
        "triangle": np.minimum((done + 1) / steps / 0.5, (1 - done / steps) / 0.5),
    }
    fields = {"warmup-stable-decay": {"warmup": 7}}
    for name, values in wanted.items():
        factor = jax.jit(jax.vmap(Schedule.registry.get(name, **fields.get(name, {})).factor, (0, None)))
        np.testing.assert_allclose(factor(jnp.arange(steps), jnp.int32(steps)), values, rtol=1e-5, err_msg=name)
