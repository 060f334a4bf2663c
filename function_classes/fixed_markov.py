"""One Markov chain for all streams: Attention with Markov (Makkuva et al. 2024), and switching sources of lag k."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.chains import (
    LARGEST_STATIONARY,
    LARGEST_TABLE,
    chain_log_probs,
    chain_prompt,
    entropy,
    entropy_rate,
    stationary_contexts,
    symbol_law,
)
from function_classes.fields import Problem, setting
from function_classes.markov import too_large
from function_classes.spaces import Symbols
from function_classes.streams import Stream


class KnownChain(Stream):
    """A chain that is the same in every prompt: Bayes knows it, and predicts the row of the context.

    A subclass says what `table` is, how many symbols make a context, and the law of the `first` context.
    """

    @property
    def context(self) -> int:
        """How many symbols the next one depends on."""
        raise NotImplementedError

    @property
    def table(self) -> Float[Array, "N C"]:
        """Row `context_codes(...)` is the law of the next symbol."""
        raise NotImplementedError

    @property
    def contexts(self) -> Float[Array, "N"]:
        """The stationary law of contexts."""
        raise NotImplementedError

    @property
    def first(self) -> Float[Array, "N"] | None:
        """The law of the first context; None is uniform."""
        return self.contexts

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "the chain is known")

    @property
    def entropy_rate(self) -> Float[Array, ""]:
        """Nats per symbol that no predictor can do without, in the stationary law."""
        return entropy_rate(self.table, self.contexts)

    @property
    def unigram_entropy(self) -> Float[Array, ""]:
        """Nats per symbol of the best predictor that looks at no context: H(pi)."""
        return entropy(symbol_law(self.contexts, self.table.shape[1]) if self.context else self.table[0])

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "N C"]:
        """The transition table, always the same."""
        return self.table

    def sample_prompt(self, latent: Float[Array, "N C"], key: PRNGKeyArray) -> Prompt:
        return chain_prompt(latent, latent, self.context, self.points, key, self.first)

    def bayes(self, prompt: Prompt) -> Prediction:
        return Prediction(log_probs=chain_log_probs(prompt.ys, self.table, self.context, self.first))

    def oracle(self, prompt: Prompt) -> Prediction:
        """The same as Bayes: there is one task."""
        return self.bayes(prompt)


def flips(p: Float[Array, ""] | float, q: Float[Array, ""] | float) -> Float[Array, "2 2"]:
    """The binary chain with p = P(0 -> 1) and q = P(1 -> 0)."""
    return jnp.stack([jnp.stack([1 - jnp.asarray(p), jnp.asarray(p)]), jnp.stack([jnp.asarray(q), 1 - jnp.asarray(q)])])


@FunctionClass.registry.add("fixed-markov", papers=("makkuva-2024",))
class FixedMarkov(KnownChain):
    """Streams of one chain: binary with P(0 -> 1) = p and P(1 -> 0) = q, or with rows drawn once by `chain_seed`.

    The first symbols follow the stationary law, pi_1 = p / (p + q) for two symbols (the papers' code has it the other
    way round for order k), or are uniform. Bayes is the row of the context: nothing is learned in context. A predictor
    that ignores the context pays H(pi) instead of the entropy rate h. Makkuva et al. 2024: with tied embeddings and
    p + q > 1 training may stall there.

    >>> task = FixedMarkov(points=3, p=0.2, q=0.3)
    >>> print(f"{task.unigram_entropy:.5f} {task.entropy_rate:.5f}")
    0.67301 0.54459
    """

    lesson = (
        "One chain for all prompts: nothing to infer in context; unigram entropy is the plateau, the rate the floor."
    )

    points: int = setting(64, "symbols in a stream", at_least=1)
    p: float = setting(0.2, "P(0 -> 1); read without a chain_seed", above=0, at_most=1)
    q: float = setting(0.3, "P(1 -> 0); read without a chain_seed", above=0, at_most=1)
    chain_seed: int | None = setting(
        None, "draws the rows; none: the binary chain of p and q", at_least=0, at_most=2**32 - 1
    )
    symbols: int = setting(2, "size of the alphabet; above 2 only with a chain_seed", at_least=2)
    order: int = setting(
        1, "how many symbols the next one depends on; not 1 only with a chain_seed", at_least=0, at_most=64
    )
    alpha: float = setting(1.0, "Dirichlet concentration of rows drawn by chain_seed", above=0)
    start: Literal["stationary", "uniform"] = setting("stationary", "law of the first symbols")

    @property
    def unread(self) -> frozenset[str]:
        return frozenset(("alpha",) if self.chain_seed is None else ("p", "q"))

    def problems(self):
        yield from too_large(self.symbols, self.order)
        if self.chain_seed is None and (self.symbols, self.order) != (2, 1):
            yield Problem("chain_seed", "p and q describe 2 symbols at order 1; other chains are drawn: give a seed")
        if self.start == "stationary" and self.symbols**self.order > LARGEST_STATIONARY:
            size = f"{self.symbols}^{self.order} contexts"
            yield Problem(
                "start", f"'stationary' needs at most {LARGEST_STATIONARY} contexts, got {size}; use 'uniform'"
            )

    @property
    def y_space(self) -> Symbols:
        return Symbols(self.symbols)

    @property
    def context(self) -> int:
        return self.order

    @property
    def table(self) -> Float[Array, "N C"]:
        if self.chain_seed is None:
            return flips(self.p, self.q)
        concentration = self.alpha * jnp.ones(self.symbols)
        return jax.random.dirichlet(jax.random.key(self.chain_seed), concentration, (self.symbols**self.order,))

    @property
    def contexts(self) -> Float[Array, "N"]:
        return stationary_contexts(self.table, self.order)

    @property
    def first(self) -> Float[Array, "N"] | None:
        return self.contexts if self.start == "stationary" else None


@FunctionClass.registry.add("switching-lag", papers=("rajaraman-2024b",))
class SwitchingLag(KnownChain):
    """Binary streams where y_t depends on y_{t-lag} alone: P(1 | 0) = p, P(0 | 1) = q; `lag` interleaved chains.

    The first `lag` symbols are independent with the stationary law pi_1 = p / (p + q). Every k-gram with k < lag sees
    independent symbols, so it pays H(pi), which is ln 2 for p = q, while the entropy rate goes to 0 with p and q.
    Tokens of r >= lag symbols bring even a unigram model to [lag H(pi) + (r - lag) h] / r nats per symbol.

    >>> task = SwitchingLag(points=3, lag=2, p=0.1, q=0.1)
    >>> print(f"{task.unigram_entropy:.5f} {task.entropy_rate:.5f}")
    0.69315 0.32508
    """

    lesson = "Contexts shorter than the lag see independent coins; one symbol at the right distance is all there is."

    points: int = setting(64, "symbols in a stream", at_least=1)
    lag: int = setting(2, "how far back the symbol is that decides", at_least=1, at_most=100_000)
    p: float = setting(0.1, "P(0 -> 1) over the lag", above=0, at_most=1)
    q: float = setting(0.1, "P(1 -> 0) over the lag", above=0, at_most=1)

    def problems(self):
        if 2 ** (self.lag + 1) > LARGEST_TABLE:
            yield Problem("lag", f"its table would have 2^{self.lag + 1} entries, at most {LARGEST_TABLE}")

    @property
    def y_space(self) -> Symbols:
        return Symbols(2)

    @property
    def context(self) -> int:
        return self.lag

    @property
    def table(self) -> Float[Array, "N C"]:
        return jnp.repeat(flips(self.p, self.q), 2 ** (self.lag - 1), 0)

    @property
    def contexts(self) -> Float[Array, "N"]:
        """Products of the stationary law of one chain: the interleaved chains are independent."""
        single = jnp.stack([jnp.asarray(self.q), jnp.asarray(self.p)]) / (self.p + self.q)
        law = jnp.ones(1)
        for _ in range(self.lag):
            law = (law[:, None] * single[None, :]).reshape(-1)
        return law
