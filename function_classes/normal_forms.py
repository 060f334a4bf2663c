"""Disjunctions of conjunctions and their duals (Bhattamishra et al. 2023): balanced inputs, teaching sequences, Bayes.

    f(x) = max_t c_t(x),   c_t(x) = +1 if x_i = w_ti for every literal w_ti != 0, else -1

Balance: one conjunction c of the prompt is chosen, and every input is, with probability `forced`, made to satisfy it:
literals are set, the other coordinates stay as they were. So

    p(x | f, c) / p_free(x) = 1 - forced + forced 1[c(x) = 1] / p_free(literals of c)
"""

import dataclasses
import itertools
import math
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from function_classes import teaching
from function_classes.base import FunctionClass, Prompt
from function_classes.boolean import Enumerated, signs, tuples
from function_classes.fields import Problem, setting


class Formula(NamedTuple):
    """A task: literals -1, 0 (absent), +1 of every conjunction, the one that inputs are made to satisfy, and whether
    the prompt begins with the teaching sequence."""

    terms: Float[Array, "*h T D"]
    chosen: Int[Array, "*h"]
    taught: Bool[Array, "*h"]


class NormalForm(Enumerated):
    """What conjunctions, disjunctions, DNF and CNF share. A dual class is -f(-x) of the formula: a disjunction has its
    literals falsified, and inputs are balanced by forcing the label -1.

    teaching: none; first = every prompt begins with the teaching sequence of its function; mixed = a share `taught` of
    the prompts does. Three curves then differ: `bayes` knows the law of the inputs and reads f from the rows,
    `version_space` uses labels alone, and Bayes of the mixed class has to find out which kind of prompt it sees.
    With "first" the rows are not scored. With "mixed" everything is: weights that depend on what a predictor cannot
    know would make Bayes suboptimal.
    """

    forced: float = setting(0.3, "probability that an input is made to satisfy a conjunction", at_least=0, below=1)
    teaching: Literal["none", "mixed", "first"] = setting("none", "prompts that begin with a teaching sequence")
    taught: float = setting(0.5, "share of prompts that do, where teaching = mixed", above=0, below=1)
    # A teaching sequence has one row per literal, unless their number is known beforehand.
    flips: ClassVar[bool] = True
    dual: ClassVar[bool] = False

    @property
    def conjunctions(self) -> int:
        """T, how many conjunctions a formula has."""
        return 1

    @property
    def formula_count(self) -> int:
        """How many formulas the enumeration has."""
        raise NotImplementedError

    def sample_terms(self, key: PRNGKeyArray) -> Float[Array, "T D"]:
        raise NotImplementedError

    def formulas(self) -> Float[Array, "H T D"]:
        """Every formula, the order of its conjunctions aside."""
        raise NotImplementedError

    def log_prior_of_terms(self, terms: Float[Array, "H T D"]) -> Float[Array, "H"]:
        raise NotImplementedError

    def problems(self):
        if self.teaching != "none" and self.longest_lesson >= self.points:
            yield Problem(
                "points", f"a teaching sequence has up to {self.longest_lesson} rows: needs more points than that"
            )

    @property
    def unread(self) -> frozenset[str]:
        return frozenset(() if self.teaching == "mixed" else ("taught",))

    @property
    def believers(self) -> dict[str, FunctionClass]:
        """Who has to find out whether the prompt teaches, where all do."""
        return {"plain-or-teaching": dataclasses.replace(self, teaching="mixed")} if self.teaching == "first" else {}

    @property
    def leads(self) -> int:
        """Rows of a teaching sequence before literals are flipped: 1 where all are known to be positive, else 2."""
        return 1

    @property
    def longest_lesson(self) -> int:
        """The most rows that a teaching sequence of the class can have."""
        return self.leads + (self.dim if self.flips else 0)

    @property
    def exchangeable(self) -> bool:
        return self.teaching == "none"

    @property
    def states(self) -> int:
        return self.formula_count * self.conjunctions * (2 if self.teaching == "mixed" else 1)

    def sample_latent(self, key: PRNGKeyArray) -> Formula:
        terms, chosen, taught = jax.random.split(key, 3)
        share = {"none": 0.0, "mixed": self.taught, "first": 1.0}[self.teaching]
        return Formula(
            self.sample_terms(terms),
            jax.random.randint(chosen, (), 0, self.conjunctions),
            jax.random.bernoulli(taught, share),
        )

    def evaluate(self, latent: Formula, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        side = self._side
        return side * signs(jnp.any(_hold(latent.terms, side * xs), -1))

    def sample_inputs(self, latent: Formula, key: PRNGKeyArray) -> Float[Array, "P D"]:
        free, force = jax.random.split(key)
        literals = latent.terms[latent.chosen]
        forced = jax.random.bernoulli(force, self.forced, (self.points, 1))
        xs = jnp.where(forced & (literals != 0)[None], self._side * literals[None], self.free_inputs(free))
        if self.teaching == "none":
            return xs
        rows = jax.vmap(lambda k: self._row(latent.terms, k))(jnp.arange(self.points))
        lesson = latent.taught & (jnp.arange(self.points) < self.lesson_rows(latent))
        return jnp.where(lesson[:, None], rows, xs)

    def show(self, latent: Formula, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Prompt:
        ys = self.evaluate(latent, xs)
        if self.teaching != "first":
            return Prompt(xs, ys, latent)
        return Prompt(xs, ys, latent, scored=(jnp.arange(xs.shape[0]) >= self.lesson_rows(latent)).astype(jnp.float32))

    def lesson_rows(self, latent: Formula) -> Int[Array, ""]:
        """How many rows the teaching sequence of a function has."""
        return jnp.sum(teaching.lengths(latent.terms, self.leads, self.flips))

    def log_input_density(self, prompt: Prompt) -> Float[Array, "P"]:
        """Relative to free inputs, in nats."""
        return self.beliefs(prompt).log_inputs

    def hypotheses(self) -> Formula:
        terms = self.formulas()
        count = terms.shape[0]
        return Formula(terms, jnp.zeros(count, jnp.int32), jnp.zeros(count, bool))

    def log_prior(self, hypotheses: Formula) -> Float[Array, "H S"]:
        return self.log_prior_of_terms(hypotheses.terms)[:, None] + self.log_hidden()[None]

    def log_hidden(self) -> Float[Array, "S"]:
        """Of the conjunction that inputs are made to satisfy; of plain prompts, then of those that teach, where there
        are both."""
        chosen = jnp.full(self.conjunctions, -math.log(self.conjunctions))
        if self.teaching != "mixed":
            return chosen
        return jnp.concatenate([chosen + jnp.log1p(-self.taught), chosen + jnp.log(self.taught)])

    def log_inputs(self, hypotheses: Formula, x: Float[Array, "D"], k: Int[Array, ""]) -> Float[Array, "H S"]:
        side, terms = self._side, hypotheses.terms
        free = jnp.log(jnp.stack([1 - self.plus, self.plus]))
        hold = jax.vmap(lambda w: _hold(w, side * x[None])[0])(terms)
        positive, negative = (jnp.sum(side * terms == value, -1).astype(jnp.float32) for value in (1.0, -1.0))
        satisfied = jnp.log(self.forced) - positive * free[1] - negative * free[0]
        rest = jnp.log1p(-self.forced)
        plain = jnp.where(hold, jnp.logaddexp(rest, satisfied), rest)
        if self.teaching == "none":
            return plain
        rows = jax.vmap(lambda w: self._row(w, k))(terms)
        certain = -jnp.sum(jnp.where(x > 0, free[1], free[0]))
        right = jnp.where(jnp.all(rows == x[None], -1), certain, -jnp.inf)
        inside = k < jax.vmap(lambda w: jnp.sum(teaching.lengths(w, self.leads, self.flips)))(terms)
        lesson = jnp.where(inside[:, None], right[:, None], plain)
        return lesson if self.teaching == "first" else jnp.concatenate([plain, lesson], -1)

    @property
    def _side(self) -> float:
        return -1.0 if self.dual else 1.0

    def _row(self, terms: Float[Array, "T D"], k: Int[Array, ""]) -> Float[Array, "D"]:
        return self._side * teaching.row(terms, k, self.leads, self.flips)


class IndependentLiterals(NormalForm):
    """Each variable is in each conjunction with probability `literal`, with either sign unless `monotone`."""

    literal: float = setting(0.3, "probability that a variable occurs in a conjunction", above=0, below=1)
    monotone: bool = setting(False, "literals are all positive")

    @property
    def independent(self) -> bool:
        """Not where prompts teach: of the rows that teach no function drawn at random gives a single one."""
        return self.teaching == "none"

    @property
    def leads(self) -> int:
        return 1 if self.monotone else 2

    @property
    def _values(self) -> tuple[int, ...]:
        return (0, 1) if self.monotone else (0, 1, -1)

    @property
    def formula_count(self) -> int:
        return math.comb(len(self._values) ** self.dim + self.conjunctions - 1, self.conjunctions)

    def sample_terms(self, key: PRNGKeyArray) -> Float[Array, "T D"]:
        occur, sign = jax.random.split(key)
        shape = (self.conjunctions, self.dim)
        positive = True if self.monotone else jax.random.bernoulli(sign, 0.5, shape)
        return jnp.where(jax.random.bernoulli(occur, self.literal, shape), jnp.where(positive, 1.0, -1.0), 0.0)

    def formulas(self) -> Float[Array, "H T D"]:
        return tuples(self._values, self.dim)[self._multisets()]

    def log_prior_of_terms(self, terms: Float[Array, "H T D"]) -> Float[Array, "H"]:
        occur = jnp.sum(terms != 0, (-2, -1)).astype(jnp.float32)
        each = jnp.log(self.literal / (len(self._values) - 1))
        rest = (self.conjunctions * self.dim - occur) * jnp.log1p(-self.literal)
        return occur * each + rest + jnp.log(jnp.asarray(orders(self._multisets()), jnp.float32))

    def _multisets(self) -> np.ndarray:
        return multisets(len(self._values) ** self.dim, self.conjunctions)


def _hold(terms: Float[Array, "T D"], xs: Float[Array, "N D"]) -> Bool[Array, "N T"]:
    """Which conjunctions are satisfied by each input: w'x reaches its number of literals."""
    agreement = jnp.matmul(xs, terms.T, precision=jax.lax.Precision.HIGHEST)
    return agreement > (jnp.sum(jnp.abs(terms), -1) - 1)[None]


def multisets(items: int, size: int) -> np.ndarray:
    """All (H, size) nondecreasing tuples of 0..items-1."""
    if size == 1:
        return np.arange(items, dtype=np.int32)[:, None]
    return np.array(list(itertools.combinations_with_replacement(range(items), size)), np.int32)


def orders(chosen: np.ndarray) -> np.ndarray:
    """In how many orders each multiset can be drawn."""
    size = chosen.shape[1]
    repeats = np.ones(len(chosen))
    run = np.ones(len(chosen))
    for place in range(1, size):
        run = np.where(chosen[:, place] == chosen[:, place - 1], run + 1, 1)
        repeats = repeats * run
    return math.factorial(size) / repeats
