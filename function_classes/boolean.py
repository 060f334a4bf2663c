"""Boolean functions {-1,+1}^D -> {-1,+1} in context (Bhattamishra et al. 2023), and posteriors over a finite class.

    p(f | x_0..x_k, y_<k)  ~  p(f) prod_{j<=k} p(x_j | f) prod_{j<k} 1[f(x_j) = y_j]

Labels have no noise, so the posterior is the prior on the functions that explain all labels, weighted by how likely
their inputs are. The paper's balanced samplers draw inputs that depend on f: leaving p(x | f) out gives the version
space, which is not Bayes there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import setting
from function_classes.inputs import InputLaw
from function_classes.problems import amount
from function_classes.spaces import Signs

# States of an enumeration; a prompt costs points x states x dim multiply-adds, and states floats of memory.
LARGEST = 300_000


class FreeSigns(InputLaw):
    """Every coordinate is +1 with probability `plus`; none: a probability drawn uniformly for every row."""

    plus: float | None = setting(0.5, "probability of +1", above=0, below=1)

    def log_density(self, xs: Float[Array, "P *x"]) -> Float[Array, "P"]:
        rows = xs.reshape(xs.shape[0], -1)
        count, ones = float(rows.shape[1]), jnp.sum((rows > 0).astype(jnp.float32), 1)
        if self.plus is None:
            return betaln(1.0 + ones, 1.0 + count - ones)
        return ones * jnp.log(self.plus) + (count - ones) * jnp.log1p(-self.plus)


class Boolean(FunctionClass):
    """Inputs are free coordinates, +1 with probability `plus`; labels are signs without noise."""

    dim: int = setting(8, "number of input coordinates", at_least=1, at_most=100_000)
    points: int = setting(20, "positions in a prompt", at_least=1)
    plus: float = setting(0.5, "probability of +1 in every input coordinate that is left free", above=0, below=1)

    @property
    def x_space(self) -> Signs:
        return Signs((self.dim,))

    @property
    def y_space(self) -> Signs:
        return Signs()

    @property
    def input_law(self) -> FreeSigns:
        """Of free inputs; what a class's own inputs say of the function is relative to it (`log_input_density`)."""
        return FreeSigns(self.plus)

    def sample_inputs(self, latent: PyTree, key: PRNGKeyArray) -> Float[Array, "P D"]:
        return self.free_inputs(key)

    def free_inputs(self, key: PRNGKeyArray) -> Float[Array, "P D"]:
        """Inputs that say nothing about the function."""
        return signs(jax.random.bernoulli(key, self.plus, (self.points, self.dim)))


class Beliefs(NamedTuple):
    """What the posterior over a finite class says before y_k is seen.

    `log_probs`: of y_k, minus then plus. `log_inputs`: log p(x_k | x_<k, y_<k) relative to free inputs, in nats.
    `survivors`: how many functions explain the first k examples.
    """

    log_probs: Float[Array, "P 2"]
    log_inputs: Float[Array, "P"]
    survivors: Int[Array, "P"]


class Enumerated(Boolean):
    """A class whose posterior is a sum over all its functions: exact up to `LARGEST` states, refused beyond."""

    @property
    def independent(self) -> bool:
        """Whether the entries of a function's arrays are independent, and alike along the last axis: then functions can
        be changed a little without leaving the prior, and `particle-filter` estimates Bayes at any size."""
        return False

    @property
    def states(self) -> int:
        """How many states the enumeration has."""
        raise NotImplementedError

    def hypotheses(self) -> PyTree:
        """All functions of the class: latents stacked along a first axis H."""
        raise NotImplementedError

    def log_prior(self, hypotheses: PyTree) -> Float[Array, "H S"]:
        """Log prior up to a constant; S counts what else is hidden beside the function (1: nothing)."""
        raise NotImplementedError

    def log_hidden(self) -> Float[Array, "S"]:
        """Log probabilities of what else is hidden beside the function."""
        return jnp.zeros(1)

    def log_inputs(self, hypotheses: PyTree, x: Float[Array, "D"], k: Int[Array, ""]) -> Float[Array, "H S"]:
        """log p(x_k = x | state) relative to free inputs; 0 where inputs say nothing about the state."""
        return jnp.zeros((jax.tree.leaves(hypotheses)[0].shape[0], 1))

    @property
    def bayes_kind(self) -> BayesKind:
        if self.states > LARGEST:
            too_many = f"an enumeration would have {amount(self.states)} states, at most {LARGEST}; take a smaller dim"
            too_many += ", or the estimates of particle-filter" if self.independent else ""
            return BayesKind("none", too_many)
        return BayesKind("exact", f"enumeration of {self.states} states")

    def beliefs(self, prompt: Prompt, inputs: bool = True) -> Beliefs:
        """The posterior at every position; without `inputs` the labels alone count. Raises NotAvailable where the
        enumeration is too large."""
        if self.states > LARGEST:
            raise NotAvailable(f"{self.name} has no Bayes predictor: {self.bayes_kind.detail}")
        hypotheses = self.hypotheses()
        prior = self.log_prior(hypotheses)

        def look(x: Float[Array, "D"], k: Int[Array, ""]) -> tuple[Bool[Array, "H"], Float[Array, "H S"]]:
            labels = jax.vmap(lambda f: self.evaluate(f, x[None])[0] > 0)(hypotheses)
            return labels, self.log_inputs(hypotheses, x, k) if inputs else jnp.zeros_like(prior)

        return posterior(prior, look, prompt.xs, prompt.ys)

    def bayes(self, prompt: Prompt) -> Prediction:
        """Exact, with the evidence of the inputs; 1/2 once no function explains the prompt."""
        return Prediction(log_probs=self.beliefs(prompt).log_probs)

    def version_space(self, prompt: Prompt) -> Prediction:
        """The prior restricted to the functions that explain the labels: what Bayes would be if inputs were free."""
        return Prediction(log_probs=self.beliefs(prompt, inputs=False).log_probs)

    def survivors(self, prompt: Prompt) -> Int[Array, "P"]:
        """How many functions explain the first k labels. Different parameters count apart, also of one function."""
        return self.beliefs(prompt, inputs=False).survivors


def posterior(prior: Float[Array, "H S"], look, xs: Float[Array, "P D"], ys: Float[Array, "P"]) -> Beliefs:
    """The sequential posterior over H functions with S further hidden states each.

    `look(x, k)` gives the labels (H,) of x and log p(x_k = x | state) (H, S). Weights stay in logarithms, relative to
    the largest, because one that is negligible now may be the only one left later.
    """

    def step(carry, example):
        log_weights, log_mass = carry
        x, y, k = example
        labels, log_inputs = look(x, k)
        seen = log_weights + log_inputs
        top = jnp.max(seen)
        top = jnp.where(top > -jnp.inf, top, 0.0)
        weights = jnp.sum(jnp.exp(seen - top), -1)
        minus, plus = total(jnp.where(labels, 0.0, weights)), total(jnp.where(labels, weights, 0.0))
        possible = minus + plus > 0
        odds = jnp.where(possible, jnp.log(plus) - jnp.log(jnp.where(possible, minus, 1.0)), 0.0)
        log_probs = jax.nn.log_sigmoid(jnp.stack([-odds, odds]))
        found = jnp.where(possible, jnp.log(minus + plus) + top - log_mass, 0.0)
        alive = jnp.sum(jnp.any(log_weights > -jnp.inf, -1))
        log_weights = jnp.where((labels == (y > 0))[:, None], seen - top, -jnp.inf)
        return (log_weights, jnp.log(jnp.where(y > 0, plus, minus))), Beliefs(log_probs, found, alive)

    top = jnp.max(prior)
    start = prior - top, jnp.log(total(jnp.sum(jnp.exp(prior - top), -1)))
    return jax.lax.scan(step, start, (xs, ys, jnp.arange(ys.shape[0])))[1]


def total(values: Float[Array, "H"]) -> Float[Array, ""]:
    """The sum by halves: its error grows with log H, where that of a running sum grows with H."""
    while values.shape[0] > 64:
        half = (values.shape[0] + 1) // 2
        values = values[:half] + jnp.pad(values[half:], (0, 2 * half - values.shape[0]))
    return jnp.sum(values)


def signs(values: Bool[Array, "*n"]) -> Float[Array, "*n"]:
    """True as +1, false as -1."""
    return jnp.where(values, 1.0, -1.0)


def tuples(values: tuple[int, ...], dim: int) -> Float[Array, "H D"]:
    """All vectors with entries from `values`, the first coordinate changing fastest."""
    index = jnp.arange(len(values) ** dim)[:, None] // (len(values) ** jnp.arange(dim))[None] % len(values)
    return jnp.asarray(values, jnp.float32)[index]
