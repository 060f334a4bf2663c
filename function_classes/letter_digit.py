"""Look up a letter's digit, or admit that it was never shown: the in-context task of Friedman et al. 2023."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.spaces import Symbols
from function_classes.streams import Stream


@FunctionClass.registry.add("letter-digit", papers=("friedman-2023",))
class LetterDigit(Stream):
    """Streams c1 m(c1) c2 m(c2) ... with a fresh map m from letters to digits (with replacement) and letters iid.

    Symbols are the letters 0..n-1, the digits n..2n-1 and "unknown" 2n. Half of the streams begin with one random
    digit, which shifts every pair by one, so that position says nothing about what comes next. Only what follows a
    letter c is scored: the target is m(c) if c was shown with its digit before, else "unknown" (although the stream
    goes on with m(c)). Targets are a function of the past: the optimal accuracy is 1. Always answering "unknown" is
    right on the j-th letter with probability (1 - 1/n)^(j-1).

    The start token of the paper is the layout's business.

    >>> LetterDigit(points=6, letters=2).sample(jax.random.key(2))
    Prompt(xs (6, 0), ys (6,))
      k  y  target
      0  0  0  (not scored)
      1  3  4
      2  0  0  (not scored)
      3  3  3
      4  1  1  (not scored)
      5  2  4
    """

    lesson = (
        "What follows a letter is known exactly once the letter has been seen: an induction head suffices, "
        "counts do not."
    )

    points: int = setting(10, "symbols in a stream", at_least=1)
    letters: int = setting(4, "number n of letters, and of digits", at_least=1)

    @property
    def y_space(self) -> Symbols:
        return Symbols(2 * self.letters + 1)

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "targets are determined by what was shown")

    @property
    def unknown(self) -> int:
        """The symbol that stands for "never shown"."""
        return 2 * self.letters

    def sample_latent(self, key: PRNGKeyArray) -> Int[Array, "N"]:
        """The digit symbol of every letter."""
        return jax.random.randint(key, (self.letters,), self.letters, 2 * self.letters)

    def sample_prompt(self, latent: Int[Array, "N"], key: PRNGKeyArray) -> Prompt:
        begin, first, choose = jax.random.split(key, 3)
        offset = jax.random.bernoulli(begin).astype(jnp.int32)
        extra = jax.random.randint(first, (), self.letters, 2 * self.letters)
        chosen = jax.random.randint(choose, (self.points,), 0, self.letters)
        position = jnp.arange(self.points)
        is_letter = (position >= offset) & ((position - offset) % 2 == 0)
        asked = jnp.roll(chosen, 1)
        answer = jnp.where(position == 0, extra, latent[asked])
        ys = jnp.where(is_letter, chosen, answer)
        answered = is_letter[None, :] & (position[None, :] < position[:, None] - 1)
        shown = jnp.any(answered & (chosen[None, :] == asked[:, None]), 1)
        scored = ~is_letter & (position > 0)
        targets = jnp.where(scored & ~shown, self.unknown, ys)
        return Prompt(jnp.zeros((self.points, 0)), ys, latent, targets, scored.astype(jnp.float32))

    def bayes(self, prompt: Prompt) -> Prediction:
        """Log probabilities (P, C) of the target: a point mass after a letter, else the law of the next symbol."""
        memory, previous = self._memories(prompt.ys)
        known = jnp.take_along_axis(memory, jnp.clip(previous, 0, self.letters - 1)[:, None], 1)[:, 0]
        answer = jnp.log(self.y_space.encode(jnp.where(known < 0, self.unknown, known)))
        return Prediction(log_probs=jnp.where(self._is_letter(previous)[:, None], answer, self._unasked(previous)))

    def oracle(self, prompt: Prompt) -> Prediction:
        """The same as Bayes: no target asks for more of the map than was shown."""
        return self.bayes(prompt)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        """Of the symbols shown: the digit of a new letter is uniform over digits, one that was shown is certain."""
        memory, previous = self._memories(prompt.ys)
        known = jnp.take_along_axis(memory, jnp.clip(previous, 0, self.letters - 1)[:, None], 1)[:, 0]
        digit = (prompt.ys >= self.letters) & (prompt.ys < self.unknown)
        fresh = jnp.where(digit, -jnp.log(self.letters), -jnp.inf)
        answer = jnp.where(known < 0, fresh, jnp.where(prompt.ys == known, 0.0, -jnp.inf))
        unasked = jnp.take_along_axis(self._unasked(previous), prompt.ys[:, None], 1)[:, 0]
        return jnp.where(self._is_letter(previous), answer, unasked)

    def _is_letter(self, symbols: Int[Array, "*p"]) -> Bool[Array, "*p"]:
        return (symbols >= 0) & (symbols < self.letters)

    def _unasked(self, previous: Int[Array, "P"]) -> Float[Array, "P C"]:
        """The next symbol where no letter came before: a letter, or at the very start a letter or a digit."""
        n = self.letters
        letter = jnp.concatenate([jnp.full(n, 1 / n), jnp.zeros(n + 1)])
        start = jnp.concatenate([jnp.full(2 * n, 0.5 / n), jnp.zeros(1)])
        return jnp.log(jnp.where((previous < 0)[:, None], start[None, :], letter[None, :]))

    def _memories(self, ys: Int[Array, "P"]) -> tuple[Int[Array, "P N"], Int[Array, "P"]]:
        """Before every position: the digit shown with each letter (-1: none yet), and the last symbol (-1: none)."""

        def step(carry, y):
            memory, previous = carry
            told = memory.at[jnp.where(self._is_letter(previous), previous, self.letters)].set(y, mode="drop")
            return (told, y), (memory, previous)

        start = jnp.full(self.letters, -1, ys.dtype), jnp.asarray(-1, ys.dtype)
        return jax.lax.scan(step, start, ys)[1]
