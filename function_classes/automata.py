"""Strings of random finite automata: in-context language learning (Akyurek et al. 2024)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import Problem, setting
from function_classes.pools import pooled
from function_classes.spaces import Symbols
from function_classes.streams import Stream


class Automaton(NamedTuple):
    """following[z, j] is the state after symbol j in state z, -1 where there is no such edge. Strings begin in 0."""

    following: Int[Array, "*m Z C"]


class Place(NamedTuple):
    """Where a string is: its state, and how many symbols it has."""

    state: Int[Array, ""]
    length: Int[Array, ""]


@FunctionClass.registry.add("dfa", papers=("akyurek-2024",))
class FiniteAutomaton(Stream):
    """Strings of one deterministic automaton per prompt, separated by the symbol `symbols`.

    An automaton has least_states..most_states states (uniform). Every state has 1..most_edges edges (uniform), with
    different symbols, each to a state drawn uniformly; sizes are the paper's. A string begins in state 0, follows
    uniform edges, and ends after every symbol with probability `stop`; then comes the separator. (The paper has 10 to
    20 strings below 50 symbols; geometric lengths make the law of streams independent of their length.)

    Automata come from a pool of `pool_size`, drawn by `pool_seed`: Bayes enumerates it, since each automaton's state is
    a function of the stream, and rules automata out where an edge is missing. With pool_size none every prompt has a
    fresh automaton, and the posterior has no closed form: the number of automata of n states is about (n symbols)^n.

    >>> task = FiniteAutomaton(points=12, symbols=3)
    >>> one = Automaton(jnp.array([[1, -1, -1], [0, 0, -1]]))
    >>> print(*(f"{p:.2f}" for p in jnp.exp(task._filter(one, jnp.array([0, 1])))[1]))
    0.45 0.45 0.00 0.10
    """

    lesson = "A missing edge rules an automaton out for good; short contexts tell the state only in part."

    points: int = setting(64, "symbols in a stream, separators among them", at_least=1)
    symbols: int = setting(6, "size of the alphabet, without the separator", at_least=1)
    least_states: int = setting(4, "fewest states of an automaton", at_least=1)
    most_states: int = setting(12, "most states of an automaton", at_least=1)
    most_edges: int = setting(3, "most edges of a state", at_least=1)
    stop: float = setting(0.1, "probability that a string ends after a symbol", above=0, below=1)
    pool_size: int | None = setting(64, "number of automata; none: a fresh one in every prompt", at_least=1)
    pool_seed: int = setting(0, "draws the pool", at_least=0, at_most=2**32 - 1)

    def problems(self):
        if self.most_states < self.least_states:
            yield Problem("most_states", f"must be at least least_states = {self.least_states}, got {self.most_states}")
        if self.most_edges > self.symbols:
            yield Problem(
                "most_edges", f"edges have different symbols: at most symbols = {self.symbols}, got {self.most_edges}"
            )

    @property
    def y_space(self) -> Symbols:
        return Symbols(self.symbols + 1)

    @property
    def bayes_kind(self) -> BayesKind:
        if self.pool_size is None:
            return BayesKind("none", "fresh automata are too many to enumerate; a pool of automata has a posterior")
        return BayesKind("exact", f"posterior over {self.pool_size} known automata")

    @property
    def pool(self) -> Automaton:
        """The automata, stacked along the first axis. NotAvailable where every prompt has its own."""
        if self.pool_size is None:
            raise NotAvailable(f"{self.name} has no pool: {self.bayes_kind.detail}")
        return jax.vmap(self._automaton)(jax.random.split(jax.random.key(self.pool_seed), self.pool_size))

    def sample_latent(self, key: PRNGKeyArray) -> Automaton:
        if self.pool_size is None:
            return self._automaton(key)
        index = jax.random.randint(key, (), 0, self.pool_size)
        return Automaton(self.pool.following[index])

    def sample_prompt(self, latent: Automaton, key: PRNGKeyArray) -> Prompt:
        def step(place, t):
            y = jax.random.categorical(jax.random.fold_in(key, t), self._law(latent, place)).astype(jnp.int32)
            return self._move(latent, place, y), y

        ys = jax.lax.scan(step, Place(jnp.int32(0), jnp.int32(0)), jnp.arange(self.points))[1]
        return Prompt(jnp.zeros((self.points, 0)), ys, latent)

    def bayes(self, prompt: Prompt) -> Prediction:
        each = jax.vmap(lambda automaton: self._filter(automaton, prompt.ys))(self.pool)
        return Prediction(log_probs=pooled(each, prompt.ys))

    def oracle(self, prompt: Prompt) -> Prediction:
        """The edges of the automaton that was drawn."""
        return Prediction(log_probs=self._filter(prompt.latent, prompt.ys))

    def _automaton(self, key: PRNGKeyArray) -> Automaton:
        size, degree, order, target = jax.random.split(key, 4)
        states = jax.random.randint(size, (), self.least_states, self.most_states + 1)
        degrees = jax.random.randint(degree, (self.most_states, 1), 1, self.most_edges + 1)
        shape = (self.most_states, self.symbols)
        rank = jnp.argsort(jax.random.uniform(order, shape), -1)
        targets = jax.random.randint(target, shape, 0, states)
        return Automaton(jnp.where(rank < degrees, targets, -1))

    def _filter(self, automaton: Automaton, ys: Int[Array, "P"]) -> Float[Array, "P C"]:
        def step(place, y):
            return self._move(automaton, place, y), self._law(automaton, place)

        return jax.lax.scan(step, Place(jnp.int32(0), jnp.int32(0)), ys)[1]

    def _law(self, automaton: Automaton, place: Place) -> Float[Array, "C"]:
        """Log probabilities of the next symbol, or of the end: no string is empty."""
        state, length = place
        edges = automaton.following[state] >= 0
        end = jnp.where(length > 0, self.stop, 0.0)
        each = jnp.where(edges, (1 - end) / jnp.sum(edges.astype(jnp.float32)), 0.0)
        return jnp.log(jnp.append(each, end))

    def _move(self, automaton: Automaton, place: Place, y: Int[Array, ""]) -> Place:
        """Where a symbol leads. Without an edge the state stays: its law no longer counts."""
        state, length = place
        ended = y == self.symbols
        following = automaton.following[state, jnp.minimum(y, self.symbols - 1)]
        moved = jnp.where(following < 0, state, following)
        return Place(jnp.where(ended, 0, moved), jnp.where(ended, 0, length + 1))
