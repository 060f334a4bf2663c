"""Context-tree weighting against brute force: the recursion of the paper in float64, and the sum over all trees."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

from function_classes import Prompt
from icl import references
from icl.programs import predict
from icl.references.context_tree import ContextTree
from icl.references.kgram import CountedKGram

PAST = -1


def contexts(stream, k, depth):
    """The `depth` symbols before place k, the latest first."""
    return tuple(stream[k - b] if k >= b else PAST for b in range(1, depth + 1))


def log_estimator(stream, context, symbols, alpha):
    """log probability of all symbols that followed `context`, by the gamma functions."""
    followed = [stream[k] for k in range(len(stream)) if contexts(stream, k, len(context)) == context]
    counts = np.bincount(followed, minlength=symbols) if followed else np.zeros(symbols)
    parts = gammaln(counts + alpha).sum() - symbols * gammaln(alpha)
    return parts + gammaln(symbols * alpha) - gammaln(counts.sum() + symbols * alpha)


def trees(symbols, depth, context=()):
    """Every tree as its leaves, with log prior at stop = `STOP`."""
    if len(context) == depth:
        return [([context], 0.0)]
    found = [([context], np.log(STOP))]
    below = [trees(symbols, depth, (*context, c)) for c in (PAST, *range(symbols))]
    for choice in itertools.product(*below):
        leaves = [leaf for part, _ in choice for leaf in part]
        found.append((leaves, np.log(1 - STOP) + sum(prior for _, prior in choice)))
    return found


STOP = 0.3


def log_probability(stream, symbols, depth, alpha):
    terms = [
        prior + sum(log_estimator(stream, leaf, symbols, alpha) for leaf in leaves)
        for leaves, prior in trees(symbols, depth)
    ]
    return np.logaddexp.reduce(terms)


@pytest.mark.parametrize(("symbols", "depth", "alpha"), [(2, 0, 0.5), (2, 2, 0.5), (3, 1, 0.5), (3, 2, 0.2)])
def test_it_is_the_sum_over_all_trees(symbols, depth, alpha):
    points = 7
    stream = np.random.default_rng(symbols + depth).integers(0, symbols, size=points)
    member = ContextTree(jnp.float32(alpha), jnp.float32(STOP), depth, symbols)
    found = np.asarray(member(Prompt(jnp.zeros((points, 0)), jnp.asarray(stream))).log_probs)
    assert sum(np.exp(prior) for _, prior in trees(symbols, depth)) == pytest.approx(1)
    for k in range(points):
        past = list(stream[:k])
        before = log_probability(past, symbols, depth, alpha)
        wanted = [log_probability([*past, c], symbols, depth, alpha) - before for c in range(symbols)]
        np.testing.assert_allclose(found[k], wanted, atol=2e-5, err_msg=str(k))


def weighted(stream, symbols, depth, context=()):
    """log P_w(context) by the recursion of the paper, stop = 1/2."""
    own = log_estimator(stream, context, symbols, 0.5)
    if len(context) == depth:
        return own
    below = sum(weighted(stream, symbols, depth, (*context, c)) for c in (PAST, *range(symbols)))
    return np.log(0.5) + np.logaddexp(own, below)


def test_long_streams_keep_to_float64():
    rng = np.random.default_rng(5)
    stream = [0, 1]
    for _ in range(298):
        stream.append(int(rng.random() < (0.9 if stream[-2] == 0 else 0.2)))
    batch = Prompt(jnp.zeros((1, 300, 0)), jnp.asarray(stream)[None])
    member = references.get("context-tree-weighting", depth=3)
    settled = ContextTree(jnp.float32(member.alpha), jnp.float32(member.stop), member.depth, 2)
    found = np.asarray(predict(settled, batch).log_probs)[0]
    total = found[np.arange(300), stream].astype(float).sum()
    assert total == pytest.approx(weighted(stream, 2, 3), abs=2e-3)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, atol=1e-5)


def test_depth_zero_is_the_estimator_of_krichevsky_and_trofimov():
    batch = Prompt(jnp.zeros((1, 9, 0)), jnp.array([[0, 1, 1, 2, 0, 0, 0, 2, 1]]))
    unigram = CountedKGram(jnp.float32(0.5), 0, 3)
    tree = ContextTree(jnp.float32(0.5), jnp.float32(0.5), 0, 3)
    np.testing.assert_allclose(predict(tree, batch).log_probs, predict(unigram, batch).log_probs, atol=1e-6)
    assert references.get("k-gram", order=0, alpha=0.5).label == "unigram (KT)"


def test_its_price_over_the_best_tree_is_the_prior_of_that_tree():
    """-log P_w <= -log P of any one tree - log of its prior, at the end of the stream: here order 1, depth 3."""
    rng = np.random.default_rng(7)
    stream = list(rng.integers(0, 2, size=60))
    leaves = [(c,) for c in (PAST, 0, 1)]
    one = sum(log_estimator(stream, leaf, 2, 0.5) for leaf in leaves)
    settled = ContextTree(jnp.float32(0.5), jnp.float32(0.5), 3, 2)
    log_probs = np.asarray(settled(Prompt(jnp.zeros((60, 0)), jnp.asarray(stream))).log_probs)
    assert log_probs[np.arange(60), stream].sum() >= one + 4 * np.log(0.5) - 1e-4
