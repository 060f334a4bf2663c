"""Tokenizers: round trips, greedy longest matches, dictionaries by hand, and unigram losses in closed form."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes.tokenizers import BPE, LZW, Blocks, decode, encode, unigram_nats_per_character

CHAIN = fc.get("fixed-markov", p=0.1, q=0.1, points=256)
STREAMS = CHAIN.batch(jax.random.key(0), 8).ys
TOKENIZERS = [Blocks(length=3), LZW(size=20, longest=6), BPE(size=20, longest=6)]


def lzw_by_hand(streams, symbols, size, longest):
    """Phrases as tuples, in a Python dictionary."""
    phrases = {(s,): s for s in range(symbols)}
    for stream in streams:
        phrase = ()
        for y in stream:
            if (*phrase, y) in phrases:
                phrase = (*phrase, y)
            else:
                if len(phrases) < size and len(phrase) < longest:
                    phrases[(*phrase, y)] = len(phrases)
                phrase = (y,)
    return list(phrases)


def bpe_by_hand(streams, symbols, size, longest):
    """Lists of strings; a merge goes from left to right."""
    tokens = [(s,) for s in range(symbols)]
    rows = [list(stream) for stream in streams]
    while len(tokens) < size:
        counts = {}
        for row in rows:
            for pair in itertools.pairwise(row):
                if len(tokens[pair[0]]) + len(tokens[pair[1]]) <= longest:
                    counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        for index, row in enumerate(rows):
            merged, i = [], 0
            while i < len(row):
                if tuple(row[i : i + 2]) == best:
                    merged.append(len(tokens))
                    i += 2
                else:
                    merged.append(row[i])
                    i += 1
            rows[index] = merged
        tokens.append(tokens[best[0]] + tokens[best[1]])
    return tokens


@pytest.mark.parametrize(("tokenizer", "by_hand"), [(LZW, lzw_by_hand), (BPE, bpe_by_hand)])
@pytest.mark.parametrize(("symbols", "size", "longest"), [(2, 20, 6), (3, 15, 3), (2, 4, 9), (2, 60, 3)])
def test_dictionaries_by_hand(tokenizer, by_hand, symbols, size, longest):
    """The last case asks for more tokens than there are: ids without a string have length 0."""
    streams = fc.get("markov", symbols=symbols, alpha=0.3, points=80).batch(jax.random.key(1), 4).ys
    found = tokenizer(size=size, longest=longest).fit(streams, symbols)
    strings = [tuple(s[:n].tolist()) for s, n in zip(*map(np.asarray, found), strict=True) if n]
    assert strings == by_hand(np.asarray(streams).tolist(), symbols, size, longest)
    assert strings[:symbols] == [(s,) for s in range(symbols)]
    assert np.all(np.asarray(found.strings)[np.asarray(found.lengths)[:, None] <= np.arange(longest)] == -1)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.name)
def test_decoding_gives_the_characters_back(tokenizer):
    dictionary = tokenizer.fit(STREAMS, 2)
    for seed in range(4):
        text = CHAIN.batch(jax.random.key(seed), 1).ys[0]
        tokens = 256 // tokenizer.most
        found = encode(dictionary, text, tokens)
        end = int(found.starts[-1] + dictionary.lengths[found.tokens[-1]])
        assert end <= tokens * tokenizer.most
        expected = np.where(np.arange(tokens * tokenizer.most) < end, text[: tokens * tokenizer.most], -1)
        np.testing.assert_array_equal(decode(dictionary, found.tokens), expected)


@pytest.mark.parametrize("tokenizer", TOKENIZERS[1:], ids=lambda t: t.name)
def test_no_longer_string_matches(tokenizer):
    """Greedy: no token is a strict prefix of a string of the dictionary that matches at its place."""
    dictionary = tokenizer.fit(STREAMS, 2)
    text = np.asarray(CHAIN.batch(jax.random.key(9), 1).ys[0])
    found = encode(dictionary, jnp.asarray(text), 40)
    known = {tuple(s[:n].tolist()) for s, n in zip(*map(np.asarray, dictionary), strict=True)}
    for token, start in zip(np.asarray(found.tokens), np.asarray(found.starts), strict=True):
        length = int(dictionary.lengths[token])
        assert tuple(text[start : start + length].tolist()) in known
        assert not any(tuple(text[start : start + more].tolist()) in known for more in range(length + 1, 7))


# Blocks of r characters on p = q = 0.1, order 1: [H(pi) + (r - 1) h] / r in nats per character [calc].
@pytest.mark.parametrize(("length", "nats"), [(1, 0.69315), (4, 0.41710), (8, 0.37109)])
def test_unigram_loss_of_blocks(length, nats):
    assert abs((CHAIN.unigram_entropy + (length - 1) * CHAIN.entropy_rate) / length - nats) < 1e-5
    task = fc.get("tokenized", base=CHAIN, tokenizer=Blocks(length=length), points=40)
    tokens = task.batch(jax.random.key(2), 1000).ys
    assert np.all(np.asarray(task.characters(tokens)) == length)
    each = unigram_of(np.asarray(tokens), length, 2**length)
    assert abs(each.mean() - nats) < 5 * each.std() / np.sqrt(len(each)) + 2**length / (2 * tokens.size * length)


def unigram_of(tokens, length, size):
    """Per stream, the loss of the frequencies of all streams; frequencies fitted to n tokens flatter by size / 2n."""
    shares = np.bincount(tokens.ravel(), minlength=size) / tokens.size
    return -np.log(np.maximum(shares, 1e-12))[tokens].mean(1) / length


@pytest.mark.parametrize(("lag", "length"), [(2, 2), (2, 4), (3, 6)])
def test_unigram_loss_of_blocks_of_a_switching_source(lag, length):
    """r >= k: [k ln 2 + (r - k) h] / r, where characters pay ln 2 whatever the k-gram below the lag."""
    base = fc.get("switching-lag", lag=lag, p=0.1, q=0.1)
    expected = (lag * np.log(2) + (length - lag) * float(base.entropy_rate)) / length
    tokens = fc.get("tokenized", base=base, tokenizer=Blocks(length=length), points=40).batch(jax.random.key(3), 800).ys
    each = unigram_of(np.asarray(tokens), length, 2**length)
    assert abs(each.mean() - expected) < 5 * each.std() / np.sqrt(len(each)) + 2**length / (2 * tokens.size * length)


def test_larger_dictionaries_bring_unigrams_to_the_entropy_rate():
    """LZW on p = q = 0.1: falls with the size, at 64 between the rate 0.325 and 0.40; never below the rate."""
    losses = []
    for size in (2, 4, 8, 16, 32, 64):
        tokenizer = LZW(size=size, longest=32)
        task = fc.get("tokenized", base=CHAIN, tokenizer=tokenizer, points=200, fit_streams=4, fit_points=1000)
        tokens = jax.jit(lambda t: t.batch(jax.random.key(4), 60).ys)(task)
        losses.append(float(unigram_nats_per_character(task.dictionary, tokens)))
    assert abs(losses[0] - np.log(2)) < 5e-3
    assert np.all(np.diff(losses) < 0)
    assert 0.325 < losses[-1] < 0.40


def test_characters_that_are_dropped_are_those_behind_the_last_token():
    task = fc.get("tokenized", points=5, tokenizer=LZW(size=8, longest=4))
    prompt = task.sample(jax.random.key(5))
    assert prompt.latent.characters.shape == (20,)
    lengths = np.asarray(task.characters(prompt.ys))
    np.testing.assert_array_equal(prompt.latent.starts, np.cumsum(lengths) - lengths)
    text = decode(task.dictionary, prompt.ys)[: lengths.sum()]
    np.testing.assert_array_equal(text, prompt.latent.characters[: lengths.sum()])
    mean = task.mean_characters(jax.random.key(6), 50)
    assert mean.shape == (5,)
    assert np.all((1 <= mean) & (mean <= 4))


def test_bayes_of_blocks_sums_to_the_evidence_of_the_characters():
    base = fc.get("markov", symbols=2, alpha=0.7)
    task = fc.get("tokenized", base=base, tokenizer=Blocks(length=3), points=6)
    prompt = task.sample(jax.random.key(7))
    text = fc.Prompt(jnp.zeros((18, 0)), prompt.latent.characters)
    np.testing.assert_allclose(task.log_evidence(prompt), base.log_evidence(text), rtol=1e-5)
    np.testing.assert_allclose(np.exp(task.bayes(prompt).log_probs).sum(-1), 1, rtol=1e-5)


def test_greedy_tokens_have_no_bayes_and_say_why():
    task = fc.get("tokenized", points=4)
    with pytest.raises(fc.NotAvailable, match="characters behind it"):
        task.bayes(task.sample(jax.random.key(8)))
    with pytest.raises(fc.ConfigError, match="only streams of symbols"):
        fc.get("tokenized", base="linear-regression")
