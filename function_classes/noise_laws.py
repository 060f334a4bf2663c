"""Laws of an unknown noise level s: how it is drawn, and a grid (log weights, values) that stands for it."""

from collections.abc import Iterable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind
from function_classes.fields import Fields, Problem, setting
from function_classes.registry import Registry

Grid = tuple[Float[Array, "M"], Float[Array, "M"]]

# After k examples log s is known to 1 / sqrt(2 k). Nodes are static while the fields of a law are data, so one number
# of them has to be dense enough for every law that is allowed, wherever in it the level lies.
NODES = 256
# Measured against 4,000 nodes in float64, at corners of the fields and levels in both tails of the law: mean (in
# standard deviations of y), variance (relative) and log predictive (nats) err by less than 1e-4 at up to 300 examples.
# Rounding of y - w'x adds what it adds in every class: up to 1e-3 where levels are 1 / 500 of w'x, more below.
ERROR = 1e-3
WHERE = "float32 adds more where s is below |w'x| / 500"


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

    def grid_problems(self) -> Iterable[Problem]:
        """Why averages over `grid` would be worse than `grid_kind` says."""
        return ()


@NoiseLaw.registry.add("inverse-gamma")
class InverseGamma(NoiseLaw):
    """s^2 ~ IG(shape, rate): 1 / s^2 is Gamma with that shape and rate; E[s^2] = rate / (shape - 1)."""

    shape: float = setting(5.0, "a; above 1, so that y has a variance", above=1)
    rate: float = setting(1.0, "b, in the unit of y^2", above=0)

    # Below, E[s^2] lives on levels that are rarely drawn and lie far apart; above, float32 cannot tell levels apart.
    shapes: ClassVar[tuple[float, float]] = (1.5, 1e6)

    @property
    def grid_kind(self) -> BayesKind:
        return BayesKind(
            "quadrature", f"trapezoids in log s, {NODES} nodes between quantiles of the law; {WHERE}", ERROR
        )

    def grid_problems(self) -> Iterable[Problem]:
        low, high = self.shapes
        if not low <= self.shape <= high:
            yield Problem("shape", f"averages over levels need {low:g} to {high:g}, got {self.shape:g}")

    @property
    def mean_variance(self) -> Float[Array, ""]:
        return jnp.asarray(self.rate / (self.shape - 1), jnp.float32)

    def sample(self, key: PRNGKeyArray) -> Float[Array, ""]:
        return jnp.sqrt(self.rate / jax.random.gamma(key, jnp.asarray(self.shape, jnp.float32)))

    def grid(self) -> Grid:
        """With t = log(a s^2 / b) the density of t is proportional to exp(-a g(t)), g(t) = t + exp(-t) - 1.

        That of t weighted by s^2 is proportional to exp(-(a - 1) g(t - m)), m = log(a / (a - 1)). Nodes go from where
        the first exponent is below -16 to where the second is below -12: g(-u) >= c at u = log(1 + sqrt(2 c) + c), and
        g(u) >= c at u = c + min(1, sqrt(2 c)).
        """
        shape = jnp.asarray(self.shape, jnp.float32)
        below, above = 16 / shape, 12 / (shape - 1)
        low = -jnp.log1p(jnp.sqrt(2 * below) + below)
        high = above + jnp.minimum(1.0, jnp.sqrt(2 * above)) - jnp.log1p(-1 / shape)
        logs = low + (high - low) * jnp.linspace(0.0, 1.0, NODES)
        # Large shapes have small t only, where t + (exp(-t) - 1) cancels.
        series = logs**2 * (1 / 2 - logs / 6 + logs**2 / 24)
        exponents = shape * jnp.where(jnp.abs(logs) < 0.03, series, logs + jnp.expm1(-logs))
        return jax.nn.log_softmax(-exponents), jnp.sqrt(self.rate / shape * jnp.exp(logs))


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
    """s ~ U[low, high], averaged by Gauss-Legendre nodes in log s: posteriors are as narrow at every level."""

    widest: ClassVar[float] = 1e4

    def problems(self):
        yield from super().problems()
        if self.high > self.widest * self.low:
            yield Problem("high", f"averages need at most {self.widest:g} low = {self.widest * self.low:g}")

    @property
    def grid_kind(self) -> BayesKind:
        return BayesKind("quadrature", f"{NODES} Gauss-Legendre nodes in log s; {WHERE}", ERROR)

    @property
    def mean_variance(self) -> Float[Array, ""]:
        return jnp.asarray((self.low**2 + self.low * self.high + self.high**2) / 3, jnp.float32)

    def sample(self, key: PRNGKeyArray) -> Float[Array, ""]:
        return self.low + (self.high - self.low) * jax.random.uniform(key)

    def grid(self) -> Grid:
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        steps = jnp.asarray((nodes + 1) / 2, jnp.float32)
        # log1p, for levels that are close to each other.
        logs = jnp.log1p(jnp.asarray((self.high - self.low) / self.low, jnp.float32)) * steps
        return jax.nn.log_softmax(jnp.asarray(np.log(weights), jnp.float32) + logs), self.low * jnp.exp(logs)
