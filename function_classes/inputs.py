"""Laws of the inputs of classes x -> y: rows drawn independently, with stated second moment."""

from collections.abc import Iterable
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import Fields, Problem, setting
from function_classes.registry import Registry


class InputLaw(Fields):
    """Draws rows x of a given dimension. The law never depends on the task, so it carries no evidence about it."""

    registry: ClassVar[Registry] = Registry("input law", "function_classes", "icl.input_laws")

    def refuses(self, dim: int) -> str | None:
        """None, or why there are no such inputs of that dimension."""
        return None

    def sample(self, key: PRNGKeyArray, points: int, dim: int) -> Float[Array, "P D"]:
        raise NotImplementedError

    def moments(self, dim: int) -> tuple[Float[Array, "D"], Float[Array, "D"]]:
        """Means and variances of the coordinates, which are uncorrelated in every law here."""
        raise NotImplementedError

    def log_density(self, xs: Float[Array, "P *x"]) -> Float[Array, "P"]:
        """log p(x) of every row, in nats; -inf outside the support."""
        raise NotImplementedError


class Normal(InputLaw):
    """x ~ N(0, diag(variances)): what the Gaussian laws share."""

    def variances(self, dim: int) -> Float[Array, "D"]:
        raise NotImplementedError

    def sample(self, key: PRNGKeyArray, points: int, dim: int) -> Float[Array, "P D"]:
        return jnp.sqrt(self.variances(dim))[None, :] * jax.random.normal(key, (points, dim))

    def moments(self, dim: int) -> tuple[Float[Array, "D"], Float[Array, "D"]]:
        return jnp.zeros(dim), self.variances(dim)

    def log_density(self, xs: Float[Array, "P D"]) -> Float[Array, "P"]:
        variances = self.variances(xs.shape[-1])[None, :]
        return -0.5 * jnp.sum(jnp.log(2 * jnp.pi * variances) + xs**2 / variances, -1)


@InputLaw.registry.add("gaussian")
class Gaussian(Normal):
    """x ~ N(0, std^2 I)."""

    std: float = setting(1.0, "standard deviation of every coordinate", above=0)

    def sample(self, key: PRNGKeyArray, points: int, dim: int) -> Float[Array, "P D"]:
        return self.std * jax.random.normal(key, (points, dim))

    def variances(self, dim: int) -> Float[Array, "D"]:
        return self.std**2 * jnp.ones(dim)


@InputLaw.registry.add("uniform")
class Uniform(InputLaw):
    """x ~ U[low, high], every coordinate alone; variance (high - low)^2 / 12 around the middle."""

    low: float = setting(-1.0, "lower end")
    high: float = setting(1.0, "upper end")

    def problems(self):
        if self.high <= self.low:
            yield Problem("high", f"must be above low = {self.low:g}, got {self.high:g}")

    def sample(self, key: PRNGKeyArray, points: int, dim: int) -> Float[Array, "P D"]:
        unit = jax.random.uniform(key, (points, dim))
        return self.low + (self.high - self.low) * unit

    def moments(self, dim: int) -> tuple[Float[Array, "D"], Float[Array, "D"]]:
        return (self.low + self.high) / 2 * jnp.ones(dim), (self.high - self.low) ** 2 / 12 * jnp.ones(dim)

    def log_density(self, xs: Float[Array, "P D"]) -> Float[Array, "P"]:
        inside = jnp.all((xs >= self.low) & (xs <= self.high), -1)
        return jnp.where(inside, -xs.shape[-1] * jnp.log(jnp.asarray(self.high - self.low)), -jnp.inf)


@InputLaw.registry.add("power-law")
class PowerLaw(Normal):
    """x ~ N(0, diag(lambda)) with lambda_i proportional to i^-exponent and E|x|^2 = dim (Garg 2022's skewed inputs
    have exponent 2, there after a rotation)."""

    exponent: float = setting(2.0, "how fast the eigenvalues of the covariance decay", at_least=0)

    def variances(self, dim: int) -> Float[Array, "D"]:
        spectrum = jnp.arange(1, dim + 1, dtype=jnp.float32) ** -self.exponent
        return spectrum * dim / jnp.sum(spectrum)


@InputLaw.registry.add("diagonal", papers=("zhang-2023",))
class Diagonal(Normal):
    """x ~ N(0, diag(eigenvalues))."""

    eigenvalues: tuple[float, ...] = setting((2.0, 1.0, 0.5, 0.25, 0.25), "variances, one per coordinate", above=0)

    def refuses(self, dim: int) -> str | None:
        count = len(self.eigenvalues)
        return None if count == dim else f"inputs 'diagonal' has {count} eigenvalues, and dim is {dim}"

    def variances(self, dim: int) -> Float[Array, "D"]:
        return jnp.asarray(self.eigenvalues)


def unfit(law: InputLaw, dim: int) -> Iterable[Problem]:
    """The problem of a class whose field `inputs` is a law that cannot have its dimension."""
    reason = law.refuses(dim)
    return () if reason is None else (Problem("inputs", reason),)
