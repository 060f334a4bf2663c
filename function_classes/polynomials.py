"""Polynomials of degree two: squares (Garg et al. 2022, in code) and sets of monomials (Panwar et al. 2023)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from function_classes.base import FunctionClass, NotAvailable, Prompt
from function_classes.features import FeatureFunctions, equal_gaussians, one_gaussian
from function_classes.fields import Problem, setting
from function_classes.inputs import InputLaw, Normal, Uniform
from function_classes.mixtures import Components, GaussianMixture, gaussian_components
from function_classes.spaces import Real


def even_moments(law: InputLaw, dim: int) -> tuple[Float[Array, "D"], Float[Array, "D"]]:
    """E[x_i^2] and E[x_i^4] of independent coordinates. Raises NotAvailable for laws whose E[x^4] is not listed."""
    mean, variance = law.moments(dim)
    if isinstance(law, Normal):
        return variance, 3 * variance**2
    if isinstance(law, Uniform):
        fourth = mean**4 + 6 * mean**2 * variance + 1.8 * variance**2
        return mean**2 + variance, fourth
    raise NotAvailable(f"E[x^4] is known for normal and uniform inputs, not for {law.name!r}")


@FunctionClass.registry.add("quadratic", papers=("garg-2022",))
class Quadratic(FeatureFunctions):
    """f = sum_i w_i x_i^2 / sqrt(3), w ~ N(0, weight_std^2 I). For x ~ N(0, I), E[f^2] = dim weight_std^2.

    >>> task = Quadratic(dim=2, points=3)
    >>> print(jnp.round(task.feature_map(jnp.array([[1.0, -2.0]])), 3))
    [[0.577 2.309]]
    """

    lesson = "Linear in the squares: Bayes is done soon after k = dim, and learners linear in x never beat the null."

    dim: int = setting(5, "number of input coordinates", at_least=1, at_most=10_000)
    weight_std: float = setting(1.0, "standard deviation of every weight", above=0)

    @property
    def x_space(self) -> Real:
        return Real((self.dim,))

    def prior(self) -> GaussianMixture:
        return one_gaussian(self.weight_std * jnp.ones(self.dim))

    def feature_map(self, xs: Float[Array, "N D"]) -> Float[Array, "N F"]:
        return xs**2 / jnp.sqrt(3.0)

    @property
    def mean_square(self) -> Float[Array, ""]:
        return self.weight_std**2 * jnp.sum(even_moments(self.inputs, self.dim)[1]) / 3


@FunctionClass.registry.add("monomials", papers=("panwar-2023",))
class Monomials(FeatureFunctions):
    """f = sum_{(i, j) in S} w_ij x_i x_j / sqrt(|S|) with S one of `sets` fixed sets of `size` of the dim (dim + 1) / 2
    monomials of degree two, drawn once by `set_seed`; every prompt draws its set uniformly, and w ~ N(0, weight_std^2).

    Bayes averages one linear regression per set. E[f^2] = weight_std^2 (3 squares + products) / |S| on average over
    sets, for x ~ N(0, I): squares count thrice, so the scale depends on the sets. Other seeds give prompts of unseen
    sets. The paper has dim 20 and one set of 20, or dim 10 and 100 sets of 10.

    >>> task = Monomials(dim=2, size=3)
    >>> print(task.pairs().tolist(), task.feature_map(jnp.array([[2.0, 3.0]])))
    [[0, 0], [0, 1], [1, 1]] [[4. 6. 9.]]
    """

    lesson = "Knowing the sets of monomials is worth many examples: Bayes needs about size of them, not dim^2 / 2."

    dim: int = setting(4, "number of input coordinates", at_least=1, at_most=10_000)
    size: int = setting(3, "monomials in a set", at_least=1)
    sets: int = setting(1, "number of sets", at_least=1)
    set_seed: int = setting(0, "of the sets", at_least=0, at_most=2**32 - 1)
    weight_std: float = setting(1.0, "standard deviation of every weight in the set", above=0)

    def problems(self):
        yield from super().problems()
        count = math.comb(self.dim + 1, 2)
        if self.size > count:
            yield Problem("size", f"must be at most dim (dim + 1) / 2 = {count}, got {self.size}")

    @property
    def x_space(self) -> Real:
        return Real((self.dim,))

    def pairs(self) -> Int[np.ndarray, "F 2"]:
        """i <= j of every monomial x_i x_j."""
        return np.stack(np.triu_indices(self.dim), -1)

    def members(self) -> Int[Array, "M S"]:
        """The monomials of every set, in increasing order."""
        keys = jax.random.split(jax.random.key(self.set_seed), self.sets)
        shuffled = jax.vmap(lambda key: jax.random.permutation(key, len(self.pairs())))(keys)
        return jnp.sort(shuffled[:, : self.size], 1)

    def prior(self) -> GaussianMixture:
        inside = jnp.zeros((self.sets, len(self.pairs()))).at[jnp.arange(self.sets)[:, None], self.members()].set(1.0)
        return equal_gaussians(self.weight_std / jnp.sqrt(self.size) * inside)

    def feature_map(self, xs: Float[Array, "N D"]) -> Float[Array, "N F"]:
        first, second = self.pairs().T
        return xs[:, first] * xs[:, second]

    def feature_squares(self) -> Float[Array, "F"]:
        second, fourth = even_moments(self.inputs, self.dim)
        i, j = self.pairs().T
        return jnp.where(jnp.asarray(i == j), fourth[i], second[i] * second[j])

    def components(self, prompt: Prompt) -> Components:
        """One regression per set on its own monomials: cost O(M P size^2)."""
        features = self.feature_map(prompt.xs)
        alone = one_gaussian(self.weight_std / jnp.sqrt(self.size) * jnp.ones(self.size))

        def one(members: Int[Array, "S"]) -> Components:
            return gaussian_components(alone, features[:, members], prompt.ys, self.noise_std)

        return Components(*(a[:, 0] for a in jax.vmap(one)(self.members())))
