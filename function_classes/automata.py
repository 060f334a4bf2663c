"""Strings of random finite automata: in-context language learning (Akyurek et al. 2024)."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import Problem, setting
from function_classes.pools import pooled
from function_classes.spaces import Symbols
from function_classes.streams import Stream

# Where separators do not count the best prediction gives them nothing; a little, so that every loss is finite.
UNSCORED = 1e-6


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
    different symbols. A string begins in state 0 and follows uniform edges; then comes the separator. `sampler` says
    where edges lead and when strings end:

    free    to a state drawn uniformly; a string ends after every symbol with probability `stop`, so that the law of
            streams does not depend on their length. Every symbol and separator counts. This is ours; the numbers of
            states and edges are the paper's.
    paper   as the authors' code does (their `symbols` are 18, their strings at most 49 long): an automaton has its own
            alphabet, most_edges + 1 to `symbols` of the symbols; edges of a state lead to different states and never
            back to it; the automaton is minimized, which changes its states and not its strings. Lengths are uniform
            from 1 to `longest`. Separators do not count, so that the best prediction is of the symbol that comes if one
            comes: Bayes gives the separator 1e-6 there. (The authors pad prompts of 10 to 19 strings; here strings
            follow one another until the stream is full.)

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
    stop: float = setting(0.1, "probability that a string ends after a symbol; sampler free", above=0, below=1)
    pool_size: int | None = setting(64, "number of automata; none: a fresh one in every prompt", at_least=1)
    pool_seed: int = setting(0, "draws the pool", at_least=0, at_most=2**32 - 1)
    sampler: Literal["free", "paper"] = setting("free", "where edges lead, how strings end", absent="free")
    longest: int = setting(49, "most symbols of a string; sampler paper", at_least=1, absent=49)

    def problems(self):
        if self.most_states < self.least_states:
            yield Problem("most_states", f"must be at least least_states = {self.least_states}, got {self.most_states}")
        if self.most_edges > self.symbols:
            yield Problem(
                "most_edges", f"edges have different symbols: at most symbols = {self.symbols}, got {self.most_edges}"
            )
        if self.sampler == "paper" and self.least_states <= self.most_edges:
            words = f"must be above most_edges = {self.most_edges}, which lead to different other states"
            yield Problem("least_states", f"{words}, got {self.least_states}")

    @property
    def y_space(self) -> Symbols:
        return Symbols(self.symbols + 1)

    @property
    def bayes_kind(self) -> BayesKind:
        if self.pool_size is None:
            return BayesKind("none", "fresh automata are too many to enumerate; a pool of automata has a posterior")
        return BayesKind("exact", f"posterior over {self.pool_size} known automata")

    @property
    def unread(self) -> frozenset[str]:
        return frozenset(("stop",) if self.sampler == "paper" else ())

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
        scored = (ys < self.symbols).astype(jnp.float32) if self.sampler == "paper" else None
        return Prompt(jnp.zeros((self.points, 0)), ys, latent, None, scored)

    def bayes(self, prompt: Prompt) -> Prediction:
        each = jax.vmap(lambda automaton: self._filter(automaton, prompt.ys))(self.pool)
        return Prediction(log_probs=pooled(each, prompt.ys))

    def oracle(self, prompt: Prompt) -> Prediction:
        """The edges of the automaton that was drawn."""
        return Prediction(log_probs=self._filter(prompt.latent, prompt.ys))

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        """Of what is shown, separators too."""
        logs = super().log_predictive(prompt)
        if self.sampler == "free":
            return logs
        # Whether a string ends is known but for its length, whatever the automaton.
        ended = prompt.ys == self.symbols
        place = jnp.arange(prompt.points)
        begin = jax.lax.cummax(jnp.where(jnp.concatenate([jnp.ones(1, bool), ended[:-1]]), place, 0))
        end = self._end(place - begin)
        return jnp.where(ended, jnp.log(end), logs - jnp.log1p(-UNSCORED) + jnp.log1p(-end))

    def _automaton(self, key: PRNGKeyArray) -> Automaton:
        size, degree, order, target = jax.random.split(key, 4)
        states = jax.random.randint(size, (), self.least_states, self.most_states + 1)
        degrees = jax.random.randint(degree, (self.most_states, 1), 1, self.most_edges + 1)
        shape = (self.most_states, self.symbols)
        if self.sampler == "paper":
            return minimized(self._distinct(states, degrees, order, target))
        rank = jnp.argsort(jax.random.uniform(order, shape), -1)
        targets = jax.random.randint(target, shape, 0, states)
        return Automaton(jnp.where(rank < degrees, targets, -1))

    def _distinct(
        self, states: Int[Array, ""], degrees: Int[Array, "Z 1"], order: PRNGKeyArray, target: PRNGKeyArray
    ) -> Automaton:
        """Edges of a state lead to different states, and not back; symbols are of a random alphabet."""
        size, which, rank = jax.random.split(order, 3)
        letters = jax.random.randint(size, (), min(self.most_edges + 1, self.symbols), self.symbols + 1)
        outside = jax.random.permutation(which, self.symbols) >= letters
        place = jnp.arange(self.most_states)
        away = (place[:, None] == place[None, :]) | (place >= states)[None, :]
        rank = _ranks(rank, jnp.broadcast_to(outside[None, :], (self.most_states, self.symbols)))
        others = jnp.argsort(_ranks(target, away), -1)
        targets = jnp.take_along_axis(others, jnp.minimum(rank, self.most_states - 1), -1)
        return Automaton(jnp.where((rank < degrees) & (place < states)[:, None], targets, -1).astype(jnp.int32))

    def _filter(self, automaton: Automaton, ys: Int[Array, "P"]) -> Float[Array, "P C"]:
        """The law of every symbol; where separators do not count, given that none comes."""

        def step(place, y):
            return self._move(automaton, place, y), self._law(automaton, place, self.sampler == "paper")

        return jax.lax.scan(step, Place(jnp.int32(0), jnp.int32(0)), ys)[1]

    def _law(self, automaton: Automaton, place: Place, given: bool = False) -> Float[Array, "C"]:
        """Log probabilities of the next symbol, or of the end: no string is empty."""
        edges = automaton.following[place.state] >= 0
        end = UNSCORED if given else self._end(place.length)
        each = jnp.where(edges, (1 - end) / jnp.sum(edges.astype(jnp.float32)), 0.0)
        return jnp.log(jnp.append(each, end))

    def _end(self, length: Int[Array, "*n"]) -> Float[Array, "*n"]:
        """The probability that a string of this length is over: it ends after a uniform number of symbols, or at
        any."""
        over = (
            self.stop if self.sampler == "free" else 1 / jnp.maximum(self.longest - length + 1, 1).astype(jnp.float32)
        )
        return jnp.where(length > 0, over, 0.0)

    def _move(self, automaton: Automaton, place: Place, y: Int[Array, ""]) -> Place:
        """Where a symbol leads. Without an edge the state stays: its law no longer counts."""
        state, length = place
        ended = y == self.symbols
        following = automaton.following[state, jnp.minimum(y, self.symbols - 1)]
        moved = jnp.where(following < 0, state, following)
        return Place(jnp.where(ended, 0, moved), jnp.where(ended, 0, length + 1))


def _ranks(key: PRNGKeyArray, last: Bool[Array, "N M"]) -> Int[Array, "N M"]:
    """A random order of every row, in which the entries marked come last."""
    return jnp.argsort(jnp.argsort(jax.random.uniform(key, last.shape) + last.astype(jnp.float32), -1), -1)


def minimized(automaton: Automaton) -> Automaton:
    """The same strings with the fewest states: states that have the same strings become the first of them (Moore's
    refinement), and those that no string from state 0 reaches lose their edges."""
    following = automaton.following
    count = following.shape[0]
    has = following >= 0
    alike = jnp.all(has[:, None] == has[None, :], -1)

    def split(_, alike):
        same = alike[jnp.maximum(following, 0)[:, None], jnp.maximum(following, 0)[None, :]]
        return alike & jnp.all(same | ~has[:, None], -1)

    alike = jax.lax.fori_loop(0, count, split, alike)
    first = jnp.argmax(alike, 1)
    following = jnp.where(has, first[jnp.maximum(following, 0)], -1)
    edges = jnp.any(following[:, :, None] == jnp.arange(count)[None, None, :], 1)

    def spread(_, reached):
        return reached | jnp.any(edges & reached[:, None], 0)

    reached = jax.lax.fori_loop(0, count, spread, jnp.arange(count) == 0)
    return Automaton(jnp.where(reached[:, None], following, -1).astype(jnp.int32))
