"""Associative recall and induction: streams against their definition, posteriors against enumeration in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc

RECALL = fc.get("associative-recall", points=16, pairs=3, symbols=10, longest_gap=4, power=0.3)
PROMPTS = jax.jit(lambda key: RECALL.batch(key, 4096))(jax.random.key(0))
YS, SCORED = np.asarray(PROMPTS.ys), np.asarray(PROMPTS.scored)


def recall_evidence(ys, pairs, symbols, longest, power):
    """log p of a whole stream: keys and values without repetition, gaps by their law, keys asked uniformly."""
    half = symbols // 2
    keys, values = list(ys[0 : 2 * pairs : 2]), list(ys[1 : 2 * pairs : 2])
    total = -np.sum(np.log(half - 1 - np.arange(len(keys)))) - np.sum(np.log(half - np.arange(len(values))))
    law = np.arange(1, longest + 1) ** (power - 1.0)
    law /= law.sum()
    slots, gap = list(ys[2 * pairs :: 2]), 0
    for key in slots:
        gap += 1
        if key:
            total += np.log(law[gap - 1]) - np.log(pairs)
            gap = 0
    return total + np.log(law[gap:].sum())


def test_streams_are_pairs_then_queries():
    for ys, scored in zip(YS[:300], SCORED[:300], strict=True):
        keys, values = ys[0:6:2], ys[1:6:2]
        assert len(set(keys)) == len(set(values)) == 3
        assert set(keys) <= set(range(1, 5))
        assert set(values) <= set(range(5, 10))
        known = dict(zip(keys, values, strict=True))
        for t in range(6, 16, 2):
            assert ys[t + 1] == (known[ys[t]] if ys[t] else 0)
            assert (scored[t], scored[t + 1]) == (0, float(ys[t] > 0))
        assert not scored[:6].any()


def test_gaps_follow_the_power_law():
    """The first gap, where it is not cut off by the end: 5 slots, at most 4 to the first query."""
    queries = YS[:, 6::2] > 0
    first = np.argmax(queries, 1) + 1
    law = np.arange(1, 5) ** -0.7
    law /= law.sum()
    share = np.bincount(first, minlength=5)[1:] / len(first)
    assert np.all(np.abs(share - law) < 5 * np.sqrt(law * (1 - law) / len(first)))


def test_recall_is_certain_and_its_evidence_that_of_the_definition():
    log_probs = np.asarray(jax.jit(jax.vmap(RECALL.bayes))(PROMPTS).log_probs)
    asked = SCORED > 0
    assert asked.sum() > 1000
    assert np.all(np.take_along_axis(log_probs, YS[..., None], -1)[..., 0][asked] == 0)
    sums = jax.jit(jax.vmap(RECALL.log_evidence))(PROMPTS)
    expected = [recall_evidence(ys, 3, 10, 4, 0.3) for ys in YS[:500]]
    np.testing.assert_allclose(sums[:500], expected, rtol=1e-4)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=1e-5)


def test_guessing_among_values_is_right_once_in_three():
    """A learner that knows the values but not the binding: the asked pair is uniform."""
    position = np.argmax(YS[:, None, 1:6:2] == YS[:, 6:, None], -1)
    share = np.mean(position[SCORED[:, 6:] > 0] == 0)
    count = np.sum(SCORED)
    assert abs(share - 1 / 3) < 5 * np.sqrt(2 / 9 / count)


INDUCTION = fc.get("induction", points=7, symbols=2, shortest=1, longest=3, noise=0.2)


def induction_evidence(ys, symbols, shortest, longest, noise):
    """Average over n of the product over t."""
    total = 0.0
    for n in range(shortest, longest + 1):
        parts = [1 / symbols if t < n else (1 - noise) * (y == ys[t - n]) + noise / symbols for t, y in enumerate(ys)]
        total += np.prod(parts)
    return np.log(total / (longest - shortest + 1))


def test_induction_is_a_law_over_all_streams():
    """All 2^7 streams: the evidence is that of the definition, and their probabilities sum to 1."""
    streams = jnp.asarray(list(itertools.product(range(2), repeat=7)), jnp.int32)
    logs = jax.jit(jax.vmap(lambda ys: INDUCTION.log_evidence(fc.Prompt(jnp.zeros((7, 0)), ys))))(streams)
    expected = [induction_evidence(ys, 2, 1, 3, 0.2) for ys in np.asarray(streams)]
    np.testing.assert_allclose(logs, expected, rtol=1e-4)
    assert abs(np.exp(np.asarray(logs, np.float64)).sum() - 1) < 1e-5


def test_streams_have_the_law():
    """Counts of all streams of 5 symbols against the evidence, by chi-square."""
    task = fc.get("induction", points=5, symbols=2, shortest=1, longest=3, noise=0.2)
    ys = np.asarray(jax.jit(lambda key: task.batch(key, 20_000))(jax.random.key(1)).ys)
    counts = np.bincount(ys @ 2 ** np.arange(5), minlength=32)
    streams = [[(code >> t) & 1 for t in range(5)] for code in range(32)]
    expected = 20_000 * np.exp([induction_evidence(s, 2, 1, 3, 0.2) for s in streams])
    # 31 degrees of freedom: mean 31, standard deviation sqrt(62).
    assert np.sum((counts - expected) ** 2 / expected) < 31 + 5 * np.sqrt(62)


def test_the_period_is_found_and_copying_is_certain():
    """16 symbols, blocks of 3 to 6: once two blocks were seen only the period and its multiples remain; 6 = 2 x 3."""
    task = fc.get("induction", points=16, symbols=16, shortest=3, longest=6)
    prompts = jax.jit(lambda key: task.batch(key, 500))(jax.random.key(2))
    belief = np.asarray(jax.jit(jax.vmap(task.period_posterior))(prompts))
    np.testing.assert_allclose(belief[:, 0], 0.25, rtol=1e-5)
    copies = np.asarray(jnp.exp(jax.vmap(task.log_predictive)(prompts)))[:, 13:]
    true = np.take_along_axis(belief[:, 15], np.asarray(prompts.latent)[:, None] - 3, 1)
    assert np.mean(true) > 0.99
    assert np.mean(copies) > 0.99


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("associative-recall", {"symbols": 9}, "must be even, got 9; the nearest is 10"),
        ("associative-recall", {"symbols": 6, "pairs": 3}, "at most symbols / 2 - 1 = 2"),
        ("induction", {"shortest": 4, "longest": 3}, "at least shortest = 4"),
    ],
)
def test_what_does_not_fit_is_refused(name, fields, words):
    with pytest.raises(fc.ConfigError, match=words):
        fc.get(name, **fields)
