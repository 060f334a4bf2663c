"""Looped transformers: the window's gradient, the number of loops, their sizes, and what is refused."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from icl import taps
from icl.models import ModelConfig
from icl.models.looped import LoopedNetwork, loop
from icl.scoring import loss as loss_of

TASK = fc.get("linear-regression", dim=3, points=4)
PROMPTS = TASK.batch(jax.random.key(0), 3)
SIZES = {"width": 8, "heads": 2}


def made(name="looped", **fields):
    return ModelConfig.registry.get(name, **SIZES, **fields).make(TASK, key=jax.random.key(1))


def training_loss(learner, step=0):
    predictions = learner.in_training(PROMPTS, jnp.asarray(step, jnp.int32))
    each = jax.vmap(jax.vmap(lambda p, prompt: loss_of(p, prompt, TASK.y_space, 1), (0, 0)), (0, None))
    return jnp.mean(each(predictions, PROMPTS))


def written_out(learner, loops, window):
    """The mean loss of the last loops, one after the other; the state that enters them is a constant."""
    network = learner.network
    tokens = jax.vmap(lambda p: learner.layout.tokens(p, learner.signature))(PROMPTS)
    ids, visible, rows = learner._static(TASK.points)
    net, enters = network._enter(tokens, ids, visible)
    y, losses = jnp.zeros_like(enters), []
    for t in range(loops):
        y = jax.lax.stop_gradient(y) if t == loops - window else y
        y = net.inner.placed(y + enters, ids)
        for block in net.inner.blocks:
            y = block.batched(y, visible, None)
        y = net.inner.norm(y)
        mean = net.read_out(y, rows).reshape(len(PROMPTS.ys), -1)
        losses.append(jnp.mean((mean - PROMPTS.ys) ** 2))
    return sum(losses[loops - window :]) / window


@pytest.mark.parametrize("window", [None, 2])
def test_gradients_are_those_of_the_window(window):
    """All loops: full back-propagation through time; fewer: none reaches what came before."""
    learner = made(loops=5, loss_window=window)
    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(training_loss))(learner)
    wanted, by_hand = eqx.filter_jit(eqx.filter_value_and_grad(lambda m: written_out(m, 5, window or 5)))(learner)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(by_hand), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, float(jnp.max(jnp.abs(b)))))
    if window:
        full = eqx.filter_grad(lambda m: written_out(m, 5, 5))(learner)
        assert not np.allclose(full.network.inner.embed.weight, gradient.network.inner.embed.weight, rtol=1e-2)


def test_the_number_of_loops_grows_without_another_program():
    learner = made(loops=6, loss_window=2, loops_start=2, loops_by=2, loops_every=10)
    traces = []

    @jax.jit
    def run(step):
        traces.append(step)
        return training_loss(learner, step)

    found = [float(run(jnp.asarray(step))) for step in (0, 9, 10, 25, 1000)]
    assert len(traces) == 1
    counts = (2, 2, 4, 6, 6)
    np.testing.assert_allclose(found, [float(written_out(learner, n, 2)) for n in counts], rtol=1e-5)


@pytest.mark.parametrize("count", [1, 9])
def test_any_number_of_loops_runs_afterwards(count):
    learner = loop(made(loops=4, loss_window=2), count)
    one, fast = jax.vmap(learner)(PROMPTS).mean, learner.batched(PROMPTS).mean
    np.testing.assert_allclose(one, fast, atol=1e-5)
    assert float(jnp.mean((fast - PROMPTS.ys) ** 2)) == pytest.approx(float(written_out(learner, count, 1)), rel=1e-4)
    with pytest.raises(ValueError, match="only a looped network"):
        loop(ModelConfig.registry.get("transformer", **SIZES).make(TASK, key=jax.random.key(0)), 2)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        loop(learner, 0)


def test_one_loop_is_a_transformer_of_that_depth():
    looped = made(loops=1, depth=2)
    plain = ModelConfig.registry.get("transformer", depth=2, **SIZES).make(TASK, key=jax.random.key(0))
    same = dataclasses.replace(plain, network=looped.network.inner)
    np.testing.assert_allclose(looped.batched(PROMPTS).mean, same.batched(PROMPTS).mean, atol=1e-6)


def test_sizes_are_those_of_the_paper():
    """The body of one block of width 256 against twelve: 790,272 and 9,477,632 parameters."""
    task = fc.get("linear-regression", dim=20, points=41)
    sizes = []
    for name, depth in (("looped", 1), ("transformer", 12)):
        config = ModelConfig.registry.get(name, depth=depth, width=256, heads=8)
        network = eqx.filter_eval_shape(config.make, task, key=jax.random.key(0)).network
        network = network.inner if isinstance(network, LoopedNetwork) else network
        sizes.append(sum(leaf.size for leaf in jax.tree.leaves((network.blocks, network.norm))))
    assert sizes == [790_272, 9_477_632]


@pytest.mark.parametrize("fields", [{"inject": "multiply"}, {"inject": "none"}, {"timesteps": True}])
def test_kinds_of_loops_agree_on_both_paths(fields):
    learner = made(loops=3, **fields)
    noisy = jax.tree.map(lambda a: a + 0.1 if eqx.is_inexact_array(a) else a, learner)
    np.testing.assert_allclose(jax.vmap(noisy)(PROMPTS).mean, noisy.batched(PROMPTS).mean, atol=1e-5)
    assert not np.allclose(noisy.batched(PROMPTS).mean, loop(noisy, 2).batched(PROMPTS).mean)


def test_algoformer_is_a_loop_between_blocks_of_its_own():
    learner = made("algoformer", loops=3, before=1, after=2)
    network = learner.network
    assert (len(network.before.blocks), len(network.inner.blocks), len(network.after.blocks)) == (1, 1, 2)
    # Blocks before the loop read places, and what the last blocks say is normalized.
    moved = network._enter(jnp.ones((4, learner.layout.features(learner.signature))), np.arange(4), None)[1]
    assert not np.allclose(moved[0], moved[3], atol=1e-4)
    said = np.asarray(network._leave(5.0 * jax.random.normal(jax.random.key(2), (4, 8)), None))
    np.testing.assert_allclose(said.std(-1), 1, atol=1e-3)
    np.testing.assert_allclose(jax.vmap(learner)(PROMPTS).mean, learner.batched(PROMPTS).mean, atol=1e-5)
    gradient = eqx.filter_grad(training_loss)(learner)
    parts = (gradient.network.before, gradient.network.inner.blocks, gradient.network.after)
    assert all(np.any(leaf) for part in parts for leaf in [jax.tree.leaves(part)[-1]])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"loops": 0}, "at least 1"),
        ({"loops": 3, "loss_window": 4}, "at most loops = 3"),
        ({"loops": 8, "loss_window": 4, "loops_start": 3}, "from loss_window = 4 to loops = 8"),
        ({"loops": 8, "loss_window": 4, "loops_start": 9}, "from loss_window = 4 to loops = 8"),
    ],
)
def test_impossible_loops_are_refused(fields, words):
    with pytest.raises(fc.ConfigError, match=words):
        ModelConfig.registry.get("looped", **fields)


def test_halting_weighs_the_loops():
    """The prediction is the sum over loops of what each says times the probability that it is the one; training sees
    the same; at the start all loops weigh alike."""
    learner = made(loops=4, halting=True)
    network, prompt = learner.network, jax.tree.map(lambda leaf: leaf[0], PROMPTS)
    halt = network.halt
    weights = 3 * jax.random.normal(jax.random.key(7), halt.weight.shape)
    learner = eqx.tree_at(lambda m: m.network.halt.weight, learner, weights)
    tokens = learner.layout.tokens(prompt, learner.signature)
    ids, visible, rows = learner._static(TASK.points)
    net, enters = learner.network._enter(tokens, ids, visible)
    y, left, total = net._first(enters), np.ones(TASK.points), np.zeros(TASK.points)
    for t in range(4):
        y = net._body(y, enters, ids, visible, t)
        stop = 1 / (1 + np.exp(-np.asarray(y @ weights + halt.bias[None])[:, 0])) if t < 3 else 1.0
        total, left = total + left * stop * np.asarray(net.read_out(y, rows))[:, 0], left * (1 - stop)
    np.testing.assert_allclose(learner(prompt).mean, total, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(learner.batched(PROMPTS).mean[0], total, rtol=1e-4, atol=1e-5)
    trained = learner.in_training(PROMPTS, jnp.asarray(0, jnp.int32)).mean
    assert trained.shape[0] == 1
    np.testing.assert_allclose(trained[0, 0], total, rtol=1e-4, atol=1e-5)
    still = made(loops=4, halting=True)
    shares = taps.capture(still, prompt, at=("halting",))[1]["halting"]
    np.testing.assert_allclose(shares[:, 0], [1 / 4, 3 / 16, 9 / 64, 27 / 64], rtol=1e-5)


def test_halting_covers_every_loop():
    with pytest.raises(fc.ConfigError, match="halting weighs all loops"):
        made(loops=4, halting=True, loss_window=2)
