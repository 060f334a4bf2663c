"""Dictionaries of strings and the greedy encoder: Toward a Theory of Tokenization (Rajaraman et al. 2024).

A dictionary maps token ids to strings of at most `longest` characters. Encoding takes, from left to right, the longest
string of the dictionary that matches; decoding concatenates. Fitting and encoding are arrays of fixed sizes all the
way, so they run inside compiled programs and with base classes whose fields are traced.
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from function_classes.fields import Fields, setting
from function_classes.registry import Registry


class Dictionary(NamedTuple):
    """Row v is the string of token v, -1 behind its end. Ids that fitting could not fill have length 0, match nothing
    and never occur."""

    strings: Int[Array, "V L"]
    lengths: Int[Array, "V"]


class Encoded(NamedTuple):
    """Token ids, and where each begins among the characters."""

    tokens: Int[Array, "T"]
    starts: Int[Array, "T"]


def encode(dictionary: Dictionary, characters: Int[Array, "N"], tokens: int) -> Encoded:
    """The first `tokens` tokens of the greedy encoding; among equal strings the lowest id.

    Every token is at most L characters, so N >= tokens L are always enough, and the last window is complete. Characters
    behind the last token are dropped: N - (start + length of the last token) of them. Cost O(tokens V L).
    """
    longest = dictionary.strings.shape[1]
    padded = jnp.concatenate([characters, jnp.full(longest, -1, characters.dtype)])
    free = jnp.arange(longest)[None, :] >= dictionary.lengths[:, None]

    def step(start, _):
        window = jax.lax.dynamic_slice(padded, (start,), (longest,))
        matches = jnp.all(free | (window[None, :] == dictionary.strings), -1) & (dictionary.lengths > 0)
        token = jnp.argmax(jnp.where(matches, dictionary.lengths, 0)).astype(jnp.int32)
        return start + dictionary.lengths[token], (token, start)

    tokens_, starts = jax.lax.scan(step, jnp.int32(0), None, length=tokens)[1]
    return Encoded(tokens_, starts)


def decode(dictionary: Dictionary, tokens: Int[Array, "T"]) -> Int[Array, "N"]:
    """The characters of the tokens one after another, N = T L; -1 behind the last one."""
    longest = dictionary.strings.shape[1]
    lengths = dictionary.lengths[tokens]
    starts = jnp.cumsum(lengths) - lengths
    total = tokens.shape[0] * longest
    offsets = jnp.arange(longest)[None, :]
    places = jnp.where(offsets < lengths[:, None], starts[:, None] + offsets, total)
    return jnp.full(total, -1, jnp.int32).at[places.ravel()].set(dictionary.strings[tokens].ravel(), mode="drop")


def unigram_nats_per_character(dictionary: Dictionary, tokens: Int[Array, "*n"]) -> Float[Array, ""]:
    """What the best unigram model over these tokens pays per CHARACTER: entropy of their frequencies, divided by their
    mean length. (Per token, larger dictionaries always look worse.)"""
    counts = jnp.bincount(tokens.ravel(), length=dictionary.lengths.shape[0]).astype(jnp.float32)
    shares = counts / jnp.sum(counts)
    nats = -jnp.sum(jnp.where(shares > 0, shares * jnp.log(jnp.where(shares > 0, shares, 1.0)), 0.0))
    return nats / jnp.sum(shares * dictionary.lengths.astype(jnp.float32))


class Tokenizer(Fields):
    """Says how many tokens there are and how long the longest is, and fits a dictionary to streams of symbols."""

    registry: ClassVar[Registry] = Registry("tokenizer", "function_classes", "icl.tokenizers")

    def vocabulary(self, symbols: int) -> int:
        """Number of token ids."""
        raise NotImplementedError

    @property
    def most(self) -> int:
        """Characters of the longest token."""
        raise NotImplementedError

    def fit(self, streams: Int[Array, "B N"], symbols: int) -> Dictionary:
        """The dictionary for these streams; the same streams give the same dictionary."""
        raise NotImplementedError


@Tokenizer.registry.add("blocks", papers=("rajaraman-2024b",))
class Blocks(Tokenizer):
    """All strings of `length` characters, numbered in base `symbols`; nothing is fitted."""

    length: int = setting(2, "characters in every token", at_least=1)

    def vocabulary(self, symbols: int) -> int:
        return symbols**self.length

    @property
    def most(self) -> int:
        return self.length

    def fit(self, streams: Int[Array, "B N"], symbols: int) -> Dictionary:
        places = jnp.array([symbols**n for n in range(self.length - 1, -1, -1)], jnp.int32)
        strings = jnp.arange(self.vocabulary(symbols))[:, None] // places[None, :] % symbols
        return Dictionary(strings, jnp.full(strings.shape[0], self.length, jnp.int32))


class _Grown(Tokenizer):
    """Dictionaries that begin with the single characters and grow."""

    size: int = setting(16, "number of tokens, single characters among them", at_least=2)
    longest: int = setting(12, "most characters in a token; longer candidates are passed over", at_least=1)

    def vocabulary(self, symbols: int) -> int:
        return max(self.size, symbols)

    @property
    def most(self) -> int:
        return self.longest

    def _characters(self, symbols: int) -> Dictionary:
        size = self.vocabulary(symbols)
        strings = jnp.full((size, self.longest), -1, jnp.int32).at[:symbols, 0].set(jnp.arange(symbols))
        return Dictionary(strings, (jnp.arange(size) < symbols).astype(jnp.int32))


@Tokenizer.registry.add("lzw", papers=("rajaraman-2024b",))
class LZW(_Grown):
    """Lempel, Ziv and Welch: read the longest known phrase, add it with the next symbol, go on from that symbol; until
    there are `size` phrases. Every prefix of a phrase is a phrase. A phrase ends with its stream."""

    def fit(self, streams: Int[Array, "B N"], symbols: int) -> Dictionary:
        start = self._characters(symbols)
        size = self.vocabulary(symbols)
        children = jnp.full((size, symbols), -1, jnp.int32)

        def step(carry, now):
            dictionary, children, count, node = carry
            y, first = now
            known = children[node, y]
            length = dictionary.lengths[node]
            add = ~first & (known < 0) & (count < size) & (length < self.longest)
            place = jnp.where(add, count, size)
            string = dictionary.strings[node].at[length].set(y, mode="drop")
            grown = Dictionary(
                dictionary.strings.at[place].set(string, mode="drop"),
                dictionary.lengths.at[place].set(length + 1, mode="drop"),
            )
            children = children.at[jnp.where(add, node, size), y].set(count, mode="drop")
            node = jnp.where(first | (known < 0), y, known)
            return (grown, children, count + add.astype(jnp.int32), node), None

        firsts = jnp.broadcast_to(jnp.arange(streams.shape[1])[None, :] == 0, streams.shape)
        begin = (start, children, jnp.int32(symbols), jnp.int32(0))
        return jax.lax.scan(step, begin, (streams.ravel(), firsts.ravel()))[0][0]


@Tokenizer.registry.add("bpe", papers=("rajaraman-2024b",))
class BPE(_Grown):
    """Byte-pair encoding: merge the most frequent pair of neighboring tokens, everywhere, until there are `size`.

    Of equally frequent pairs the one with the lowest ids; in a run of one token, pairs from its left end. Encoding is
    greedy all the same, not by replaying the merges (sequential BPE).
    """

    def fit(self, streams: Int[Array, "B N"], symbols: int) -> Dictionary:
        size = self.vocabulary(symbols)

        def merge(new, carry):
            dictionary, rows = carry
            left, right = rows[:, :-1], rows[:, 1:]
            lengths = dictionary.lengths
            fits = lengths[:, None] + lengths[None, :] <= self.longest
            both = (left >= 0) & (right >= 0)
            pairs = jnp.where(both, left * size + right, size * size)
            counts = jnp.zeros(size * size, jnp.int32).at[pairs.ravel()].add(1, mode="drop")
            counts = jnp.where(fits.ravel(), counts, 0)
            best = jnp.argmax(counts)
            some = counts[best] > 0
            first, second = best // size, best % size
            offsets = jnp.arange(self.longest)
            tail = dictionary.strings[second, jnp.clip(offsets - lengths[first], 0, self.longest - 1)]
            string = jnp.where(offsets < lengths[first], dictionary.strings[first], tail)
            length = lengths[first] + lengths[second]
            string = jnp.where(offsets < length, string, -1)
            place = jnp.where(some, new, size)
            grown = Dictionary(
                dictionary.strings.at[place].set(string, mode="drop"), lengths.at[place].set(length, mode="drop")
            )
            merged = jax.vmap(lambda row: _merge(row, first, second, new))(rows)
            return grown, jnp.where(some, merged, rows)

        return jax.lax.fori_loop(symbols, size, merge, (self._characters(symbols), streams))[0]


def _merge(row: Int[Array, "N"], first: Int[Array, ""], second: Int[Array, ""], new: Int[Array, ""]) -> Int[Array, "N"]:
    """Every pair (first, second) replaced by `new`, from the left, without overlaps; -1 fills the end."""
    places = jnp.arange(row.shape[0])
    match = (row == first) & (jnp.append(row[1:], -1) == second)
    # Only a pair of equal tokens can overlap itself: of a run of matches every other one is taken.
    before = jax.lax.cummax(jnp.where(match, -1, places))
    taken = match & ((places - before) % 2 == 1)
    gone = jnp.concatenate([jnp.zeros(1, bool), taken[:-1]])
    kept = jnp.where(taken, new, row)
    target = jnp.where(gone | (row < 0), row.shape[0], jnp.cumsum(~gone) - 1)
    return jnp.full_like(row, -1).at[target].set(kept, mode="drop")
