"""Parities of all or few variables (Bhattamishra et al. 2023), by elimination over GF(2) and by enumeration."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.boolean import Boolean, Enumerated, signs
from function_classes.conjunctions import random_subset, subsets
from function_classes.fields import Problem, setting


class Subset(NamedTuple):
    """A task: the indicator of the variables that count, and whether the prompt begins with single-bit inputs."""

    variables: Float[Array, "D"]
    taught: Bool[Array, ""]


class Elimination(NamedTuple):
    """Before y_k is seen: log p(y_k), minus then plus, and the rank of the first k inputs over GF(2)."""

    log_probs: Float[Array, "P 2"]
    rank: Int[Array, "P"]


@FunctionClass.registry.add("parity", papers=("bhattamishra-2023",))
class Parity(Boolean):
    """f(x) = +1 if the number of i in S with x_i = +1 is odd, S uniform over all 2^dim subsets.

    Bits (x + 1)/2 and labels are linear equations over GF(2) for the indicator of S. A label whose input is in the span
    of the inputs before it is certain, every other one is a fair coin. The rank r grows with probability
    1 - 2^(r - dim) at every free input (plus = 1/2); the accuracy after t inputs is 1/2 + E[2^(rank - dim)] / 2. The
    paper has dim 20.

    teaching: first = every prompt begins with the dim single-bit inputs, a basis, after which all labels are certain;
    mixed = a share `taught` of the prompts does. These rows do not depend on S; with "first" they are not scored.

    >>> task = Parity(dim=3)
    >>> xs = jnp.array([[1.0, -1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, -1.0]])
    >>> print(jnp.exp(task.bayes(Prompt(xs, jnp.array([1.0, -1.0, 1.0]))).log_probs))
    [[0.5 0.5]
     [0.5 0.5]
     [0.  1. ]]
    """

    lesson = (
        "Chance until an input is a product of those seen, then certainty: no learner that averages gains anything."
    )

    dim: int = setting(5, "number of input coordinates", at_least=1, at_most=100_000)
    teaching: Literal["none", "mixed", "first"] = setting("none", "prompts that begin with a teaching sequence")
    taught: float = setting(0.5, "share of prompts that do, where teaching = mixed", above=0, below=1)

    def problems(self):
        if self.teaching != "none" and self.dim >= self.points:
            yield Problem("points", f"a teaching sequence has {self.dim} rows: needs more points than that")

    @property
    def unread(self) -> frozenset[str]:
        return frozenset(() if self.teaching == "mixed" else ("taught",))

    @property
    def exchangeable(self) -> bool:
        return self.teaching == "none"

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "elimination over GF(2)")

    def sample_latent(self, key: PRNGKeyArray) -> Subset:
        variables, taught = jax.random.split(key)
        share = {"none": 0.0, "mixed": self.taught, "first": 1.0}[self.teaching]
        chosen = jax.random.bernoulli(variables, 0.5, (self.dim,))
        return Subset(chosen.astype(jnp.float32), jax.random.bernoulli(taught, share))

    def sample_inputs(self, latent: Subset, key: PRNGKeyArray) -> Float[Array, "P D"]:
        xs = self.free_inputs(key)
        if self.teaching == "none":
            return xs
        lesson = latent.taught & (jnp.arange(self.points) < self.dim)
        return jnp.where(lesson[:, None], _single_bits(self.points, self.dim), xs)

    def evaluate(self, latent: Subset, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        return odd(latent.variables, xs)

    def show(self, latent: Subset, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Prompt:
        scored = (jnp.arange(xs.shape[0]) >= self.dim).astype(jnp.float32) if self.teaching == "first" else None
        return Prompt(xs, self.evaluate(latent, xs), latent, scored=scored)

    def log_input_density(self, prompt: Prompt) -> Float[Array, "P"]:
        """Relative to free inputs, in nats: what inputs say about the kind of prompt. About the subset they say
        nothing."""
        if self.teaching == "none":
            return jnp.zeros(prompt.points)
        rows = _single_bits(prompt.points, prompt.xs.shape[-1])
        free = jnp.log(self.plus) + (self.dim - 1) * jnp.log1p(-self.plus)
        row = jnp.where(jnp.all(prompt.xs == rows, -1), -free, -jnp.inf)
        lesson = jnp.where(jnp.arange(prompt.points) < self.dim, row, 0.0)
        if self.teaching == "first":
            return lesson
        both = jnp.logaddexp(jnp.log1p(-self.taught), jnp.log(self.taught) + jnp.cumsum(lesson))
        return jnp.diff(both, prepend=0.0)

    def elimination(self, prompt: Prompt) -> Elimination:
        """Gaussian elimination, one equation at a time: O(points dim^2)."""
        dim = prompt.xs.shape[-1]

        def step(carry, example):
            rows, pivots, consistent = carry
            x, y = example
            bits = (x > 0).astype(jnp.int32)
            sums = jnp.matmul(jnp.where(pivots, bits, 0), rows) % 2
            rest = (jnp.append(bits, (y > 0).astype(jnp.int32)) + sums) % 2
            new = jnp.any(rest[:dim] > 0)
            answer = jnp.log(jnp.stack([1 - sums[dim], sums[dim]]).astype(jnp.float32))
            log_probs = jnp.where(consistent & ~new, answer, jnp.log(0.5))
            pivot = jnp.argmax(rest[:dim])
            cleared = (rows + rows[:, pivot][:, None] * rest[None]) % 2
            grown = cleared.at[pivot].set(rest), pivots.at[pivot].set(True)
            kept = jax.tree.map(lambda a, b: jnp.where(new, a, b), grown, (rows, pivots))
            return (*kept, consistent & (new | (rest[dim] == 0))), Elimination(log_probs, jnp.sum(pivots))

        start = jnp.zeros((dim, dim + 1), jnp.int32), jnp.zeros(dim, bool), jnp.bool_(True)
        return jax.lax.scan(step, start, (prompt.xs, prompt.ys))[1]

    def bayes(self, prompt: Prompt) -> Prediction:
        """Certain or 1/2; 1/2 also once no parity explains the labels."""
        return Prediction(log_probs=self.elimination(prompt).log_probs)

    def version_space(self, prompt: Prompt) -> Prediction:
        """The same as Bayes: inputs say nothing about the subset."""
        return self.bayes(prompt)


@FunctionClass.registry.add("sparse-parity", papers=("bhattamishra-2023",))
class SparseParity(Enumerated):
    """The parity of `sparsity` variables, a uniform subset of that size: Parity-(10,2) in the paper.

    >>> task = SparseParity(dim=3)
    >>> print(task.evaluate(jnp.array([1.0, 1.0, 0.0]), jnp.array([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])))
    [ 1. -1.]
    """

    lesson = "A few examples single out the subset, and yet no coordinate alone says anything about the label."

    dim: int = setting(10, "number of input coordinates", at_least=1, at_most=100_000)
    sparsity: int = setting(2, "number of variables that count", at_least=1)

    def problems(self):
        if self.sparsity > self.dim:
            yield Problem("sparsity", f"must be at most dim = {self.dim}, got {self.sparsity}")

    @property
    def states(self) -> int:
        return math.comb(self.dim, self.sparsity)

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "D"]:
        return random_subset(key, self.dim, self.sparsity)

    def evaluate(self, latent: Float[Array, "D"], xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        return odd(latent, xs)

    def hypotheses(self) -> Float[Array, "H D"]:
        return subsets(self.dim, self.sparsity)

    def log_prior(self, hypotheses: Float[Array, "H D"]) -> Float[Array, "H S"]:
        return jnp.zeros((self.states, 1))


def _single_bits(points: int, dim: int) -> Float[Array, "P D"]:
    """+1 at coordinate k of row k alone; no +1 in rows from dim on."""
    return signs(jnp.arange(points)[:, None] == jnp.arange(dim)[None])


def odd(variables: Float[Array, "D"], xs: Float[Array, "N D"]) -> Float[Array, "N"]:
    """+1 where an odd number of the variables is +1."""
    count = jnp.matmul((xs > 0).astype(jnp.float32), variables, precision=jax.lax.Precision.HIGHEST)
    return signs(count % 2 == 1)
