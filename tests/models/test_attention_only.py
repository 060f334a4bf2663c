"""Attention-only learners: two paths, causal in every layout, one pass or many, exact zeros where nothing is seen."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import ConfigError, Prompt
from function_classes.fields import build
from icl import taps
from icl.config import Config
from icl.layouts import Joint, Signature
from icl.models import Learner, ModelConfig
from icl.models.attention_only import loop
from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.linear import context_counts
from icl.queries import predict_at
from icl.training.engine import program_key
from tests.harness import Interventions

TASK = fc.get("linear-regression", dim=3, points=5)
ONE = {"name": "joint", "query": "last", "marker": False, "sees_itself": False}
APART = {"name": "interleaved", "channels": "separate"}
COPY = {"depth": 2, "layout": APART | {"query": "last"}, "positions": "sinusoidal", "code_size": 4}
MIXERS = {
    "linear": {"name": "linear", "key_size": 2},
    "linear-count": {"name": "linear", "normalizer": "count", "bias": True},
    "merged": {"name": "merged-linear", "start": 1.0},
    "merged-sum": {"name": "merged-linear", "normalizer": "none", "start": 1.0},
    "softmax": {"name": "softmax", "key_size": 3, "scaled": False},
}
CASES = {
    "plain": {"mixer": MIXERS["linear"]},
    "deep": {"mixer": MIXERS["linear-count"], "depth": 2, "heads": 2, "damping": 0.5},
    "recurrent": {
        "mixer": MIXERS["linear-count"],
        "depth": 3,
        "recurrent": True,
        "clip_tokens": 0.9,
        "reads": "minus-y",
    },
    "zhang": {"mixer": MIXERS["merged"], "heads": 2, "layout": ONE | {"sees_itself": True}},
    "softmax": {"mixer": MIXERS["softmax"], "depth": 2},
    "every": {"mixer": MIXERS["linear-count"], "depth": 2, "layout": ONE | {"query": "every"}},
    "interleaved": {"mixer": MIXERS["merged-sum"], "layout": APART},
    "interleaved-codes": {"mixer": MIXERS["linear-count"], "depth": 2, "layout": APART, "positions": "sinusoidal"},
    "copy": COPY | {"mixers": (MIXERS["softmax"], MIXERS["linear"])},
}


def make(**fields) -> Learner:
    learner = ModelConfig.registry.get("attention-only", **{"layout": ONE, "init_scale": 1.0, **fields})
    made = learner.make(TASK, key=jax.random.key(0))
    # Zhang's start has exact zeros, which would hide mistakes.
    noise = lambda a: a + 0.1 * jax.random.normal(jax.random.key(1), a.shape)  # noqa: E731
    return jax.tree.map(lambda a: noise(a) if eqx.is_inexact_array(a) else a, made)


@pytest.mark.parametrize("case", CASES)
def test_both_paths_agree(case):
    learner, prompts = make(**CASES[case]), TASK.batch(jax.random.key(2), 3)
    one = eqx.filter_jit(lambda m, p: jax.vmap(m)(p))(learner, prompts).mean
    fast = eqx.filter_jit(lambda m, p: m.batched(p))(learner, prompts).mean
    trained = learner.trained(TASK.points)
    if trained is not None:
        assert not np.any(fast[:, ~trained])
        one, fast = one[:, trained], fast[:, trained]
    np.testing.assert_allclose(one, fast, atol=2e-6 * float(jnp.max(jnp.abs(one))), rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_nothing_leaks_from_the_future_and_the_past_is_used(case):
    learner, prompts = make(**CASES[case]), TASK.batch(jax.random.key(3), 2)
    check = Interventions(learner, prompts)
    assert not any(check.leaks().values())
    # An attention layer on raw tokens says 0 where it sees no example and not itself.
    assert not set(check.ignored()) - {"x0"}


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("itself", [True, False])
def test_one_layer_has_the_same_answer_from_one_pass_and_from_many(mixer, itself):
    """The context of one layer is its raw tokens, whether these see each other causally or all."""
    prompts, layout = TASK.batch(jax.random.key(4), 4), ONE | {"sees_itself": itself, "marker": True}
    last, every = (make(mixer=MIXERS[mixer], layout=layout | {"query": query}) for query in ("last", "every"))
    a, b = (np.asarray(jax.vmap(learner)(prompts).mean) for learner in (last, every))
    np.testing.assert_allclose(a, b, atol=2e-6 * np.abs(a).max())
    deep = [make(mixer=MIXERS[mixer], layout=layout | {"query": q}, depth=2) for q in ("last", "every")]
    a, b = (np.asarray(jax.vmap(learner)(prompts).mean) for learner in deep)
    assert np.abs(a - b).max() > 1e-3 * np.abs(a).max()


def test_many_queries_take_one_pass_each():
    learner, prompt = make(**CASES["deep"]), TASK.sample(jax.random.key(5))
    xs = jax.random.normal(jax.random.key(6), (2, 3))
    for k in (0, 3, 4):
        found = predict_at(learner, prompt, k, xs).mean
        direct = [learner(Prompt(prompt.xs.at[k].set(x), prompt.ys)).mean[k] for x in xs]
        np.testing.assert_allclose(found, jnp.stack(direct), atol=1e-6)
    assert make(**CASES["every"]).predict_at is None


@pytest.mark.parametrize("mixer", MIXERS)
def test_who_sees_nothing_gets_zero_and_a_finite_gradient(mixer):
    made = build(MixerConfig, MIXERS[mixer]).make(Place(4, 1, 1, 8), key=jax.random.key(7))
    x = jax.random.normal(jax.random.key(8), (5, 4))
    visible = np.tril(np.ones((5, 5), bool), -1)
    for output in (
        made(x, visible),
        made.batched(x[None], visible, None)[0],
        made.batched(x[None], visible, (0, 2))[0],
    ):
        np.testing.assert_array_equal(output[0], 0)
        assert np.any(np.asarray(output[1]))
    for path in (lambda a: made(a, visible), lambda a: made.batched(a[None], visible, None)):
        assert np.all(np.isfinite(jax.jit(jax.grad(lambda a: jnp.sum(path(a) ** 2)))(x)))  # noqa: B023


def test_context_counts_follow_the_papers():
    """N for an example among N that see each other, for the query with and without itself; k under a causal mask."""
    signature = Signature.of(TASK)
    for itself in (True, False):
        last = Joint(query="last", sees_itself=itself).visible(5, signature)
        np.testing.assert_array_equal(context_counts(last, 5), [4] * 5)
        np.testing.assert_array_equal(context_counts(jnp.asarray(last), 5), [4] * 5)
        every = Joint(sees_itself=itself).visible(5, signature)
        np.testing.assert_array_equal(context_counts(every, 9), [1, 2, 3, 4, 1, 1, 2, 3, 4])
    np.testing.assert_array_equal(context_counts(None, 4), [1, 1, 2, 3])


def test_the_start_is_that_of_the_papers():
    """Zhang: u^2 = |U|_F^2 = s^2, all else 0. Von Oswald: sqrt(.002 / 11) / .8796 = .0153 at K = 1 and 11 channels."""
    mixer = MixerConfig.registry.get("merged-linear", start=0.3).make(Place(4, 2, 1, 8), key=jax.random.key(9))
    np.testing.assert_allclose(np.linalg.norm(mixer.key_query[:, :3, :3], axis=(1, 2)), 0.3, rtol=1e-6)
    np.testing.assert_allclose(mixer.value[:, 3, 3], 0.3, rtol=1e-6)
    assert np.count_nonzero(mixer.value) == 2
    assert not np.any(mixer.key_query[:, 3])
    assert not np.any(mixer.key_query[:, :, 3])
    assert np.all(np.linalg.eigvalsh(mixer.key_query) > -1e-6)
    config = ModelConfig.registry.get("attention-only", heads=40, mixer={"name": "linear", "key_size": 11})
    wide = config.make(fc.get("linear-regression", dim=10), key=jax.random.key(10)).network.blocks[0].mixer
    assert wide.query.weight.shape == (11, 440)
    assert float(jnp.std(wide.query.weight)) == pytest.approx(0.01533, rel=0.05)


def test_loops_of_one_set_of_weights():
    config = {"mixer": MIXERS["linear-count"], "depth": 2, "damping": 0.7}
    shared, prompt = make(recurrent=True, **config), TASK.sample(jax.random.key(11))
    untied = make(**config)
    copied = eqx.tree_at(lambda m: m.network.blocks, untied, shared.network.blocks * 2)
    np.testing.assert_allclose(shared(prompt).mean, copied(prompt).mean, atol=1e-6)
    four = loop(loop(shared, 4), 4, damping=0.35)
    again = dataclasses.replace(copied.network, blocks=shared.network.blocks * 4, damping=0.35)
    np.testing.assert_allclose(four(prompt).mean, dataclasses.replace(copied, network=again)(prompt).mean, atol=1e-6)
    np.testing.assert_allclose(four.batched(prompt_of_one(prompt)).mean[0, -1], four(prompt).mean[-1], atol=1e-6)
    with pytest.raises(ValueError, match="recurrent"):
        loop(untied, 3)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        loop(shared, 0)


def prompt_of_one(prompt: Prompt) -> Prompt:
    return jax.tree.map(lambda a: a[None], prompt.hide())


def test_codes_stand_behind_the_tokens_and_a_rotation_shifts_them():
    learner, prompt = make(**COPY), TASK.sample(jax.random.key(13))
    tokens, ids = learner.layout.tokens(prompt, learner.signature), np.arange(9)
    _, seen = taps.capture(learner.network, tokens, ids, at="residual")
    np.testing.assert_array_equal(seen["residual"][:, :4], tokens)
    code = seen["residual"][:, 4:]
    angles = np.outer(ids, [1.0, 0.01])
    wanted = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(9, 4)
    np.testing.assert_allclose(code, wanted, atol=1e-6)
    # Inner products of codes are sums of cosines of the distance alone.
    np.testing.assert_allclose(code @ code.T, np.cos(angles[:, None] - angles[None]).sum(-1), atol=1e-5)


def test_codes_have_no_longest_prompt():
    learner = make(**CASES["copy"])
    assert learner.max_points is None
    longer = fc.get("linear-regression", dim=3, points=90).sample(jax.random.key(14))
    assert np.all(np.isfinite(eqx.filter_jit(learner)(longer).mean))


def test_without_codes_the_order_of_the_examples_is_not_seen_and_with_them_it_is():
    prompt, order = TASK.sample(jax.random.key(15)).hide(), np.array([2, 0, 3, 1, 4])
    both = prompt, Prompt(prompt.xs[order], prompt.ys[order])
    for positions, seen in [("none", False), ("sinusoidal", True)]:
        learner = make(**(CASES["copy"] | {"positions": positions}))
        a, b = (float(learner.batched(prompt_of_one(one)).mean[0, -1]) for one in both)
        assert (abs(a - b) > 1e-3 * abs(a)) == seen


def test_site_names_are_frozen():
    prompt, mixer = TASK.sample(jax.random.key(12)), {"query", "key", "value", "scores", "heads", "output"}
    found = set(taps.sites(make(**CASES["plain"]), prompt))
    assert found == {"residual", "blocks.0", "blocks.0.residual", "blocks.0.mixer"} | {
        f"blocks.0.mixer.{name}" for name in mixer
    }
    shapes = taps.sites(make(**CASES["recurrent"]), prompt)
    assert shapes["blocks.0.residual"].shape == (5, 3, 5, 4)


def test_refusals():
    for fields, path in [
        ({"layout": "paired"}, "layout"),
        ({"heads": 4}, "heads"),
        ({"clip_tokens": 0.0}, "clip_tokens"),
        ({"mixers": ("softmax", "linear")}, "mixers"),
        ({"mixers": ("softmax", "linear"), "depth": 2, "recurrent": True}, "mixers"),
        ({"mixers": ("linear", "softmax"), "depth": 2, "heads": 4}, "heads"),
        ({"positions": "sinusoidal", "code_size": 5}, "code_size"),
    ]:
        with pytest.raises(ConfigError) as caught:
            Config.create(
                "linear-regression", **{"model": "attention-only", **{f"model.{k}": v for k, v in fields.items()}}
            )
        assert [p.path for p in caught.value.problems] == [f"model.{path}"]


def test_the_usual_layout_is_the_papers_and_its_fields_are_set_alone():
    config = Config.create("linear-regression", model="attention-only", **{"model.layout.sees_itself": True})
    assert (config.model.layout.query, config.model.layout.marker, config.model.layout.sees_itself) == (
        "last",
        False,
        True,
    )
    assert Config.from_tree(config.dump()) == config


def test_floats_of_the_model_are_no_data_of_a_program():
    a, b = (Config.create("linear-regression", model="attention-only", damping=d) for d in (1.0, 0.5))
    assert program_key(a) != program_key(b)
