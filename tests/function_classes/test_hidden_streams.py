"""Hidden Markov models against sums over all paths, automata against walks in Python, and posteriors that find both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes.hidden_markov import forward_filter
from tests.function_classes.twins import hidden_bayes

MIXTURE = fc.get("hmm-mixture", states=2, symbols=3, pool_size=3, points=6)


def test_forward_recursion_is_the_sum_over_paths():
    prompts = MIXTURE.batch(jax.random.key(0), 4)
    models = jax.tree.map(lambda a: np.asarray(a, np.float64), MIXTURE.models)
    each = np.exp(jax.vmap(MIXTURE.filters)(prompts))
    found = np.exp(jax.vmap(MIXTURE.bayes)(prompts).log_probs)
    for ys, own, probs in zip(np.asarray(prompts.ys), each, found, strict=True):
        evidence = np.zeros((3, 6))
        alone = []
        for m in range(3):
            alone.append(hidden_bayes(ys, np.full(2, 0.5), models.transition[m], models.emission[m])[0])
            evidence[m, 1:] = np.cumsum(np.log(alone[m][np.arange(5), ys[:5]]))
        weights = np.exp(evidence) / np.exp(evidence).sum(0)
        np.testing.assert_allclose(own, alone, rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(probs, np.einsum("mp,mpc->pc", weights, alone), rtol=2e-4, atol=1e-6)


def test_evidence_is_the_probability_of_the_stream():
    task = fc.get("hmm", states=3, symbols=2, points=5, pool_seed=4)
    prompt = task.sample(jax.random.key(1))
    model = jax.tree.map(lambda a: np.asarray(a[0], np.float64), task.models)
    expected = hidden_bayes(np.asarray(prompt.ys), np.full(3, 1 / 3), *model)[1]
    np.testing.assert_allclose(task.log_evidence(prompt), np.log(expected), rtol=1e-5)


def test_a_hidden_chain_in_plain_sight_is_a_markov_chain():
    """States that show themselves: the filter is the row of the last symbol, exactly, zeros included."""
    table = jnp.array([[0.2, 0.8, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    ys = jnp.array([0, 1, 2, 0, 1, 0])
    found = np.exp(forward_filter(ys, jnp.full(3, 1 / 3), table, jnp.eye(3)))
    np.testing.assert_allclose(found[1:], np.asarray(table)[ys[:-1]], atol=1e-6)
    impossible = forward_filter(jnp.array([0, 2, 1]), jnp.full(3, 1 / 3), table, jnp.eye(3))
    assert not np.any(np.isnan(impossible))


def test_long_streams_do_not_underflow():
    task = fc.get("hmm", points=3000)
    log_probs = np.asarray(jax.jit(lambda key: task.bayes(task.sample(key)).log_probs)(jax.random.key(2)))
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-4)


def test_the_model_that_speaks_is_found():
    """Mean log weight of the true model grows; a wrong one stays possible while streams are short."""
    task = fc.get("hmm-mixture", points=60)
    prompts = task.batch(jax.random.key(3), 200)
    weights = np.exp(jax.jit(jax.vmap(task.log_weights))(prompts))
    own = weights[np.arange(200), np.asarray(prompts.latent.model)].mean(0)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-4)
    assert own[0] == pytest.approx(0.25, abs=1e-5)
    assert np.all(np.diff(own[::15]) > 0)


DFA = fc.get("dfa", symbols=4, pool_size=6, points=16, stop=0.2)


def walk(following, ys, stop):
    """Law of every symbol of a stream under one automaton, and how probable each was; 0 after an impossible one."""
    symbols, state, length, alive, laws, chances = following.shape[1], 0, 0, 1.0, [], []
    for y in ys:
        law = np.where(following[state] >= 0, 1.0, 0.0)
        end = stop if length else 0.0
        law = np.append((1 - end) * law / law.sum(), end)
        alive = alive * (law[y] > 0)
        laws.append(law)
        chances.append(law[y] * alive)
        state, length = (0, 0) if y == symbols else (max(following[state, y], 0), length + 1)
    return np.array(laws), np.array(chances)


def test_automata_against_enumeration():
    prompts = DFA.batch(jax.random.key(4), 8)
    found = np.exp(jax.vmap(DFA.bayes)(prompts).log_probs)
    for ys, probs in zip(np.asarray(prompts.ys), found, strict=True):
        runs = [walk(f, ys, 0.2) for f in np.asarray(DFA.pool.following)]
        evidence = np.array([np.append(1.0, np.cumprod(chances)[:-1]) for _, chances in runs])
        weights = evidence / evidence.sum(0)
        np.testing.assert_allclose(probs, np.einsum("mp,mpc->pc", weights, [laws for laws, _ in runs]), atol=2e-5)


def test_automata_have_the_sizes_of_the_paper():
    """Between 1 and 3 edges a state, uniformly, with different symbols, to one of 4 to 12 states."""
    task = fc.get("dfa", pool_size=None)
    following = np.asarray(jax.vmap(task.sample_latent)(jax.random.split(jax.random.key(5), 500)).following)
    edges = (following >= 0).sum(-1)
    shares = np.bincount(edges.ravel(), minlength=4) / edges.size
    np.testing.assert_allclose(shares, [0, 1 / 3, 1 / 3, 1 / 3], atol=5 * 0.5 / np.sqrt(edges.size))
    assert following.max() == 11
    assert set(following.max((1, 2))) <= set(range(12))
    used = (following >= 0).mean((0, 1))
    np.testing.assert_allclose(used, 2 / 6, atol=5 * 0.5 / np.sqrt(edges.size))


def test_strings_end_at_the_stated_rate_and_are_never_empty():
    ys = np.asarray(DFA.batch(jax.random.key(6), 1500).ys)
    end, fresh = ys == 4, np.concatenate([np.ones((1500, 1), bool), ys[:, :-1] == 4], 1)
    assert not np.any(end & fresh)
    rate = end[~fresh].mean()
    assert abs(rate - 0.2) < 5 * 0.4 / np.sqrt((~fresh).sum())


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(fc.ConfigError, match="at least least_states = 4"):
        fc.get("dfa", most_states=3)
    with pytest.raises(fc.ConfigError, match="at most symbols = 2"):
        fc.get("dfa", symbols=2)
    with pytest.raises(fc.NotAvailable, match="pool of automata"):
        fc.get("dfa", pool_size=None).pool  # noqa: B018
