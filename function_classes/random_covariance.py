"""Linear functions of inputs whose covariance is drawn for every prompt (Zhang, Frei, Bartlett 2023, section 5)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass
from function_classes.inputs import InputLaw
from function_classes.linear import LinearRegression


class CovariantTask(NamedTuple):
    """A task: its weights, and the eigenvalues of its inputs' covariance."""

    weights: Float[Array, "D"]
    eigenvalues: Float[Array, "D"]


@FunctionClass.registry.add("random-covariance", papers=("zhang-2023",))
class RandomCovariance(LinearRegression):
    """`linear-regression` with x = diag(lambda)^(1/2) z, z from `inputs`, and lambda_i ~ Exp(1) for every prompt.

    The covariance says nothing about w, so Bayes is the same ridge: it adapts to any covariance, where one layer of
    linear attention can only learn the average. E[y^2] = weight_std^2 E|z|^2 + noise_std^2.

    >>> task = RandomCovariance(dim=2, points=3, noise_std=0.0)
    >>> latent = CovariantTask(jnp.array([1.0, -1.0]), jnp.array([4.0, 1.0]))
    >>> print(task.evaluate(latent, jnp.array([[3.0, 1.0]])))
    [2.]
    """

    lesson = "Ridge stays Bayes whatever the covariance; one gradient step has no rate that fits all of them."

    @property
    def input_law(self) -> tuple[str, InputLaw]:
        return self.name, self.inputs

    def sample_latent(self, key: PRNGKeyArray) -> CovariantTask:
        weights, eigenvalues = jax.random.split(key)
        return CovariantTask(super().sample_latent(weights), jax.random.exponential(eigenvalues, (self.dim,)))

    def sample_inputs(self, latent: CovariantTask, key: PRNGKeyArray) -> Float[Array, "P D"]:
        return jnp.sqrt(latent.eigenvalues)[None, :] * self.inputs.sample(key, self.points, self.dim)

    def input_square(self) -> Float[Array, "D D"]:
        """E[xx']: E[lambda] = 1 on the diagonal, E[lambda^(1/2)]^2 = pi / 4 elsewhere."""
        square = super().input_square()
        return jnp.pi / 4 * square + jnp.diag((1 - jnp.pi / 4) * jnp.diag(square))
