"""Associative recall: look up the value that was shown with a key (Arora et al. 2023, "MQAR" in Zoology)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import Problem, setting
from function_classes.streams import SymbolStream


class Pairs(NamedTuple):
    """A task: keys, and the value of each."""

    keys: Int[Array, "N"]
    values: Int[Array, "N"]


class _Seen(NamedTuple):
    """What a stream has told so far: the value of every symbol that was a key (0: none), which symbols were shown among
    the pairs, the last symbol, and how many slots ago the last query was."""

    values: Int[Array, "C"]
    shown: Float[Array, "C"]
    previous: Int[Array, ""]
    gap: Int[Array, ""]


@FunctionClass.registry.add("associative-recall", papers=("arora-2023",))
class AssociativeRecall(SymbolStream):
    """Streams k_1 v_1 ... k_D v_D, then slots of two symbols: a query k_j v_j, or nothing (0 0).

    Of V = `symbols` symbols, 1..V/2-1 are keys and V/2..V-1 values; a stream draws D = `pairs` different keys and
    different values uniformly. A query comes g slots after the one before (or the pairs) with probability
    p_g ∝ g^(power - 1), g = 1..longest_gap, and asks for a uniformly drawn pair. Only the value after a query's key is
    scored, and it is determined by what was shown: the optimal accuracy is 1, and a guess among the values shown is
    right with probability 1 / D.

    Zoology asks for every key once and draws all gaps together; here gaps are independent, so that `log_predictive` is
    exact for every symbol, and not only where it is scored.

    >>> task = AssociativeRecall(points=8, pairs=2, symbols=6, longest_gap=1)
    >>> task.sample(jax.random.key(0)).scored
    Array([0., 0., 0., 0., 0., 1., 0., 1.], dtype=float32)
    """

    lesson = "Every scored value has been shown: a mixer that can look up a key is perfect, whatever the distance."

    points: int = setting(24, "symbols in a stream", at_least=1)
    pairs: int = setting(3, "number D of pairs", at_least=1)
    symbols: int = setting(16, "number V of symbols, half of them values", at_least=4)
    longest_gap: int = setting(8, "most slots from one query to the next", at_least=1)
    power: float = setting(0.01, "a in p_g ∝ g^(a - 1): small ones ask soon", at_least=-1e6, at_most=1e6)

    def problems(self):
        if self.symbols % 2:
            yield Problem("symbols", f"must be even, got {self.symbols}; the nearest is {self.symbols + 1}")
        elif self.pairs > self.symbols // 2 - 1:
            most = self.symbols // 2 - 1
            yield Problem("pairs", f"must be at most symbols / 2 - 1 = {most} different keys, got {self.pairs}")

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "scored values are determined by what was shown")

    def sample_latent(self, key: PRNGKeyArray) -> Pairs:
        keys, values = jax.random.split(key)
        half = self.symbols // 2
        chosen = jax.random.permutation(keys, jnp.arange(1, half, dtype=jnp.int32))[: self.pairs]
        return Pairs(chosen, jax.random.permutation(values, jnp.arange(half, 2 * half, dtype=jnp.int32))[: self.pairs])

    def sample_prompt(self, latent: Pairs, key: PRNGKeyArray) -> Prompt:
        order, which, when = jax.random.split(key, 3)
        slots = -(-self.points // 2)
        asked = jax.random.randint(which, (slots,), 0, self.pairs)

        def step(gap, now):
            asked, key = now
            query = jax.random.bernoulli(key, self._hazard()[gap])
            symbols = jnp.where(query, jnp.stack([latent.keys[asked], latent.values[asked]]), 0)
            return jnp.where(query, 0, gap + 1), (symbols, query)

        keys = jax.vmap(lambda i: jax.random.fold_in(when, i))(jnp.arange(slots))
        symbols, queries = jax.lax.scan(step, jnp.int32(0), (asked, keys))[1]
        shown = jax.random.permutation(order, jnp.stack([latent.keys, latent.values], 1))
        ys = jnp.concatenate([shown, symbols]).reshape(-1)[: self.points]
        scored = jnp.zeros((self.pairs + slots, 2)).at[self.pairs :, 1].set(queries.astype(jnp.float32))
        return Prompt(jnp.zeros((self.points, 0)), ys, latent, None, scored.reshape(-1)[: self.points])

    def bayes(self, prompt: Prompt) -> Prediction:
        """Log probabilities (P, C) of the next symbol: uniform over unused keys and values among the pairs, the law of
        gaps where a query may come, a point mass after it."""
        return Prediction(log_probs=jnp.log(self._next(prompt.ys)))

    def oracle(self, prompt: Prompt) -> Prediction:
        """The same as Bayes: nothing scored asks for more of the pairs than was shown."""
        return self.bayes(prompt)

    def _hazard(self) -> Float[Array, "G"]:
        """P(a query comes now | none for g slots), g = 0, 1, ..."""
        gaps = jnp.arange(1, self.longest_gap + 1, dtype=jnp.float32)
        logs = (self.power - 1) * jnp.log(gaps)
        rest = jax.lax.cumlogsumexp(logs, reverse=True)
        return jnp.exp(logs - rest)

    def _next(self, ys: Int[Array, "P"]) -> Float[Array, "P C"]:
        """Probabilities of every symbol of the stream."""
        symbols = jnp.arange(self.symbols)
        is_key = (symbols > 0) & (symbols < self.symbols // 2)
        hazard, place = self._hazard(), jnp.arange(ys.shape[0])

        def uniform(allowed: Array) -> Float[Array, "C"]:
            weight = allowed.astype(jnp.float32)
            return weight / jnp.maximum(jnp.sum(weight), 1.0)

        def step(seen: _Seen, now):
            t, y = now
            first, among = t % 2 == 0, t < 2 * self.pairs
            fresh = uniform((is_key == first) & (symbols > 0) & (seen.shown == 0))
            chance = hazard[jnp.minimum(seen.gap, self.longest_gap - 1)]
            asked = chance * uniform((seen.values > 0) & (symbols > 0)) + (1 - chance) * self.y_space.encode(0 * t)
            answer = self.y_space.encode(jnp.where(seen.previous == 0, 0, seen.values[seen.previous]))
            probs = jnp.where(among, fresh, jnp.where(first, asked, answer))
            told = jnp.where(among & ~first, y, seen.values[seen.previous])
            gap = jnp.where(among | ~first, seen.gap, jnp.where(y == 0, seen.gap + 1, 0))
            shown = jnp.where(among, seen.shown.at[y].set(1.0), seen.shown)
            return _Seen(seen.values.at[seen.previous].set(told), shown, y, gap), probs

        none = jnp.zeros(self.symbols, jnp.int32)
        start = _Seen(none, jnp.zeros(self.symbols), jnp.int32(0), jnp.int32(0))
        return jax.lax.scan(step, start, (place, ys))[1]
