"""Laws of an unknown noise level s: how it is drawn, and a grid (log weights, values) that stands for it."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind
from function_classes.fields import Fields, Problem, setting
from function_classes.registry import Registry

Grid = tuple[Float[Array, "M"], Float[Array, "M"]]


class NoiseLaw(Fields):
    """A law of the standard deviation s > 0 of label noise."""

    registry: ClassVar[Registry] = Registry("noise law", "function_classes.noise_laws", "icl.noise_laws")

    @property
    def grid_kind(self) -> BayesKind:
        """How good averages over `grid` are."""
        raise NotImplementedError

    @property
    def mean_variance(self) -> Float[Array, ""]:
        """E[s^2]."""
        raise NotImplementedError

    def sample(self, key: PRNGKeyArray) -> Float[Array, ""]:
        raise NotImplementedError

    def grid(self) -> Grid:
        """Log weights, normalized, and levels."""
        raise NotImplementedError


@NoiseLaw.registry.add("inverse-gamma")
class InverseGamma(NoiseLaw):
    """s^2 ~ IG(shape, rate): 1 / s^2 is Gamma with that shape and rate; E[s^2] = rate / (shape - 1)."""

    shape: float = setting(5.0, "a; above 1, so that y has a variance", above=1)
    rate: float = setting(1.0, "b, in the unit of y^2", above=0)

    @property
    def grid_kind(self) -> BayesKind:
        return BayesKind("quadrature", "trapezoids in log s, 128 nodes between s^2 = rate / 200 and 200 rate", 1e-3)

    @property
    def mean_variance(self) -> Float[Array, ""]:
        return jnp.asarray(self.rate / (self.shape - 1), jnp.float32)

    def sample(self, key: PRNGKeyArray) -> Float[Array, ""]:
        return jnp.sqrt(self.rate / jax.random.gamma(key, jnp.asarray(self.shape, jnp.float32)))

    def grid(self) -> Grid:
        """The density of log s^2 is proportional to exp(-a log s^2 - b / s^2)."""
        logs = jnp.linspace(-np.log(200), np.log(200), 128)
        weights = jax.nn.log_softmax(-self.shape * logs - jnp.exp(-logs))
        return weights, jnp.sqrt(self.rate * jnp.exp(logs))


class Interval(NoiseLaw):
    """Between two levels."""

    low: float = setting(0.1, "the least level", above=0)
    high: float = setting(2.0, "the largest level", above=0)

    def problems(self):
        if self.high <= self.low:
            yield Problem("high", f"must be above low = {self.low:g}, got {self.high:g}")


@NoiseLaw.registry.add("levels")
class Levels(Interval):
    """s uniform on `count` equally spaced levels, ends included: averages over them are exact."""

    count: int = setting(40, "number of levels", at_least=2)

    @property
    def grid_kind(self) -> BayesKind:
        return BayesKind("exact", f"finite mixture over {self.count} noise levels")

    @property
    def mean_variance(self) -> Float[Array, ""]:
        return jnp.mean(self.grid()[1] ** 2)

    def sample(self, key: PRNGKeyArray) -> Float[Array, ""]:
        return self.grid()[1][jax.random.randint(key, (), 0, self.count)]

    def grid(self) -> Grid:
        steps = jnp.linspace(0.0, 1.0, self.count)
        return jnp.full(self.count, -np.log(self.count), jnp.float32), self.low + (self.high - self.low) * steps


@NoiseLaw.registry.add("uniform-noise")
class UniformNoise(Interval):
    """s ~ U[low, high], averaged by Gauss-Legendre nodes in s."""

    @property
    def grid_kind(self) -> BayesKind:
        return BayesKind("quadrature", "64 Gauss-Legendre nodes", 1e-3)

    @property
    def mean_variance(self) -> Float[Array, ""]:
        return jnp.asarray((self.low**2 + self.low * self.high + self.high**2) / 3, jnp.float32)

    def sample(self, key: PRNGKeyArray) -> Float[Array, ""]:
        return self.low + (self.high - self.low) * jax.random.uniform(key)

    def grid(self) -> Grid:
        nodes, weights = np.polynomial.legendre.leggauss(64)
        steps = jnp.asarray((nodes + 1) / 2, jnp.float32)
        return jnp.asarray(np.log(weights / 2), jnp.float32), self.low + (self.high - self.low) * steps
