"""Automata as Akyurek et al. 2024 draw them: edges, alphabets, minimization, lengths, and what counts."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes.automata import Automaton, minimized
from icl.config import Config
from tests.function_classes.test_hidden_streams import DFA
from tests.harness import beats_bayes, losses

PAPER = fc.get("dfa", sampler="paper", symbols=18, pool_size=None, points=120)
SMALL = fc.get("dfa", sampler="paper", symbols=4, pool_size=5, points=14, longest=4)


@pytest.fixture(scope="module")
def raw():
    """Automata before they are minimized."""

    def one(key):
        size, degree, order, target = jax.random.split(key, 4)
        states = jax.random.randint(size, (), 4, 13)
        return PAPER._distinct(states, jax.random.randint(degree, (12, 1), 1, 4), order, target), states

    found, states = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 800))
    return np.asarray(found.following), np.asarray(states)


def test_edges_lead_to_different_states_and_never_back(raw):
    used, degrees = [], []
    for following, states in zip(*raw, strict=True):
        assert np.all(following[states:] == -1)
        letters = set()
        for state, row in enumerate(following[:states]):
            targets = row[row >= 0]
            assert len(set(targets)) == len(targets)
            assert state not in targets
            assert targets.max() < states
            degrees.append(len(targets))
            letters |= set(np.flatnonzero(row >= 0))
        used.append(len(letters))
    shares = np.bincount(degrees, minlength=4) / len(degrees)
    np.testing.assert_allclose(shares, [0, 1 / 3, 1 / 3, 1 / 3], atol=5 * 0.5 / np.sqrt(len(degrees)))
    assert np.bincount(raw[1], minlength=13)[4:].min() > 800 / 9 - 5 * np.sqrt(800 / 9)
    assert 4 in used
    assert max(used) > 14


def test_targets_are_uniform_among_the_others(raw):
    """Of state 0, over automata of five states."""
    rows = [f[0][f[0] >= 0] for f, states in zip(*raw, strict=True) if states == 5]
    counts = np.bincount(np.concatenate(rows), minlength=5)
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] - counts.sum() / 4) < 5 * np.sqrt(counts.sum() / 4))


def strings(following, length, start=0):
    """Every string of at most this many symbols, and the symbols that may follow it: the law of an automaton."""
    found = {}
    for word in itertools.chain(*(itertools.product(range(following.shape[1]), repeat=n) for n in range(length + 1))):
        state = start
        for symbol in word:
            state = following[state][symbol] if state >= 0 else -1
        if state >= 0:
            found[word] = tuple(np.flatnonzero(following[state] >= 0))
    return found


def test_minimizing_keeps_every_string_and_no_more_states_than_needed():
    small = fc.get("dfa", sampler="paper", symbols=3, most_edges=2, least_states=3, most_states=5, pool_size=None)
    keys = jax.random.split(jax.random.key(4), 60)
    degrees = jax.random.randint(jax.random.key(5), (60, 5, 1), 1, 3)
    before = jax.vmap(lambda k, d: small._distinct(jnp.asarray(5), d, k, jax.random.fold_in(k, 1)))(keys, degrees)
    after = jax.jit(jax.vmap(minimized))(before)
    merged = 0
    for one, other in zip(np.asarray(before.following), np.asarray(after.following), strict=True):
        assert strings(one, 5) == strings(other, 5)
        kept = np.flatnonzero((other >= 0).any(1))
        # States with the same future are one: every two that are left differ in some string of at most five symbols.
        futures = {tuple(sorted(strings(other, 5, state).items())) for state in kept}
        assert len(futures) == len(kept)
        merged += len(kept) < 5
    assert merged > 5


def test_states_that_have_the_same_strings_are_merged():
    """Two states that differ in their numbers alone, and one that nothing reaches."""
    following = jnp.array([[1, 2, -1], [0, -1, -1], [0, -1, -1], [-1, -1, 0]])
    np.testing.assert_array_equal(
        minimized(Automaton(following)).following, [[1, 1, -1], [0, -1, -1], [-1, -1, -1], [-1, -1, -1]]
    )


def test_lengths_are_uniform_and_separators_do_not_count():
    task = fc.get("dfa", sampler="paper", pool_size=3, points=400, longest=9)
    prompts = task.batch(jax.random.key(6), 100)
    ys = np.asarray(prompts.ys)
    np.testing.assert_array_equal(prompts.scored, ys < 6)
    lengths = np.concatenate([np.diff(np.append(-1, np.flatnonzero(row == 6))) - 1 for row in ys])
    counts = np.bincount(lengths, minlength=10)
    assert counts[0] == 0
    assert len(counts) == 10
    expected = counts.sum() / 9
    # The last string is cut where the stream ends, which takes long ones more often: by less than 1 in 40.
    np.testing.assert_allclose(counts[1:], expected, atol=5 * np.sqrt(expected) + expected / 20)
    assert DFA.sample(jax.random.key(0)).scored is None


def test_evidence_and_bayes_are_those_of_an_enumeration():
    prompts = SMALL.batch(jax.random.key(7), 6)
    automata = np.asarray(SMALL.pool.following)
    found = np.exp(jax.vmap(SMALL.bayes)(prompts).log_probs)
    logs = np.exp(jax.vmap(SMALL.log_predictive)(prompts))
    for ys, probs, said in zip(np.asarray(prompts.ys), found, logs, strict=True):
        weights, state, length = np.ones(len(automata)), np.zeros(len(automata), int), 0
        for y, now, chance in zip(ys, probs, said, strict=True):
            edges = np.array([f[s] >= 0 for f, s in zip(automata, state, strict=True)])
            each = edges / edges.sum(1, keepdims=True)
            law = weights @ each / weights.sum()
            np.testing.assert_allclose(now, np.append(law, 1e-6), atol=2e-5)
            end = 1 / (5 - length) if length else 0.0
            np.testing.assert_allclose(chance, end if y == 4 else (1 - end) * law[y], rtol=1e-4)
            if y == 4:
                state, length = np.zeros(len(automata), int), 0
            else:
                weights = weights * each[:, y]
                state = np.array([max(f[s][y], 0) for f, s in zip(automata, state, strict=True)])
                length += 1


def test_who_predicts_separators_loses_and_who_never_does_gains_nothing():
    """With separators in the prediction, a learner that leaves them out would beat Bayes where they do not count."""
    prompts = SMALL.batch(jax.random.key(8), 2048)
    said = jax.vmap(SMALL.bayes)(prompts)
    own = losses(SMALL, prompts, said)
    never = jnp.where(jnp.arange(5) < 4, said.log_probs, -jnp.inf)
    never = fc.Prediction(log_probs=jax.nn.log_softmax(never))
    assert not beats_bayes(losses(SMALL, prompts, never) + 2e-6, own, nats=True).beats
    ends = jnp.log(0.8 * jnp.exp(never.log_probs) + 0.2 * jnp.eye(5)[None, None, 4])
    assert beats_bayes(own, losses(SMALL, prompts, fc.Prediction(log_probs=ends)), nats=True).beats
    assert np.all(np.isfinite(own))


def test_the_choice_is_another_run_and_today_s_stays():
    usual, paper = Config.create("dfa"), Config.create("dfa", sampler="paper")
    assert usual.identity == Config.create("dfa", sampler="free").identity != paper.identity
    assert Config.create("dfa", sampler="paper", longest=20).identity != paper.identity
    with pytest.raises(fc.ConfigError, match="above most_edges = 3"):
        fc.get("dfa", sampler="paper", least_states=3)
