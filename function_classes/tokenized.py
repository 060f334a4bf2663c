"""A stream of symbols seen through a tokenizer: Toward a Theory of Tokenization (Rajaraman et al. 2024)."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import Problem, setting
from function_classes.fixed_markov import SwitchingLag
from function_classes.spaces import Nothing, Symbols
from function_classes.streams import Stream
from function_classes.tokenizers import LZW, Blocks, Dictionary, Tokenizer, encode


class Text(NamedTuple):
    """The task of the base class, and the first character of every token; `characters` holds all that were drawn."""

    base: PyTree
    characters: Int[Array, "N"]
    starts: Int[Array, "P"]


@FunctionClass.registry.add("tokenized", papers=("rajaraman-2024b",))
class Tokenized(Stream):
    """Tokens of a base stream: `points` tokens by the greedy encoder, from points L characters, L the longest token.

    Whatever the tokens are, that many characters suffice; those behind the last token are dropped, at least 0 and
    points (L - 1) at most. The dictionary is fitted to `fit_streams` streams of `fit_points` characters of the base
    class, drawn by `fit_seed`.

    Losses are per token. Per CHARACTER: divide a loss summed (or averaged) over tokens by the sum (or mean) of
    `characters(prompt.ys)`; by position, divide the mean loss by `mean_characters(key, prompts)`. Only per character
    do dictionaries of different sizes compare.

    Blocks have a Bayes predictor where the base has one: p(block) is the base's p(its characters), one after another,
    at points symbols^length passes of the base. Tokens of the greedy encoder have none: that a token ended says that
    the characters behind it continue no longer one, which a base predictor is not asked for.

    >>> task = Tokenized(points=3, tokenizer=Blocks(length=2))
    >>> print(task.characters(task.sample(jax.random.key(0)).ys))
    [2 2 2]
    """

    lesson = "Per character, unigram counts of long tokens come near an entropy rate that symbols hide behind a lag."

    points: int = setting(32, "tokens in a stream", at_least=1)
    base: FunctionClass = setting(SwitchingLag(), "the stream of characters; its points follow from the tokens")
    tokenizer: Tokenizer = setting(LZW(), "how the dictionary is made")
    fit_streams: int = setting(8, "streams that the dictionary is fitted to", at_least=1)
    fit_points: int = setting(256, "characters of each of those streams", at_least=1)
    fit_seed: int = setting(0, "draws those streams", at_least=0, at_most=2**32 - 1)

    def __check_init__(self):
        # Equinox runs this before the checks of `Fields`, so parts may still be plain descriptions.
        if isinstance(self.base, FunctionClass) and isinstance(self.tokenizer, Tokenizer):
            needed = self.points * self.tokenizer.most
            if self.base.points != needed:
                object.__setattr__(self, "base", dataclasses.replace(self.base, points=needed))

    def problems(self):
        if not isinstance(self.base.x_space, Nothing) or not isinstance(self.base.y_space, Symbols):
            yield Problem("base", f"only streams of symbols have tokens, and {self.base.name} is none")

    @property
    def y_space(self) -> Symbols:
        return Symbols(self.tokenizer.vocabulary(self._symbols))

    @property
    def bayes_kind(self) -> BayesKind:
        if not isinstance(self.tokenizer, Blocks):
            return BayesKind("none", "that a token ended is evidence about the characters behind it; blocks have Bayes")
        return self.base.bayes_kind

    @property
    def dictionary(self) -> Dictionary:
        """The strings of the tokens."""
        base = dataclasses.replace(self.base, points=self.fit_points)
        return self.tokenizer.fit(base.batch(jax.random.key(self.fit_seed), self.fit_streams).ys, self._symbols)

    def characters(self, tokens: Int[Array, "*n"]) -> Int[Array, "*n"]:
        """How many characters each token has."""
        return self.dictionary.lengths[tokens]

    def mean_characters(self, key: PRNGKeyArray, prompts: int) -> Float[Array, "P"]:
        """Mean number of characters of the token at every position, from that many prompts."""
        return jnp.mean(self.characters(self.batch(key, prompts).ys).astype(jnp.float32), 0)

    def sample_latent(self, key: PRNGKeyArray) -> PyTree:
        """The task of the base class; a prompt's latent is a `Text`."""
        return self.base.sample_latent(key)

    def sample_prompt(self, latent: PyTree, key: PRNGKeyArray) -> Prompt:
        text = self.base.sample_prompt(latent, key)
        found = encode(self.dictionary, text.ys, self.points)
        return Prompt(jnp.zeros((self.points, 0)), found.tokens, Text(text.latent, text.ys, found.starts))

    def bayes(self, prompt: Prompt) -> Prediction:
        """For blocks: log p(block b at k) = sum of the base's log predictives along b after the characters so far."""
        return Prediction(log_probs=self._blocks(prompt, None, self.base.log_predictive))

    def oracle(self, prompt: Prompt) -> Prediction:
        """For blocks: the same with the base's oracle."""

        def known(text: Prompt) -> Float[Array, "N"]:
            log_probs = self.base.oracle(text).as_log_probs(self.base.y_space)
            return jnp.take_along_axis(log_probs, text.ys[:, None], 1)[:, 0]

        return Prediction(log_probs=self._blocks(prompt, prompt.latent.base, known))

    def _blocks(
        self, prompt: Prompt, latent: PyTree, log_probs: Callable[[Prompt], Float[Array, "N"]]
    ) -> Float[Array, "P C"]:
        """Log probabilities of all blocks at every position, from those of characters along a stream."""
        if not isinstance(self.tokenizer, Blocks):
            raise NotAvailable(f"{self.name} has no Bayes predictor: {self.bayes_kind.detail}")
        length, strings = self.tokenizer.length, self.dictionary.strings
        text = strings[prompt.ys].reshape(-1)
        places = jnp.arange(text.shape[0])

        def position(k):
            def block(string):
                # What comes later is cut off before the base sees it.
                known = jnp.where(places < k * length, text, 0)
                stream = jax.lax.dynamic_update_slice(known, string, (k * length,))
                logs = log_probs(Prompt(jnp.zeros((text.shape[0], 0)), stream, latent))
                return jnp.sum(jax.lax.dynamic_slice(logs, (k * length,), (length,)))

            return jax.vmap(block)(strings)

        return jax.lax.map(position, jnp.arange(prompt.points))

    @property
    def _symbols(self) -> int:
        space = self.base.y_space
        assert isinstance(space, Symbols)
        return space.n
