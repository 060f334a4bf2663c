"""Symbols whose parents follow a fixed graph: How Transformers Learn Causal Structure (Nichani et al. 2024)."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.chains import LARGEST_STATIONARY, stationary_contexts
from function_classes.fields import Problem, setting
from function_classes.stationary_rows import ERROR, TABLES, stationary_log_probs
from function_classes.streams import SymbolStream


@FunctionClass.registry.add("causal-graph", papers=("nichani-2024",))
class CausalGraph(SymbolStream):
    """x_i ~ row of x_parent(i), or a root's law; then a uniform test symbol s; then an answer, whose target is row s.

    A stream of `points` symbols: points - 2 of context, the test symbol, and a symbol drawn from its row. Rows are
    Dirichlet(alpha 1), fresh in every prompt; the graph is the same in all. Only the answer is scored, against the
    whole row: `targets` are distributions (P, C), so the loss of the oracle is the row's entropy and not 0.

    Graphs: "chain" (parent i - 1), "pairs" (odd places after even ones, which are roots; the paper's "icl"), "tree"
    (parent uniform below i, drawn by graph_seed and i). With uniform roots, which say nothing about the rows, Bayes
    counts transitions from parents to children, roots not among them, and adds alpha. The paper draws roots from the
    stationary law of the rows, which its predictor ignores: `roots="stationary"` weights tables by it instead.

    >>> task = CausalGraph(points=6, graph="tree", graph_seed=1)
    >>> print(task.parents(6))
    [-1  0  1  1 -1  4]
    """

    lesson = (
        "Who follows whom is the same in all prompts, which symbol follows which is not: learn one, count the other."
    )

    points: int = setting(22, "symbols in a stream, with test symbol and answer", at_least=3)
    symbols: int = setting(3, "size of the alphabet", at_least=2)
    alpha: float = setting(1.0, "Dirichlet concentration of every row", above=0)
    graph: Literal["chain", "pairs", "tree"] = setting("chain", "who is whose parent")
    graph_seed: int = setting(0, "draws the tree", at_least=0, at_most=2**32 - 1)
    roots: Literal["uniform", "stationary"] = setting("uniform", "law of symbols without a parent")

    def problems(self):
        if self.roots == "stationary" and self.symbols > LARGEST_STATIONARY:
            yield Problem("roots", f"'stationary' needs at most {LARGEST_STATIONARY} symbols, got {self.symbols}")

    @property
    def bayes_kind(self) -> BayesKind:
        if self.roots == "stationary":
            how = f"{TABLES} tables of the Dirichlet posterior, weighted by the stationary law of the roots"
            return BayesKind("monte-carlo", how, ERROR)
        return BayesKind("exact", "conjugate Dirichlet rows, uniform roots")

    def parents(self, points: int) -> np.ndarray:
        """(points,) the place of every symbol's parent, -1 where there is none: the test symbol is a root, the answer
        its child. A place has the same parent in streams of any length."""
        places = np.arange(points - 2)
        if self.graph == "chain":
            context = places - 1
        elif self.graph == "pairs":
            context = np.where(places % 2 == 1, places - 1, -1)
        else:
            context = np.array(
                [np.random.default_rng([self.graph_seed, i]).integers(i) if i else -1 for i in range(points - 2)]
            )
        return np.concatenate([context.astype(int), [-1, points - 2]])

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "C C"]:
        """The rows."""
        return jax.random.dirichlet(key, self.alpha * jnp.ones(self.symbols), (self.symbols,))

    def sample_prompt(self, latent: Float[Array, "C C"], key: PRNGKeyArray) -> Prompt:
        parents = self.parents(self.points)
        root = self._root_law(latent)

        def step(ys, now):
            place, parent = now
            logits = jnp.log(jnp.where(parent < 0, root, latent[ys[parent]]))
            # The test symbol is uniform whatever the roots are.
            logits = jnp.where(place == self.points - 2, 0.0, logits)
            y = jax.random.categorical(jax.random.fold_in(key, place), logits).astype(jnp.int32)
            return ys.at[place].set(y), None

        places = jnp.arange(self.points), jnp.asarray(parents)
        ys = jax.lax.scan(step, jnp.zeros(self.points, jnp.int32), places)[0]
        targets = self.y_space.encode(ys).at[-1].set(latent[ys[-2]])
        return Prompt(jnp.zeros((self.points, 0)), ys, latent, targets, jnp.zeros(self.points).at[-1].set(1.0))

    def bayes(self, prompt: Prompt) -> Prediction:
        parent, root = self._parent_symbols(prompt.ys)
        test = jnp.arange(prompt.points) == prompt.points - 2
        if self.roots == "stationary":
            # The test symbol is uniform: its place is predicted apart, and it is no evidence.
            found = stationary_log_probs(parent, root, prompt.ys, self.symbols, self.alpha, silent=test)
            return Prediction(log_probs=jnp.where(test[:, None], -jnp.log(self.symbols), found))

        def step(counts, now):
            parent, root, y = now
            row = jnp.where(root, 0.0, counts[parent])
            log_probs = jnp.log(row + self.alpha) - jnp.log(jnp.sum(row) + self.symbols * self.alpha)
            return counts.at[parent, y].add(jnp.where(root, 0.0, 1.0)), log_probs

        empty = jnp.zeros((self.symbols, self.symbols))
        return Prediction(log_probs=jax.lax.scan(step, empty, (parent, root, prompt.ys))[1])

    def oracle(self, prompt: Prompt) -> Prediction:
        """The true rows, and the law of the roots."""
        parent, root = self._parent_symbols(prompt.ys)
        law = jnp.where(root[:, None], self._root_law(prompt.latent)[None, :], prompt.latent[parent])
        test = jnp.arange(prompt.points) == prompt.points - 2
        return Prediction(log_probs=jnp.log(jnp.where(test[:, None], 1 / self.symbols, law)))

    def _root_law(self, rows: Float[Array, "C C"]) -> Float[Array, "C"]:
        return stationary_contexts(rows, 1) if self.roots == "stationary" else jnp.full(self.symbols, 1 / self.symbols)

    def _parent_symbols(self, ys: Int[Array, "P"]) -> tuple[Int[Array, "P"], Bool[Array, "P"]]:
        """The symbol of every place's parent (0 for roots), and where the roots are."""
        parents = jnp.asarray(self.parents(ys.shape[0]))
        return jnp.where(parents < 0, 0, ys[jnp.maximum(parents, 0)]), parents < 0
