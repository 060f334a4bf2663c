"""The transformer: two paths, one function; causal in every layout; sane at the start."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.fields import build
from icl import taps
from icl.layouts import Layout, Signature
from icl.models import Learner, ModelConfig
from icl.models.mixers.softmax import attend
from icl.models.stacked import narrowed
from icl.scoring import loss
from tests.harness import Interventions

SMALL = {"depth": 2, "width": 16, "heads": 2, "max_points": 9}
TASKS = {
    "linear-regression": fc.get("linear-regression", dim=3, points=5),
    "markov": fc.get("markov", points=6),
    "letter-digit": fc.get("letter-digit", points=6),
    "chain-of-thought": fc.get("chain-of-thought", dim=2, layers=2, points=4),
}
LAYOUTS = {name: {"name": name} for name in Layout.registry.names()}
LAYOUTS["joint-last"] = {"name": "joint", "query": "last"}
LAYOUTS["joint-last-blind"] = {"name": "joint", "query": "last", "marker": False, "sees_itself": False}
PAIRS = [
    (task, layout)
    for task in TASKS
    for layout, fields in LAYOUTS.items()
    if build(Layout, fields).refuses(Signature.of(TASKS[task])) is None
]


def make(task: str, layout: str, **fields) -> Learner:
    config = ModelConfig.registry.get("transformer", layout=LAYOUTS[layout], **{**SMALL, **fields})
    return config.make(TASKS[task], key=jax.random.key(3))


@pytest.mark.parametrize(("task", "layout"), PAIRS)
def test_both_paths_agree(task, layout):
    learner, prompts = make(task, layout), TASKS[task].batch(jax.random.key(0), 3)
    one = eqx.filter_jit(lambda m, p: jax.vmap(m)(p))(learner, prompts)
    fast = eqx.filter_jit(lambda m, p: m.batched(p))(learner, prompts)
    trained = learner.trained(TASKS[task].points)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(fast), strict=True):
        if trained is not None:
            a, b = a[:, trained], b[:, trained]
        assert np.all(np.isfinite(a))
        np.testing.assert_allclose(a, b, atol=2e-6 * float(jnp.max(jnp.abs(a))), rtol=0)


@pytest.mark.parametrize(("task", "layout"), PAIRS)
def test_nothing_leaks_from_the_future(task, layout):
    learner, prompts = make(task, layout), TASKS[task].batch(jax.random.key(1), 2)
    check = Interventions(lambda p: jax.tree.leaves(learner(p)), prompts, TASKS[task].steps)
    assert not any(check.leaks().values())
    leaky = Interventions(
        lambda p: [leaf + _future(p) for leaf in jax.tree.leaves(learner(p))], prompts, TASKS[task].steps
    )
    assert all(leaky.leaks().values())


def _future(prompt: Prompt):
    """A planted leak: the sum of everything shown, at every position."""
    return 1e-3 * jnp.sum(prompt.ys.astype(jnp.float32))


def test_softmax_gradient_is_that_of_the_plain_formula():
    keys = jax.random.split(jax.random.key(2), 4)
    query, key, value, out = (jax.random.normal(k, (2, 2, 5, 3)) for k in keys)
    bias = jnp.where(jnp.tril(jnp.ones((5, 5), bool)), 0.0, -1e30)[None]

    def plain(q, k, v):
        return jnp.matmul(jax.nn.softmax(jnp.matmul(q, jnp.swapaxes(k, -1, -2)) + bias[None]), v)

    ours = jax.grad(lambda *a: jnp.sum(attend(*a, bias) * out), (0, 1, 2))(query, key, value)
    theirs = jax.grad(lambda *a: jnp.sum(plain(*a) * out), (0, 1, 2))(query, key, value)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("init", ["gpt2", "fan-in"])
def test_loss_at_the_start_is_near_that_of_knowing_nothing(task, init):
    layout = "stream" if task in ("markov", "letter-digit") else "interleaved"
    learner, prompts = make(task, layout, init=init), TASKS[task].batch(jax.random.key(4), 256)
    space, steps = TASKS[task].y_space, TASKS[task].steps
    losses = jax.vmap(lambda p, prompt: loss(p, prompt, space, steps))(learner.batched(prompts), prompts)
    null = np.log(space.n) if space.kind == "symbols" else float(jnp.sum(prompts.scores**2) / losses.size)
    assert 0.7 * null < float(jnp.mean(losses)) < 2.0 * null


def test_the_loss_takes_distributions_as_targets():
    learner, task = make("markov", "stream"), TASKS["markov"]
    prompt = task.sample(jax.random.key(8))
    soft = jax.nn.softmax(jax.random.normal(jax.random.key(9), (task.points, task.y_space.n)))
    prediction = learner(prompt)
    found = loss(prediction, dataclasses.replace(prompt, targets=soft), task.y_space, 1)
    np.testing.assert_allclose(found[:, 0], -jnp.sum(soft * prediction.as_log_probs(task.y_space), -1), rtol=1e-5)


def test_bfloat16_is_near_float32_and_finite_in_its_gradient():
    learner = make("linear-regression", "paired")
    half = make("linear-regression", "paired", compute="bfloat16")
    prompts = TASKS["linear-regression"].batch(jax.random.key(5), 8)
    a, b = learner.batched(prompts).mean, half.batched(prompts).mean
    assert b.dtype == jnp.float32
    assert 0 < float(jnp.max(jnp.abs(a - b))) < 0.1 * float(jnp.max(jnp.abs(a)))
    gradient = eqx.filter_grad(lambda m: jnp.mean(jnp.square(m.batched(prompts).mean)))(half)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))


def test_recurrences_keep_their_parameters_in_float32():
    """Rates near 1 and small steps are others in 16 bits."""
    sizes = {"depth": 2, "mixers": ("mamba", "softmax"), "compute": "bfloat16"}
    network = make("linear-regression", "paired", **sizes).network
    narrow = narrowed(network, jnp.dtype("bfloat16"))
    kinds = [{leaf.dtype.name for leaf in jax.tree.leaves(block.mixer)} for block in narrow.blocks]
    assert kinds == [{"float32"}, {"bfloat16"}]
    assert narrow.embed.weight.dtype == jnp.bfloat16


def test_longer_prompts_than_positions_are_refused_and_allowed_without_positions():
    prompt = fc.get("linear-regression", dim=3, points=12).sample(jax.random.key(6))
    with pytest.raises(ValueError, match=r"positions hold 9 points.* or model.positions=none"):
        make("linear-regression", "paired")(prompt)
    with pytest.raises(ValueError, match=r"mlp-mixer hold 9 points.*=12, or with mixers of any length"):
        make("linear-regression", "paired", mixer="mlp-mixer", positions="none")(prompt)
    assert make("linear-regression", "paired", positions="none")(prompt).mean.shape == (12,)


def test_room_for_longer_prompts_changes_nothing_at_the_trained_length():
    prompt = TASKS["linear-regression"].sample(jax.random.key(10))
    tight = make("linear-regression", "paired", max_points=5)
    roomy = make("linear-regression", "paired", max_points=None)
    assert roomy.max_points == 64
    np.testing.assert_array_equal(tight(prompt).mean, roomy(prompt).mean)


def test_site_names_are_frozen():
    learner = make("linear-regression", "paired", depth=1)
    sites = set(taps.sites(learner, TASKS["linear-regression"].sample(jax.random.key(7))))
    block = {"norm_mixer", "mixer", "norm_mlp", "mlp", "residual"}
    mixer = {"query", "key", "value", "scores", "probabilities", "heads", "output"}
    wanted = {"embed", "residual", "norm", "head", "blocks.0"}
    wanted |= {f"blocks.0.{name}" for name in block} | {f"blocks.0.mixer.{name}" for name in mixer}
    assert sites == wanted | {"blocks.0.mlp.up", "blocks.0.mlp.down"}


def test_probabilities_can_be_seen_and_patched():
    learner = make("linear-regression", "paired")
    prompt = TASKS["linear-regression"].sample(jax.random.key(8))
    output, seen = taps.capture(learner, prompt, at=("blocks.*.mixer.probabilities",))
    np.testing.assert_allclose(output.mean, learner(prompt).mean, atol=1e-6)
    np.testing.assert_allclose(np.sum(seen["blocks.1.mixer.probabilities"], -1), 1, atol=1e-5)
    silent = taps.edit(learner, prompt, edits={"blocks.*.mixer": jnp.zeros_like, "blocks.*.mlp": jnp.zeros_like})
    tokens = learner.layout.tokens(prompt, learner.signature)
    network = learner.network
    direct = network.head(network.norm(network.embed(tokens) + network.positions[: len(tokens)]))
    np.testing.assert_allclose(silent.mean, direct[:, 0], atol=1e-5)
