"""Disjunctions of conjunctions, and their duals: balanced inputs, teaching sequences (Bhattamishra et al. 2023)."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes import teaching
from function_classes.base import FunctionClass
from function_classes.fields import Problem, setting
from function_classes.normal_forms import Formula as Formula
from function_classes.normal_forms import IndependentLiterals

# The least share of draws that a teaching sequence may need: a batch waits for its unluckiest prompt.
RAREST = 1e-3


@FunctionClass.registry.add("dnf", papers=("bhattamishra-2023",))
class DNF(IndependentLiterals):
    """The disjunction of `terms` independent conjunctions; P(y = +1) is .4468 in the paper's setting,
    dim 28, terms 3 and literal .2.

    Bayes enumerates unordered formulas: 3^dim conjunctions (2^dim where monotone) give dim <= 4 (6) for three terms.
    A teaching sequence is that of one conjunction after the other. It teaches a monotone formula in which no
    conjunction contains another, so with `teaching` formulas are drawn until they are like that, and their conjunctions
    are put in the order of the enumeration: the rows are a function of f.

    >>> task = DNF(dim=2, terms=2, points=3)
    >>> formula = Formula(jnp.array([[1.0, 1.0], [-1.0, 0.0]]), jnp.int32(0), jnp.bool_(False))
    >>> print(task.evaluate(formula, jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])))
    [ 1. -1.  1.]
    """

    lesson = "Inputs made to satisfy a term say which term it may be: Bayes reads them, the version space does not."

    dim: int = setting(3, "number of input coordinates", at_least=1, at_most=100_000)
    terms: int = setting(2, "number of conjunctions (clauses, in a CNF)", at_least=1)
    literal: float = setting(0.5, "probability that a variable occurs in a conjunction", above=0, below=1)
    forced: float = setting(
        0.35, "probability that an input is made to satisfy the prompt's conjunction", at_least=0, below=1
    )

    def problems(self):
        if self.teaching != "none" and not self.monotone and self.terms > 1:
            yield Problem("teaching", "is known for monotone formulas only: set monotone=true")
        if self.teaching != "none" and self.terms > math.comb(self.dim, self.dim // 2):
            yield Problem("terms", f"over {self.dim} variables some of {self.terms} conjunctions contains another")
        elif self.teaching != "none" and self.monotone:
            share = teaching.antichain_share(self.terms, self.dim, self.literal)
            if share < RAREST:
                yield Problem(
                    "literal",
                    f"one draw in {1 / max(share, 1e-99):.2g} has no conjunction inside another, and with teaching "
                    f"others are drawn again (at most {1 / RAREST:g} times): bring literal nearer to .5, take fewer "
                    "terms, a larger dim or teaching=none",
                )
        yield from super().problems()

    @property
    def conjunctions(self) -> int:
        return self.terms

    @property
    def longest_lesson(self) -> int:
        # A conjunction of all variables contains every other.
        return super().longest_lesson if self.terms == 1 else self.terms * self.dim

    def sample_terms(self, key: PRNGKeyArray) -> Float[Array, "T D"]:
        if self.teaching == "none":
            return super().sample_terms(key)

        def again(state):
            number, _ = state
            return number + 1, IndependentLiterals.sample_terms(self, jax.random.fold_in(key, number))

        start = jnp.int32(0), jnp.zeros((self.terms, self.dim))
        terms = jax.lax.while_loop(lambda s: (s[0] == 0) | ~teaching.antichain(s[1]), again, start)[1]
        return terms[jnp.lexsort(tuple(terms.T))]

    def log_prior_of_terms(self, terms: Float[Array, "H T D"]) -> Float[Array, "H"]:
        prior = super().log_prior_of_terms(terms)
        return prior if self.teaching == "none" else jnp.where(jax.vmap(teaching.antichain)(terms), prior, -jnp.inf)


@FunctionClass.registry.add("cnf", papers=("bhattamishra-2023",))
class CNF(DNF):
    """The conjunction of `terms` independent disjunctions, the dual of `dnf`.

    P(y = +1) is .5957 at the paper's dim 28, terms 3 and literal .2. One clause per prompt is chosen, and `forced` of
    the inputs are made to falsify it. With `teaching`, the rows are the negated rows of the dual.

    >>> task = CNF(dim=2, terms=2, points=3)
    >>> formula = Formula(jnp.array([[1.0, 1.0], [-1.0, 0.0]]), jnp.int32(0), jnp.bool_(False))
    >>> print(task.evaluate(formula, jnp.array([[-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])))
    [ 1. -1. -1.]
    """

    lesson = "The mirror image of dnf: inputs made to break a clause carry the evidence."

    forced: float = setting(
        0.3, "probability that an input is made to falsify the prompt's clause", at_least=0, below=1
    )
    dual: ClassVar[bool] = True
