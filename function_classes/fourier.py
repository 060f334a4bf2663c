"""Trigonometric functions of one number: Fourier series (Panwar et al. 2023, section 4.2) and single sinusoids."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from function_classes.base import FunctionClass
from function_classes.features import FeatureFunctions, equal_gaussians, one_gaussian
from function_classes.fields import Problem, setting
from function_classes.inputs import InputLaw, Uniform
from function_classes.mixtures import GaussianMixture


def waves(xs: Float[Array, "N 1"], rates: Any) -> Float[Array, "N F"]:
    """cos(r x), sin(r x) for every rate in turn."""
    angles = xs * rates[None, :]
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1).reshape(xs.shape[0], -1)


class Series(FeatureFunctions):
    """What Fourier series share: frequencies n pi / half_period for n = 1..N."""

    noise_std: float = setting(0.1, "standard deviation of the label noise, in the unit of y", at_least=0)
    inputs: InputLaw = setting(Uniform(low=-5.0, high=5.0), "law of the inputs")
    frequencies: int = setting(4, "N, the largest frequency", at_least=1, at_most=100_000)
    half_period: float = setting(5.0, "L: functions repeat after 2 L", above=0)
    weight_std: float = setting(1.0, "standard deviation of every coefficient before it is divided by sqrt(N)", above=0)

    def waves(self, xs: Float[Array, "N 1"]) -> Float[Array, "N F"]:
        return waves(xs, jnp.pi / self.half_period * jnp.arange(1, self.frequencies + 1, dtype=jnp.float32))


@FunctionClass.registry.add("fourier", papers=("panwar-2023",))
class Fourier(Series):
    """f = (a_0 + sum_{n=1..N} a_n cos(n pi x / L) + b_n sin(n pi x / L)) / sqrt(N), coefficients N(0, weight_std^2).

    Bayes is ridge on 2 N + 1 features. E[f(x)^2] = weight_std^2 (N + 1) / N at every x: the constant makes it more than
    1, and it changes with N. The paper has N = 10, L = 5, x ~ U(-5, 5), no noise.

    >>> task = Fourier(frequencies=1, half_period=2.0)
    >>> print(jnp.round(task.feature_map(jnp.array([[0.0], [1.0], [2.0]])), 3) + 0.0)
    [[ 1.  1.  0.]
     [ 1.  0.  1.]
     [ 1. -1.  0.]]
    """

    lesson = "2 N + 1 features decide everything: Bayes needs about as many examples, linear learners learn nothing."

    def prior(self) -> GaussianMixture:
        return one_gaussian(self.weight_std / jnp.sqrt(self.frequencies) * jnp.ones(2 * self.frequencies + 1))

    def feature_map(self, xs: Float[Array, "N 1"]) -> Float[Array, "N F"]:
        return jnp.concatenate([jnp.ones_like(xs), self.waves(xs)], 1)

    @property
    def mean_square(self) -> Float[Array, ""]:
        return jnp.asarray(self.weight_std**2 * (1 + 1 / self.frequencies), jnp.float32)


@FunctionClass.registry.add("fourier-mixture", papers=("panwar-2023",))
class FourierMixture(Series):
    """f = sum_{n=1..M} (a_n cos(n pi x / L) + b_n sin(n pi x / L)) / sqrt(M) with M uniform on 1..N for every prompt.

    Bayes averages one regression per M. Low frequencies are in more components than high ones, so functions that
    explain few examples by low frequencies are likelier: the "simplicity bias" of models trained on this class is that
    of the prior. E[f(x)^2] = weight_std^2 at every x, for every M.

    >>> task = FourierMixture(frequencies=3)
    >>> print((task.prior().stds > 0).astype(int))
    [[1 1 0 0 0 0]
     [1 1 1 1 0 0]
     [1 1 1 1 1 1]]
    """

    lesson = "The number of frequencies is inferred on the way: Bayes prefers low ones early, because the prior does."

    def prior(self) -> GaussianMixture:
        counts = np.arange(1, self.frequencies + 1)
        inside = (np.repeat(counts, 2)[None] <= counts[:, None]) / np.sqrt(counts)[:, None]
        return equal_gaussians(self.weight_std * jnp.asarray(inside, jnp.float32))

    def feature_map(self, xs: Float[Array, "N 1"]) -> Float[Array, "N F"]:
        return self.waves(xs)

    @property
    def mean_square(self) -> Float[Array, ""]:
        return jnp.asarray(self.weight_std**2, jnp.float32)


@FunctionClass.registry.add("sinusoid", papers=("finn-2017",))
class Sinusoid(FeatureFunctions):
    """f = a cos(r x) + b sin(r x) with a, b ~ N(0, weight_std^2) and the rate r one of `rates`, drawn for every prompt.

    The amplitude is Rayleigh with E[amplitude^2] = 2 weight_std^2 and the phase uniform on the circle, which keeps
    Bayes exact; Finn et al. draw the amplitude from U(0.1, 5), the phase from U(0, pi), and have r = 1, x ~ U(-5, 5).

    >>> task = Sinusoid(rates=(1.0, 2.0))
    >>> print(task.prior().stds)
    [[1. 1. 0. 0.]
     [0. 0. 1. 1.]]
    """

    lesson = "At a known rate two examples decide the wave; amplitude and phase are two linear weights."

    inputs: InputLaw = setting(Uniform(low=-5.0, high=5.0), "law of the inputs")
    rates: tuple[float, ...] = setting((1.0,), "possible rates, in radians per unit of x", above=0)
    weight_std: float = setting(1.0, "standard deviation of both coefficients", above=0)

    def problems(self):
        yield from super().problems()
        if not self.rates:
            yield Problem("rates", "needs at least one number")

    def prior(self) -> GaussianMixture:
        return equal_gaussians(self.weight_std * jnp.repeat(jnp.eye(len(self.rates)), 2, axis=1))

    def feature_map(self, xs: Float[Array, "N 1"]) -> Float[Array, "N F"]:
        return waves(xs, jnp.asarray(self.rates))

    @property
    def mean_square(self) -> Float[Array, ""]:
        return jnp.asarray(self.weight_std**2, jnp.float32)
