"""The compiled engine: no history but the state, no batch size in the randomness, one trace."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl import prng
from icl.config import Config
from icl.training.engine import Program, program_key
from icl.training.gradients import batch

# Plain gradient steps: biases of the keys have gradient zero but for rounding, which Adam would blow up to its rate.
TINY = {"depth": 1, "width": 8, "heads": 2, "dim": 2, "points": 4, "batch": 8, "steps": 12, "validation_prompts": 8}
TINY |= {"optimizer": "sgd"}


def tiny(**settings) -> Config:
    return Config.create("linear-regression", **{**TINY, **settings})


def bits(tree) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def run(program: Program, configs: list[Config], *stops: int):
    data = program.data(configs)
    _, data = program.prepare(configs, data)
    state, start = program.start(data), 0
    for stop in stops:
        state, start = program.chunk(state, start, stop, data), stop
    return state


@pytest.fixture(scope="module")
def program() -> Program:
    return Program(tiny())


def test_however_steps_are_split_the_bits_are_the_same(program):
    whole = bits(run(program, [tiny()], 9))
    assert bits(run(program, [tiny()], 1, 2, 7, 9)) == whole
    assert bits(run(program, [tiny()], 8)) != whole
    assert program.traces == 1


def test_seeds_and_rates_are_data(program):
    a = run(program, [tiny()], 5)
    b = run(program, [tiny(seed=1)], 5)
    c = run(program, [tiny(learning_rate=1e-4)], 5)
    assert len({str(bits(s.params)) for s in (a, b, c)}) == 3
    assert program.traces == 1
    assert program_key(tiny(seed=4, noise_std=0.25, learning_rate=0.5)) == program_key(tiny())
    assert program_key(tiny(depth=2)) != program_key(tiny())
    assert program_key(tiny(clip=1.0)) != program_key(tiny())


def test_members_of_an_ensemble_are_the_runs_alone(program):
    configs = [tiny(seed=s, learning_rate=r) for s, r in [(0, 1e-3), (5, 3e-3), (9, 1e-2)]]
    for packing in ("map", "vmap"):
        together = run(Program(tiny(), packing), configs, 6)
        for index, config in enumerate(configs):
            alone = run(program, [config], 6)
            for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
                np.testing.assert_allclose(a[index], b[0], atol=1e-6)


def test_a_prompt_depends_on_its_index_not_on_the_batch():
    task, seed, step = tiny().task, jnp.uint32(3), jnp.int32(7)
    few = batch(task, seed, step, 0, 2)
    many = batch(task, seed, step, 0, 6)
    late = batch(task, seed, step, 4, 2)
    np.testing.assert_array_equal(few.xs, many.xs[:2])
    np.testing.assert_array_equal(late.ys, many.ys[4:])


def test_accumulation_computes_the_same_gradient(program):
    one = run(program, [tiny()], 3)
    parts = run(Program(tiny(accumulate=4)), [tiny(accumulate=4)], 3)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(parts.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_two_devices_share_a_batch():
    program = Program(tiny())
    assert jax.device_count() == 2
    text = program._chunk.lower(
        *jax.eval_shape(lambda: (program.start(program.data([tiny()])),)), 0, 1, program.data([tiny()])
    ).as_text()
    assert "sharding" in text


def test_two_devices_share_the_members():
    """Three members on two devices: two each, the last one twice."""
    configs = [tiny(seed=seed) for seed in range(3)]
    program = Program(tiny())
    data = program.data(configs)
    text = program._chunk.lower(program.start(data), 0, 1, data).as_text()
    assert "manual_computation" in text or "shard_map" in text
    assert "tensor<2x" in text


def test_divergence_freezes_one_member_with_finite_weights(program):
    configs = [tiny(), tiny(learning_rate=1e6)]
    state = run(Program(tiny()), configs, 12)
    assert np.asarray(state.alive).tolist() == [True, False]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.tree.map(np.asarray, state.params)))
    assert int(state.step[1]) < int(state.step[0]) == 12
    assert 0 <= int(state.culprit[1]) < len(program.paths)
    healthy = run(program, [tiny()], 12)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(healthy.params), strict=True):
        np.testing.assert_allclose(a[0], b[0], atol=1e-6)


def test_clipping_bounds_the_update():
    config = tiny(clip=1e-3, learning_rate=1.0, **{"training.optimizer.momentum": 0.0})
    config = config.change(schedule="constant")
    program = Program(config)
    before = run(program, [config])
    weights = jax.tree.map(np.array, before.params)
    after = run(program, [config], 1)
    moved = sum(
        float(jnp.sum((a - b) ** 2)) for a, b in zip(*map(jax.tree.leaves, (after.params, weights)), strict=True)
    )
    assert moved**0.5 == pytest.approx(1e-3, rel=1e-3)


def test_streams_share_no_prompt():
    words = [np.asarray(jax.random.key_data(prng.stream(0, name))).tobytes() for name in prng.STREAMS]
    assert len(set(words)) == len(words)


def test_golden_first_words_of_every_stream():
    """Published runs stop being reproducible where these change. If JAX changed its generator, raise the versions of
    everything that draws, and say so in the changelog; never just replace the numbers."""
    found = {name: jax.random.bits(prng.stream(7, name), (2,)).tolist() for name in prng.STREAMS}
    assert found == GOLDEN


GOLDEN = {
    "bars": [3161560862, 1894029788],
    "weights": [3725328165, 2389352394],
    "training": [2899676959, 3548400998],
    "validation": [884754664, 1109997517],
    "evaluation": [993572756, 1359526531],
    "calibration": [1281840583, 145919325],
    "identification": [3172864493, 2106869916],
    "probes": [3686217815, 3685124359],
    "bootstrap": [2370880751, 2349815273],
    "teacher": [2434936065, 544206266],
}


def test_one_query_is_trained_and_validated_where_it_is():
    config = tiny(**{"model.layout": {"name": "joint", "query": "last"}, "training.optimizer.momentum": 0.0})
    program = Program(config)
    data = program.data([config])
    validation, data = program.prepare([config], data)
    state = program.start(data)
    learner = program.learner(jax.tree.map(lambda a: a[0], state.params))
    prompts = jax.tree.map(lambda a: a[0], validation.prompts)
    loss = jnp.mean((jax.vmap(lambda p: learner(p).mean)(prompts.hide())[:, -1] - prompts.ys[:, -1]) ** 2)
    bayes = jnp.mean(validation.floor[0, :, -1])
    found = program.validate(state.params, validation)
    np.testing.assert_allclose(found["validation_loss"][0], loss, rtol=1e-5)
    np.testing.assert_allclose(found["excess"][0], loss - bayes, rtol=1e-4)
    trained = batch(config.task, jnp.uint32(0), jnp.int32(0), 0, 8)
    expected = jnp.mean((learner.batched(trained).mean[:, -1] - trained.ys[:, -1]) ** 2)
    np.testing.assert_allclose(program.chunk(state, 0, 1, data).total[0], expected, rtol=1e-5)


def test_training_learns():
    config = tiny(steps=200, batch=64, dim=1, points=6, noise_std=0.1, learning_rate=5e-3, optimizer="muon")
    program = Program(config)
    data = program.data([config])
    validation, data = program.prepare([config], data)
    state = program.start(data)
    before = program.validate(state.params, validation)["excess"][0]
    after = program.validate(program.chunk(state, 0, 200, data).params, validation)["excess"][0]
    assert after < 0.5 * before


def test_skeleton_costs_no_compilation():
    """Loading builds shapes only: a model of many gigabytes has a skeleton at once."""
    config = Config.create("linear-regression", depth=4, width=16384, heads=4)
    program = Program(config)
    assert program.parameters > 10**10
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(program.outline.params))
    assert eqx.is_array(jnp.ones(1))
