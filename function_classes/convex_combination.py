"""Convex combinations of two linear classes, a f1 + (1 - a) f2 (Yadlowsky et al. 2023: out of distribution)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from function_classes.base import BayesKind, FunctionClass
from function_classes.fields import Problem, setting
from function_classes.inputs import InputLaw
from function_classes.linear import LinearRegression
from function_classes.linear_functions import WeightPosterior, too_many
from function_classes.mixtures import GaussianMixture
from function_classes.spaces import Space
from function_classes.sparse import SparseLinear

_MOST_PAIRS = 5000


class Pair(NamedTuple):
    """One task of each class."""

    first: PyTree
    second: PyTree


@FunctionClass.registry.add("convex-combination", papers=("yadlowsky-2023",))
class ConvexCombination(WeightPosterior):
    """y = c (share f1(x) + (1 - share) f2(x)) + noise_std e, with f1 and f2 from two linear classes, fresh in every
    prompt. The classes' own noise is not used.

    The weights c (a w1 + (1 - a) w2) come from the mixture of all pairs of components, with means c (a m1 + (1 - a) m2)
    and variances c^2 (a^2 s1^2 + (1 - a)^2 s2^2); Bayes averages over these, at most 5,000. Two classes with
    E[f^2] = 1 make E[f^2] = a^2 + (1 - a)^2: c divides by its root where `unit_variance` asks for it, else c = 1.

    >>> task = ConvexCombination(points=3, share=0.6, first=LinearRegression(dim=2), second=LinearRegression(dim=2))
    >>> print(round(float(task.mean_square), 3))  # 2 (0.36 + 0.16)
    1.04
    """

    lesson = "A sum of two functions is no mixture of them: Bayes needs the posterior of pairs."

    points: int = setting(16, "positions in a prompt", at_least=1)
    share: float = setting(0.5, "a, the share of the first class", at_least=0, at_most=1)
    first: FunctionClass = setting(LinearRegression(dim=8), "the class of f1")
    second: FunctionClass = setting(SparseLinear(), "the class of f2")
    unit_variance: bool = setting(False, "scale the combination to E[f^2] = 1")

    def problems(self):
        for name in ("first", "second"):
            one = getattr(self, name)
            if not isinstance(one, LinearRegression | WeightPosterior) or not isinstance(one.input_law, InputLaw):
                yield Problem(name, f"{one.name} has no law of weights to combine; linear-regression has one")
                return
        if self.first.x_space != self.second.x_space:
            yield Problem("second", f"has inputs {self.second.x_space}, the first class has {self.first.x_space}")
        if self.first.input_law != self.second.input_law:
            yield Problem("second", "draws other inputs than the first class; give both the same law")

    @property
    def x_space(self) -> Space:
        return self.first.x_space

    @property
    def input_law(self) -> InputLaw:
        return self.first.input_law

    @property
    def bayes_kind(self) -> BayesKind:
        count = 1
        for one in (self.first, self.second):
            if one.bayes_kind.kind == "none":
                return one.bayes_kind
            count *= jax.eval_shape(lambda one=one: _weights(one).log_probs).size
        reason = too_many(count, "pairs of components", _MOST_PAIRS)
        return BayesKind("none", reason) if reason else super().bayes_kind

    @property
    def mean_square(self) -> Float[Array, ""]:
        return jnp.sum(self.prior().second_moment() * self._input_square())

    def prior(self) -> GaussianMixture:
        plain = self._pairs()
        if not self.unit_variance:
            return plain
        scale = 1 / jnp.sqrt(jnp.sum(plain.second_moment() * self._input_square()))
        return GaussianMixture(plain.log_probs, scale * plain.means, scale * plain.stds)

    def sample_latent(self, key: PRNGKeyArray) -> Pair:
        first, second = jax.random.split(key)
        return Pair(self.first.sample_latent(first), self.second.sample_latent(second))

    def sample_inputs(self, latent: Pair, key: PRNGKeyArray) -> Float[Array, "P D"]:
        return self.input_law.sample(key, self.points, self.x_space.features)

    def evaluate(self, latent: Pair, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        first, second = self.first.evaluate(latent.first, xs), self.second.evaluate(latent.second, xs)
        combined = self.share * first + (1 - self.share) * second
        if not self.unit_variance:
            return combined
        return combined / jnp.sqrt(jnp.sum(self._pairs().second_moment() * self._input_square()))

    def _pairs(self) -> GaussianMixture:
        a, b = self.share, 1 - self.share
        first, second = _weights(self.first), _weights(self.second)
        means = a * first.means[:, None] + b * second.means[None]
        stds = jnp.sqrt(a**2 * first.stds[:, None] ** 2 + b**2 * second.stds[None] ** 2)
        log_probs = first.log_probs[:, None] + second.log_probs[None]
        dim = means.shape[-1]
        return GaussianMixture(log_probs.reshape(-1), means.reshape(-1, dim), stds.reshape(-1, dim))

    def _input_square(self) -> Float[Array, "D D"]:
        mean, variance = self.input_law.moments(self.x_space.features)
        return jnp.diag(variance) + mean[:, None] * mean[None, :]


def _weights(one: FunctionClass) -> GaussianMixture:
    """The law of a class's weights; `problems` lets only these classes pass."""
    assert isinstance(one, LinearRegression | WeightPosterior)
    return one.prior()
