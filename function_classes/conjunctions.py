"""Conjunctions, disjunctions and sparse disjunctions with balanced inputs (Bhattamishra et al. 2023)."""

import itertools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass
from function_classes.fields import Problem, setting
from function_classes.normal_forms import Formula as Formula
from function_classes.normal_forms import IndependentLiterals, NormalForm


@FunctionClass.registry.add("conjunction", papers=("bhattamishra-2023",))
class Conjunction(IndependentLiterals):
    """f(x) = +1 if every literal holds, else -1; the empty conjunction is always +1.

    P(y = +1) = forced + (1 - forced) (1 - literal/2)^dim for free inputs with plus = 1/2: .3074 at the paper's dim 28.
    Bayes enumerates 3^dim conjunctions (dim <= 11), or 2^dim where monotone (dim <= 18).

    >>> task = Conjunction(dim=3, points=2)
    >>> formula = Formula(jnp.array([[1.0, 0.0, -1.0]]), jnp.int32(0), jnp.bool_(False))
    >>> print(task.evaluate(formula, jnp.array([[1.0, 1.0, -1.0], [1.0, 1.0, 1.0]])))
    [ 1. -1.]
    """

    lesson = (
        "Positive examples do the teaching: each strikes out the literals it breaks, and what survives is close "
        "to Bayes."
    )

    dim: int = setting(5, "number of input coordinates", at_least=1, at_most=100_000)


@FunctionClass.registry.add("disjunction", papers=("bhattamishra-2023",))
class Disjunction(IndependentLiterals):
    """f(x) = -1 if no literal holds, else +1; the empty disjunction is always -1. The dual of `conjunction`.

    >>> task = Disjunction(dim=3, points=2)
    >>> formula = Formula(jnp.array([[1.0, 0.0, -1.0]]), jnp.int32(0), jnp.bool_(False))
    >>> print(task.evaluate(formula, jnp.array([[-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])))
    [-1.  1.]
    """

    lesson = "The mirror image of conjunctions: negative examples strike out the literals that cannot be in it."

    dim: int = setting(5, "number of input coordinates", at_least=1, at_most=100_000)
    forced: float = setting(0.3, "probability that an input is made to falsify the disjunction", at_least=0, below=1)
    dual: ClassVar[bool] = True


@FunctionClass.registry.add("sparse-disjunction", papers=("bhattamishra-2023",))
class SparseDisjunction(NormalForm):
    """The disjunction of `sparsity` positive literals, a uniform subset; P(y = +1) = 1 - forced - (1 - forced) / 2^k.

    Since k is known, one row teaches it: -1 on the subset, +1 elsewhere, label -1.

    >>> print(SparseDisjunction(dim=28).bayes_kind.detail)
    enumeration of 20475 states
    """

    lesson = "Knowing the number of literals lets a few examples decide; inputs made to be negative tell most."

    dim: int = setting(10, "number of input coordinates", at_least=1, at_most=100_000)
    sparsity: int = setting(4, "number k of literals", at_least=1)
    forced: float = setting(0.3, "probability that an input is made to falsify the disjunction", at_least=0, below=1)
    flips: ClassVar[bool] = False
    dual: ClassVar[bool] = True

    def problems(self):
        if self.sparsity > self.dim:
            yield Problem("sparsity", f"must be at most dim = {self.dim}, got {self.sparsity}")
        yield from super().problems()

    @property
    def formula_count(self) -> int:
        return math.comb(self.dim, self.sparsity)

    def sample_terms(self, key: PRNGKeyArray) -> Float[Array, "T D"]:
        return random_subset(key, self.dim, self.sparsity)[None]

    def formulas(self) -> Float[Array, "H T D"]:
        return subsets(self.dim, self.sparsity)[:, None]

    def log_prior_of_terms(self, terms: Float[Array, "H T D"]) -> Float[Array, "H"]:
        return jnp.zeros(terms.shape[0])


def random_subset(key: PRNGKeyArray, dim: int, size: int) -> Float[Array, "D"]:
    """The indicator of a uniform subset of `size` coordinates."""
    return (jax.random.permutation(key, dim) < size).astype(jnp.float32)


def subsets(dim: int, size: int) -> Float[Array, "H D"]:
    """The indicators of all of them."""
    chosen = np.array(list(itertools.combinations(range(dim), size)), np.int32)
    table = np.zeros((len(chosen), dim), np.float32)
    np.put_along_axis(table, chosen, 1.0, 1)
    return jnp.asarray(table)
