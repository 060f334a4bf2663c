"""Layouts: what the tokens hold, where predictions are read, and that nothing later is visible."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from icl import layouts
from icl.layouts import Layout, Signature

P, D = 4, 3
TASK = fc.get("linear-regression", dim=D, points=P)
SIGNATURE = Signature.of(TASK)


@pytest.fixture(scope="module")
def prompt() -> Prompt:
    xs = jnp.arange(1.0, 1 + P * D).reshape(P, D)
    return Prompt(xs, 100 + jnp.arange(float(P)))


def tokens(name: str, prompt: Prompt, **fields) -> np.ndarray:
    return np.asarray(Layout.registry.get(name, **fields).tokens(prompt, SIGNATURE))


def test_interleaved_shared_puts_y_in_channel_zero(prompt):
    rows = tokens("interleaved", prompt)
    assert rows.shape == (2 * P - 1, D)
    np.testing.assert_array_equal(rows[0::2], prompt.xs)
    np.testing.assert_array_equal(rows[1::2], [[100, 0, 0], [101, 0, 0], [102, 0, 0]])


def test_interleaved_separate_gives_y_a_channel(prompt):
    rows = tokens("interleaved", prompt, channels="separate")
    np.testing.assert_array_equal(rows[0::2], np.concatenate([np.zeros((P, 1)), prompt.xs], 1))
    np.testing.assert_array_equal(rows[1], [100, 0, 0, 0])


def test_shifted_and_paired_show_the_previous_example(prompt):
    shifted, paired = tokens("shifted", prompt), tokens("paired", prompt)
    np.testing.assert_array_equal(shifted[2], [7, 8, 9, 101])
    np.testing.assert_array_equal(paired[2], [7, 8, 9, 4, 5, 6, 101])
    np.testing.assert_array_equal(shifted[0], [1, 2, 3, 0])
    np.testing.assert_array_equal(paired[0], [1, 2, 3, 0, 0, 0, 0])


def test_joint_queries_see_the_examples_before_them(prompt):
    layout = Layout.registry.get("joint")
    rows = np.asarray(layout.tokens(prompt, SIGNATURE))
    visible = layout.visible(P, SIGNATURE)
    np.testing.assert_array_equal(rows[1], [4, 5, 6, 101, 0])
    for k, token in enumerate(layout.read(P, SIGNATURE)):
        np.testing.assert_array_equal(rows[token], [*np.asarray(prompt.xs[k]), 0, 1])
        assert set(np.flatnonzero(visible[token])) == {*range(k), token}
        assert layout.position_ids(P, SIGNATURE)[token] == k
    for i in range(P - 1):
        assert set(np.flatnonzero(visible[i])) == set(range(i + 1))


def test_joint_without_marker_and_without_itself(prompt):
    layout = Layout.registry.get("joint", marker=False, sees_itself=False)
    assert layout.tokens(prompt, SIGNATURE).shape == (2 * P - 1, D + 1)
    visible, usual = layout.visible(P, SIGNATURE), layouts.Joint().visible(P, SIGNATURE)
    read = layout.read(P, SIGNATURE)
    assert usual[read, read].all()
    np.testing.assert_array_equal(usual & ~visible, np.diag([False] * (P - 1) + [True] * P))


@pytest.mark.parametrize("itself", [True, False])
def test_joint_with_one_query_hides_what_comes_later(prompt, itself):
    layout = Layout.registry.get("joint", query="last", marker=False, sees_itself=itself)
    np.testing.assert_array_equal(layout.predicted(P, SIGNATURE), [False] * (P - 1) + [True])
    for k in range(P):
        tokens, ids, visible = map(np.asarray, layout.single(prompt, SIGNATURE, jnp.int32(k)))
        np.testing.assert_array_equal(tokens[:k], np.concatenate([prompt.xs, prompt.ys[:, None]], 1)[:k])
        np.testing.assert_array_equal(tokens[k:-1], 0)
        np.testing.assert_array_equal(tokens[-1], [*np.asarray(prompt.xs[k]), 0])
        np.testing.assert_array_equal(ids, [*range(P - 1), k])
        assert set(np.flatnonzero(visible[-1])) == {*range(k), *([P - 1] if itself else [])}
        for i in range(P - 1):
            assert set(np.flatnonzero(visible[i])) == set(range(k))
    np.testing.assert_array_equal(layout.tokens(prompt, SIGNATURE), tokens)
    np.testing.assert_array_equal(layout.visible(P, SIGNATURE), visible)
    np.testing.assert_array_equal(layout.position_ids(P, SIGNATURE), ids)


def test_interleaved_with_one_query_hides_what_comes_later(prompt):
    """The pass for k shows x_0, y_0, ..., y_{k-1} to everybody and the query, at position 2k, to nobody."""
    layout = layouts.Interleaved(channels="separate", query="last")
    every = np.asarray(layouts.Interleaved(channels="separate").tokens(prompt, SIGNATURE))
    np.testing.assert_array_equal(layout.predicted(P, SIGNATURE), [False] * (P - 1) + [True])
    for k in range(P):
        tokens, ids, visible = map(np.asarray, layout.single(prompt, SIGNATURE, jnp.int32(k)))
        np.testing.assert_array_equal(tokens[: 2 * k], every[: 2 * k])
        np.testing.assert_array_equal(tokens[2 * k : -1], 0)
        np.testing.assert_array_equal(tokens[-1], every[2 * k])
        np.testing.assert_array_equal(ids, [*range(2 * P - 2), 2 * k])
        np.testing.assert_array_equal(visible, np.tile(np.arange(2 * P - 1) < 2 * k, (2 * P - 1, 1)))
    np.testing.assert_array_equal(layout.tokens(prompt, SIGNATURE), tokens)
    np.testing.assert_array_equal(layout.visible(P, SIGNATURE), visible)
    np.testing.assert_array_equal(layout.position_ids(P, SIGNATURE), ids)
    assert set(layout.read(P, SIGNATURE)) == {len(tokens) - 1}
    reason = layout.refuses(Signature.of(fc.get("chain-of-thought")))
    assert reason is not None
    assert "use query every" in reason


def test_slots_hold_y_where_tokens_show_it(prompt):
    joint, separate = layouts.Joint(), layouts.Interleaved(channels="separate")
    np.testing.assert_array_equal(joint.tokens(prompt, SIGNATURE)[: P - 1, joint.slot(SIGNATURE)][:, 0], prompt.ys[:-1])
    np.testing.assert_array_equal(
        separate.tokens(prompt, SIGNATURE)[1::2, separate.slot(SIGNATURE)][:, 0], prompt.ys[:-1]
    )
    assert layouts.Interleaved().slot(SIGNATURE) is layouts.Paired().slot(SIGNATURE) is None


def test_stream_marks_its_start():
    task = fc.get("markov", symbols=3, points=5)
    stream = Prompt(jnp.zeros((5, 0)), jnp.array([2, 0, 1, 1, 2]))
    rows = np.asarray(layouts.Stream().tokens(stream, Signature.of(task)))
    np.testing.assert_array_equal(rows[0], [0, 0, 0, 1])
    np.testing.assert_array_equal(rows[1], [0, 0, 1, 0])


def test_several_targets_are_read_one_after_another():
    task = fc.get("chain-of-thought", dim=2, layers=3, points=4)
    prompt = task.sample(jax.random.key(0))
    layout = layouts.default(Signature.of(task))
    rows = np.asarray(layout.tokens(prompt, Signature.of(task)))
    read = layout.read(4, Signature.of(task))
    assert read.shape == (4, 3)
    assert rows.shape[0] == 4 * 4 - 1
    np.testing.assert_array_equal(rows[read[:, 0]], prompt.xs)
    np.testing.assert_array_equal(rows[read[:, 1:]], prompt.ys[:, :2])


@pytest.mark.parametrize("name", Layout.registry.names())
@pytest.mark.parametrize("task", ["linear-regression", "markov", "chain-of-thought"])
def test_refusals_are_sentences_and_acceptance_works(name, task):
    signature = Signature.of(fc.get(task))
    layout = Layout.registry.get(name)
    reason = layout.refuses(signature)
    if reason is not None:
        assert "use" in reason
        return
    prompt = fc.get(task).sample(jax.random.key(1))
    rows = layout.tokens(prompt, signature)
    assert rows.shape == (layout.length(prompt.points, signature), layout.features(signature))
    assert layout.read(prompt.points, signature).max() < len(rows)
