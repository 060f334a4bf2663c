"""Linear functions with low-rank positive weight matrices, y = <B'B, X> (Panwar et al. 2023, "LowRank")."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass
from function_classes.fields import Problem, setting
from function_classes.linear_functions import LinearFunctions


@FunctionClass.registry.add("low-rank", papers=("panwar-2023",))
class LowRank(LinearFunctions):
    """w = weight_std vec(B'B) with B of shape (rank, m) and entries N(0, 1); x in R^dim, dim = m^2.

    The matrix is symmetric and positive, with mean rank weight_std I (the paper fits general matrices of that rank,
    which is less than it could know). E[f^2] = weight_std^2 (rank^2 m + rank m (m + 1)) for x ~ N(0, I): 120 for the
    paper's m = 10, rank 1. The posterior of B given linear measurements of B'B has no closed form.

    >>> task = LowRank(dim=4, points=3)
    >>> w = task.sample_latent(jax.random.key(0)).reshape(2, 2)
    >>> print(bool(w[0, 1] == w[1, 0]), round(abs(float(jnp.linalg.det(w))), 4))
    True 0.0
    """

    lesson = "No closed posterior is known; ridge does not use that a matrix of low rank has few degrees of freedom."

    dim: int = setting(9, "number of input coordinates, a square m^2", at_least=1)
    rank: int = setting(1, "rank of the m x m weight matrix", at_least=1)
    weight_std: float = setting(1.0, "factor on the weight matrix B'B", above=0)

    @property
    def side(self) -> int:
        """m."""
        return math.isqrt(self.dim)

    def problems(self):
        yield from super().problems()
        if self.side**2 != self.dim:
            yield Problem("dim", f"must be a square, got {self.dim}; the nearest is {round(self.dim**0.5) ** 2}")
        elif self.rank > self.side:
            yield Problem("rank", f"must be at most sqrt(dim) = {self.side}, got {self.rank}")

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("none", "the posterior of B given measurements of B'B has no closed form")

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "D"]:
        factor = jax.random.normal(key, (self.rank, self.side))
        return self.weight_std * jnp.matmul(factor.T, factor, precision=jax.lax.Precision.HIGHEST).reshape(-1)

    def weight_square(self) -> Float[Array, "D D"]:
        """E[G_ij G_kl] = r^2 d_ij d_kl + r (d_ik d_jl + d_il d_jk) of a Wishart matrix G of rank r."""
        one, rank = jnp.eye(self.side), self.rank
        means = rank**2 * jnp.einsum("ij,kl->ijkl", one, one)
        spread = rank * (jnp.einsum("ik,jl->ijkl", one, one) + jnp.einsum("il,jk->ijkl", one, one))
        return self.weight_std**2 * (means + spread).reshape(self.dim, self.dim)
