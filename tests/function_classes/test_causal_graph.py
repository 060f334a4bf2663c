"""Causal graphs: counts over edges alone, floors of the sheet, roots that say something and roots that do not."""

import jax
import numpy as np
import pytest
from scipy.special import digamma

import function_classes as fc
from function_classes.counts import kgram_log_probs
from function_classes.stationary_rows import ERROR
from tests.function_classes.twins import edge_bayes


def answer_loss(task, predict, key, prompts):
    """Cross entropy against the true row of the test symbol, in nats, per prompt."""
    batch = task.batch(key, prompts)
    log_probs = np.asarray(jax.jit(jax.vmap(predict))(batch).log_probs[:, -1], np.float64)
    return -np.sum(np.asarray(batch.targets[:, -1], np.float64) * np.maximum(log_probs, -1e3), -1)


# symbols, alpha, transitions among context symbols, floor of Bayes on the chain, last digits that are known
FLOORS = [
    (10, 0.1, 18, 1.760, 3e-3), (10, 0.1, 19, 1.747, 3e-3), (3, 1.0, 18, 0.9486, 1e-3), (3, 1.0, 19, 0.945, 1e-3),
    (5, 1.0, 30, 1.457, 1e-3), (5, 1.0, 31, 1.454, 1e-3),
]  # fmt: skip


@pytest.mark.parametrize(("symbols", "alpha", "transitions", "floor", "error"), FLOORS)
def test_floors_of_the_chain(symbols, alpha, transitions, floor, error):
    """[calc]; n transitions need n + 1 context symbols. The oracle's loss is the row entropy, not 0."""
    task = fc.get("causal-graph", symbols=symbols, alpha=alpha, points=transitions + 3)
    found = answer_loss(task, task.bayes, jax.random.key(0), 6000)
    assert abs(found.mean() - floor) < 5 * found.std() / np.sqrt(len(found)) + error
    known = answer_loss(task, task.oracle, jax.random.key(0), 6000)
    entropy = digamma(symbols * alpha + 1) - digamma(alpha + 1)
    assert abs(known.mean() - entropy) < 5 * known.std() / np.sqrt(len(known)) + 1e-4


def test_unigram_counts_are_no_help():
    """[calc] 3 symbols, alpha = 1: unigram add-alpha 1.083, uniform ln 3."""
    task = fc.get("causal-graph", points=21)

    def unigram(prompt):
        return fc.Prediction(log_probs=kgram_log_probs(prompt.ys, 3, 0, 1.0))

    found = answer_loss(task, unigram, jax.random.key(1), 6000)
    # The rule here also counts the test symbol, which is uniform: 1 of 20 counts moves the loss by less than 0.01.
    assert abs(found.mean() - 1.083) < 5 * found.std() / np.sqrt(len(found)) + 0.01


@pytest.mark.parametrize("graph", ["chain", "pairs", "tree"])
def test_counts_against_a_dictionary(graph):
    task = fc.get("causal-graph", graph=graph, points=15, alpha=0.4, graph_seed=5)
    prompts = task.batch(jax.random.key(2), 6)
    found = np.exp(jax.vmap(task.bayes)(prompts).log_probs)
    for ys, probs in zip(np.asarray(prompts.ys), found, strict=True):
        np.testing.assert_allclose(probs, edge_bayes(ys, task.parents(15), 3, 0.4), rtol=1e-5)


def test_roots_are_not_counted():
    """A root whose parent index wraps to the last symbol would add a false count: 10 symbols, alpha 0.1, 1.7589 ->
    1.7716 [calc]; the paired difference is found."""
    task = fc.get("causal-graph", symbols=10, alpha=0.1, points=21)
    wrapped = np.where(task.parents(21) < 0, 18, task.parents(21))
    batch = task.batch(jax.random.key(3), 1500)
    targets = np.asarray(batch.targets[:, -1], np.float64)
    right = -np.sum(targets * np.asarray(jax.vmap(task.bayes)(batch).log_probs[:, -1], np.float64), -1)
    wrong = [np.log(edge_bayes(ys, wrapped, 10, 0.1, cyclic=True)[-1]) for ys in np.asarray(batch.ys)]
    gap = -np.sum(targets * np.array(wrong), -1) - right
    assert abs(gap.mean() - (1.7716 - 1.7589)) < 5 * gap.std() / np.sqrt(len(gap)) + 2e-4
    assert gap.mean() > 5 * gap.std() / np.sqrt(len(gap))


def test_a_place_keeps_its_parent_in_longer_streams():
    for graph in ("chain", "pairs", "tree"):
        task = fc.get("causal-graph", graph=graph, graph_seed=7)
        short, long = task.parents(9), task.parents(14)
        np.testing.assert_array_equal(short[:7], long[:7])
        assert np.all(long < np.arange(14))
        assert (long[-2], long[-1]) == (-1, 12)
    np.testing.assert_array_equal(fc.get("causal-graph", graph="pairs").parents(8), [-1, 0, -1, 2, -1, 4, -1, 6])


def test_only_the_answer_is_scored_and_its_target_is_the_row():
    prompt = fc.get("causal-graph", points=9).sample(jax.random.key(4))
    np.testing.assert_array_equal(prompt.scored, [0] * 8 + [1])
    np.testing.assert_array_equal(prompt.targets[-1], prompt.latent[prompt.ys[-2]])


def test_stationary_roots_are_evidence():
    """Many roots: weighting tables beats plain counts, which ignore the roots; surprises have the entropy claimed."""
    task = fc.get("causal-graph", graph="pairs", roots="stationary", symbols=2, points=18)
    counts = fc.get("causal-graph", graph="pairs", symbols=2, points=18)
    better = answer_loss(task, task.bayes, jax.random.key(5), 4000)
    gain = answer_loss(task, counts.bayes, jax.random.key(5), 4000) - better
    assert gain.mean() > 5 * gain.std() / np.sqrt(len(gain))
    batch = task.batch(jax.random.key(6), 4000)
    log_probs = np.asarray(jax.jit(jax.vmap(task.bayes))(batch).log_probs, np.float64)
    own = -np.take_along_axis(log_probs, np.asarray(batch.ys)[..., None], -1)[..., 0]
    residual = own + np.sum(np.exp(log_probs) * log_probs, -1)
    assert np.all(np.abs(residual.mean(0)) < 5 * residual.std(0) / np.sqrt(len(residual)) + 5 * np.sqrt(ERROR))
