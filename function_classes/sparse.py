"""Sparse linear functions (Garg et al. 2022; Panwar et al. 2023) with their exact spike-and-slab posterior."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prompt
from function_classes.fields import Problem, setting
from function_classes.linear_functions import MixtureOfWeights, log_probabilities, too_many
from function_classes.mixtures import Components, GaussianMixture, gaussian_components

_MOST_SUPPORTS = 5000


@FunctionClass.registry.add("sparse-linear", papers=("garg-2022", "panwar-2023", "yadlowsky-2023"))
class SparseLinear(MixtureOfWeights):
    """y = w'x + noise_std e; `sparsity` coordinates of w, chosen uniformly, are N(0, weight_std^2), the others 0.

    Bayes averages the C(dim, sparsity) linear regressions on the possible supports, at most 5,000 (dim 20, sparsity 3:
    1,140). E[f^2] = sparsity weight_std^2 for x ~ N(0, I); papers that divide y by sqrt(sparsity) have weight_std =
    sparsity^(-1/2). Without noise the posterior keeps the supports that interpolate, from the floor of 1e-6 on.

    >>> task = SparseLinear(dim=4, points=3, sparsity=1)
    >>> print(int(jnp.sum(task.sample(jax.random.key(0)).latent != 0)), task.supports().shape)
    1 (4, 1)
    """

    lesson = (
        "Below k = dim, knowing that few weights matter beats ridge by far: the sum over supports is what Lasso "
        "approximates."
    )

    dim: int = setting(8, "number of input coordinates", at_least=1)
    sparsity: int = setting(2, "number of weights that are not 0", at_least=1)
    noise_std: float = setting(0.1, "standard deviation of the label noise, in the unit of y", at_least=0)
    weight_std: float = setting(1.0, "standard deviation of every weight that is not 0", above=0)

    def problems(self):
        yield from super().problems()
        if self.sparsity > self.dim:
            yield Problem("sparsity", f"must be at most dim = {self.dim}, got {self.sparsity}")

    @property
    def bayes_kind(self) -> BayesKind:
        reason = too_many(math.comb(self.dim, self.sparsity), "supports", _MOST_SUPPORTS)
        return BayesKind("none", reason) if reason else super().bayes_kind

    def weight_square(self) -> Float[Array, "D D"]:
        return self.weight_std**2 * self.sparsity / self.dim * jnp.eye(self.dim)

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "D"]:
        where, size = jax.random.split(key)
        support = jax.random.permutation(where, self.dim)[: self.sparsity]
        values = self.weight_std * jax.random.normal(size, (self.sparsity,))
        return jnp.zeros(self.dim).at[support].set(values)

    def supports(self) -> Int[np.ndarray, "M s"]:
        """The possible supports, in lexicographic order."""
        return np.array(list(itertools.combinations(range(self.dim), self.sparsity)))

    def prior(self) -> GaussianMixture:
        supports = self.supports()
        inside = np.zeros((len(supports), self.dim), np.float32)
        np.put_along_axis(inside, supports, 1, 1)
        stds = self.weight_std * jnp.asarray(inside)
        return GaussianMixture(log_probabilities((), len(supports)), jnp.zeros_like(stds), stds)

    def components(self, prompt: Prompt) -> Components:
        """One regression per support on its own coordinates: cost O(M P sparsity^2), not O(M P dim^2)."""
        slab = self.weight_std * jnp.ones((1, self.sparsity))
        alone = GaussianMixture(jnp.zeros(1), jnp.zeros_like(slab), slab)

        def one(support: Int[Array, "s"]) -> Components:
            return gaussian_components(alone, prompt.xs[:, support], prompt.ys, self.noise_std)

        found = jax.vmap(one)(jnp.asarray(self.supports()))
        return Components(*(a[:, 0] for a in found))
