"""Majorities, thresholds and integer halfspaces: f(x) = sign(w'x - theta) (Bhattamishra et al. 2023).

theta is half an odd integer and w'x an integer, so w'x = theta never happens. Inputs are free, they say nothing of f.
There is no closed form; Bayes enumerates parameters, of which several may give one function.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass
from function_classes.boolean import Enumerated, signs, tuples
from function_classes.fields import setting

THRESHOLDS = (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)


class Halfspace(NamedTuple):
    """A task: its weights and its threshold."""

    weights: Float[Array, "*h D"]
    threshold: Float[Array, "*h"]


class Halfspaces(Enumerated):
    """What the three classes share."""

    @property
    def independent(self) -> bool:
        return True

    def evaluate(self, latent: Halfspace, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        return signs(jnp.matmul(xs, latent.weights, precision=jax.lax.Precision.HIGHEST) > latent.threshold)


@FunctionClass.registry.add("majority", papers=("bhattamishra-2023",))
class Majority(Halfspaces):
    """sign(w'x - 1/2), w_i = 1 with probability `literal`, else 0: more relevant variables are +1 than -1; ties are -1.

    P(y = +1) = .4311 at dim 28. Bayes enumerates 2^dim subsets: dim <= 18.

    >>> task = Majority(dim=3)
    >>> voters = Halfspace(jnp.array([1.0, 1.0, 0.0]), jnp.float32(0.5))
    >>> print(task.evaluate(voters, jnp.array([[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])))
    [ 1. -1.]
    """

    lesson = (
        "Every relevant coordinate agrees a little with the label, so averages go far and Bayes only a little further."
    )

    literal: float = setting(0.3, "probability that a variable counts", above=0, below=1)

    @property
    def states(self) -> int:
        return 2**self.dim

    def sample_latent(self, key: PRNGKeyArray) -> Halfspace:
        weights = jax.random.bernoulli(key, self.literal, (self.dim,)).astype(jnp.float32)
        return Halfspace(weights, jnp.float32(0.5))

    def hypotheses(self) -> Halfspace:
        return Halfspace(tuples((0, 1), self.dim), jnp.full(self.states, 0.5))

    def log_prior(self, hypotheses: Halfspace) -> Float[Array, "H S"]:
        return independent(hypotheses.weights, jnp.float32(self.literal), jnp.float32(self.literal))


@FunctionClass.registry.add("threshold", papers=("bhattamishra-2023",))
class Threshold(Halfspaces):
    """sign(w'x - theta), w_i = -1 or +1 with probability `literal`/2 each, else 0; theta uniform in +-{.5, 1.5, 2.5}.

    P(y = +1) = 1/2 by symmetry. Bayes enumerates 6 3^dim parameters: dim <= 9.

    >>> task = Threshold(dim=3)
    >>> latent = Halfspace(jnp.array([1.0, -1.0, 0.0]), jnp.float32(1.5))
    >>> print(task.evaluate(latent, jnp.array([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])))
    [ 1. -1.]
    """

    lesson = "An unknown threshold costs little: what linear learners lose against Bayes are ties and rare weights."

    dim: int = setting(4, "number of input coordinates", at_least=1, at_most=100_000)
    literal: float = setting(0.3, "probability that a variable counts", above=0, below=1)

    @property
    def states(self) -> int:
        return len(THRESHOLDS) * 3**self.dim

    def sample_latent(self, key: PRNGKeyArray) -> Halfspace:
        occur, sign, threshold = jax.random.split(key, 3)
        weights = signs(jax.random.bernoulli(sign, 0.5, (self.dim,)))
        weights = jnp.where(jax.random.bernoulli(occur, self.literal, (self.dim,)), weights, 0.0)
        return Halfspace(weights, jax.random.choice(threshold, jnp.asarray(THRESHOLDS)))

    def hypotheses(self) -> Halfspace:
        weights = tuples((0, 1, -1), self.dim)
        count = len(THRESHOLDS)
        return Halfspace(jnp.tile(weights, (count, 1)), jnp.repeat(jnp.asarray(THRESHOLDS), len(weights)))

    def log_prior(self, hypotheses: Halfspace) -> Float[Array, "H S"]:
        return independent(hypotheses.weights, jnp.float32(self.literal), jnp.float32(self.literal / 2))


@FunctionClass.registry.add("integer-halfspace", papers=("bhattamishra-2023",))
class IntegerHalfspace(Halfspaces):
    """sign(w'x - 1/2), w_i uniform over the integers from -largest to largest.

    P(y = +1) = .4813 at dim 28, .4779 at 20, .4690 at 10. Bayes enumerates 7^dim weights: dim <= 6.

    >>> task = IntegerHalfspace(dim=2)
    >>> latent = Halfspace(jnp.array([3.0, -2.0]), jnp.float32(0.5))
    >>> print(task.evaluate(latent, jnp.array([[1.0, 1.0], [-1.0, 1.0]])))
    [ 1. -1.]
    """

    lesson = "Large weights decide most labels; Bayes finds the order of the weights before their size."

    dim: int = setting(3, "number of input coordinates", at_least=1, at_most=100_000)
    largest: int = setting(3, "the largest weight", at_least=1)

    @property
    def states(self) -> int:
        return (2 * self.largest + 1) ** self.dim

    def sample_latent(self, key: PRNGKeyArray) -> Halfspace:
        weights = jax.random.randint(key, (self.dim,), -self.largest, self.largest + 1)
        return Halfspace(weights.astype(jnp.float32), jnp.float32(0.5))

    def hypotheses(self) -> Halfspace:
        weights = tuples(tuple(range(-self.largest, self.largest + 1)), self.dim)
        return Halfspace(weights, jnp.full(self.states, 0.5))

    def log_prior(self, hypotheses: Halfspace) -> Float[Array, "H S"]:
        return jnp.zeros((self.states, 1))


def independent(weights: Float[Array, "H D"], literal: Float[Array, ""], each: Float[Array, ""]) -> Float[Array, "H S"]:
    """Log prior of independent weights that are 0 with probability 1 - literal; every other value has `each`."""
    occur = jnp.sum(weights != 0, -1).astype(jnp.float32)
    return (occur * jnp.log(each) + (weights.shape[1] - occur) * jnp.log1p(-literal))[:, None]
