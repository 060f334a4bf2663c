"""In-context Markov chains: every stream has its own transition table (Edelman et al. 2024, Makkuva et al. 2024)."""

from collections.abc import Iterable
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
    stationary_contexts,
)
from function_classes.counts import kgram_log_probs
from function_classes.fields import Problem, setting
from function_classes.stationary_rows import ERROR, TABLES, stationary_log_probs
from function_classes.streams import SymbolStream


@FunctionClass.registry.add("markov", papers=("edelman-2024", "makkuva-2024", "rajaraman-2024"))
class Markov(SymbolStream):
    """A chain of order k over `symbols` symbols with rows P_s ~ Dirichlet(alpha 1), independent for every context s.

    With a uniform start the first k symbols say nothing about the rows, and Bayes is exactly the add-alpha k-gram:
    alpha = 1 is Laplace's rule, alpha = 1/2 Krichevsky and Trofimov's. With a stationary start, as in the papers, they
    do, the posterior is not conjugate, and Bayes weights tables by their stationary law; the two differ by O(1/t). The
    mean row entropy is psi(S alpha + 1) - psi(alpha + 1) nats.

    >>> task = Markov(points=4, symbols=2)
    >>> stream = Prompt(jnp.zeros((4, 0)), jnp.array([0, 0, 0, 0]))
    >>> print(*(f"{p:.3f}" for p in jnp.exp(task.bayes(stream).log_probs[:, 0])))
    0.500 0.500 0.667 0.750
    """

    lesson = "Add-alpha counts of the right order are Bayes; fewer orders keep a gap, more learn slowly."

    points: int = setting(32, "symbols in a stream", at_least=1)
    symbols: int = setting(3, "size of the alphabet", at_least=2)
    order: int = setting(1, "how many symbols the next one depends on", at_least=0, at_most=64)
    alpha: float = setting(1.0, "Dirichlet concentration of every transition row", above=0)
    start: Literal["uniform", "stationary"] = setting("uniform", "law of the first symbol", absent="uniform")

    def problems(self):
        yield from too_large(self.symbols, self.order)
        if self.start == "stationary" and self.order != 1:
            yield Problem("start", f"'stationary' needs order 1, got {self.order}; use 'uniform'")
        elif self.start == "stationary" and self.symbols > LARGEST_STATIONARY:
            yield Problem("start", f"'stationary' needs at most {LARGEST_STATIONARY} symbols, got {self.symbols}")

    @property
    def exchangeable(self) -> bool:
        return self.order == 0

    @property
    def bayes_kind(self) -> BayesKind:
        if self.start == "stationary":
            how = f"{TABLES} tables of the Dirichlet posterior, weighted by the stationary law of the first symbol"
            return BayesKind("monte-carlo", how, ERROR)
        return BayesKind("exact", "conjugate Dirichlet rows, uniform start")

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "N C"]:
        """The transition table: row `context_codes(...)` is the law of the next symbol."""
        concentration = self.alpha * jnp.ones(self.symbols)
        return jax.random.dirichlet(key, concentration, (self.symbols**self.order,))

    def sample_prompt(self, latent: Float[Array, "N C"], key: PRNGKeyArray) -> Prompt:
        """A stream of `points` symbols; symbol t depends on (key, t) and the context alone."""
        return chain_prompt(latent, latent, self.order, self.points, key, self._first(latent))

    def bayes(self, prompt: Prompt) -> Prediction:
        if self.start == "uniform":
            return Prediction(log_probs=kgram_log_probs(prompt.ys, self.symbols, self.order, self.alpha))
        starts = jnp.arange(prompt.points) == 0
        previous = jnp.concatenate([jnp.zeros(1, prompt.ys.dtype), prompt.ys[:-1]])
        return Prediction(log_probs=stationary_log_probs(previous, starts, prompt.ys, self.symbols, self.alpha))

    def oracle(self, prompt: Prompt) -> Prediction:
        """The true transition rows, log (P, C); the law of the start at the first `order` symbols."""
        first = self._first(prompt.latent)
        return Prediction(log_probs=chain_log_probs(prompt.ys, prompt.latent, self.order, first))

    def _first(self, table: Float[Array, "N C"]) -> Float[Array, "N"] | None:
        return stationary_contexts(table, self.order) if self.start == "stationary" else None


def too_large(symbols: int, order: int) -> Iterable[Problem]:
    """The problem of a transition table that would not fit."""
    if symbols ** (order + 1) > LARGEST_TABLE:
        size = f"{symbols}^{order + 1}"
        yield Problem("order", f"the transition table would have {size} entries, at most {LARGEST_TABLE}")
