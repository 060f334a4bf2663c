"""Covariance functions, and Gaussian conditioning one example at a time by bordering the Cholesky factor.

Row k of the factor is found from rows before it, so predictions are causal by construction: a bad future input or
output never reaches them. Formulas: Rasmussen and Williams 2006, sections 2.2 and 4.2.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from function_classes.posteriors import HIGHEST

Kernel = Literal["rbf", "matern-1/2", "matern-3/2", "matern-5/2", "periodic"]
Number = Float[Array, ""] | float


def covariance(
    kernel: Kernel, a: Float[Array, "N D"], b: Float[Array, "M D"], lengthscale: Number, scale: Number, period: Number
) -> Float[Array, "N M"]:
    """k(a_i, b_j) with k(x, x) = scale^2, r = |a - b| and lengthscale l:

    rbf         scale^2 exp(-r^2 / 2 l^2)
    matern-1/2  scale^2 exp(-u),  u = r / l
    matern-3/2  scale^2 (1 + u) exp(-u),  u = sqrt(3) r / l
    matern-5/2  scale^2 (1 + u + u^2 / 3) exp(-u),  u = sqrt(5) r / l
    periodic    scale^2 exp(-2 sum_d sin^2(pi (a_d - b_d) / period) / l^2)
    """
    gap = a[:, None, :] - b[None, :, :]
    if kernel == "periodic":
        shape = jnp.exp(-2 * jnp.sum(jnp.sin(jnp.pi * gap / period) ** 2, -1) / lengthscale**2)
    elif kernel == "rbf":
        shape = jnp.exp(-jnp.sum(gap**2, -1) / (2 * lengthscale**2))
    else:
        degree = {"matern-1/2": 1, "matern-3/2": 3, "matern-5/2": 5}[kernel]
        square = degree * jnp.sum(gap**2, -1) / lengthscale**2
        # The square root has no derivative at 0, smooth kernels have: without this, gradients would be NaN.
        u = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
        polynomial = {1: 1.0, 3: 1 + u, 5: 1 + u + square / 3}[degree]
        shape = polynomial * jnp.exp(-u)
    return scale**2 * shape


class KernelPosterior(NamedTuple):
    """Mean and variance of f(x_k) before seeing y_k; the Cholesky factor L of K + noise I, and L^-1 y."""

    mean: Float[Array, "P"]
    variance: Float[Array, "P"]
    factor: Float[Array, "P P"]
    whitened: Float[Array, "P"]


def kernel_filter(gram: Float[Array, "P P"], ys: Float[Array, "P"], noise_variance: Number) -> KernelPosterior:
    """Conditions f ~ N(0, gram) on y_j = f_j + N(0, noise_variance) for j < k, at every k.

    l_k = L^-1 k_k,  mean = l_k' L^-1 y,  variance = k_kk - |l_k|^2. Cost O(P^3). The variance is kept at 0 or above,
    so every pivot is at least the noise, as it is in exact arithmetic.
    """
    points = ys.shape[0]
    index = jnp.arange(points)

    def step(carry, now):
        factor, whitened = carry
        k, row, y = now
        border = solve_triangular(factor, jnp.where(index < k, row, 0.0), lower=True)
        mean = jnp.sum(border * whitened)
        variance = jnp.maximum(row[k] - jnp.sum(border**2), 0.0)
        pivot = jnp.sqrt(variance + noise_variance)
        factor = factor.at[k].set(jnp.where(index == k, pivot, border))
        return (factor, whitened.at[k].set((y - mean) / pivot)), (mean, variance)

    start = jnp.eye(points), jnp.zeros(points)
    (factor, whitened), (mean, variance) = jax.lax.scan(step, start, (index, gram, ys))
    return KernelPosterior(mean, variance, factor, whitened)


def kernel_predict(
    posterior: KernelPosterior, k: Array | int, cross: Float[Array, "P N"], prior: Float[Array, "N"]
) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
    """Mean and variance (N,) of f at N queries after k examples, all by one triangular solve.

    `cross` holds the covariances of the prompt's inputs with the queries, `prior` the queries' own variances.
    """
    index = jnp.arange(posterior.factor.shape[0])
    seen = index < k
    factor = jnp.where(seen[:, None], posterior.factor, jnp.eye(index.size))
    border = solve_triangular(factor, jnp.where(seen[:, None], cross, 0.0), lower=True)
    mean = jnp.matmul(jnp.where(seen, posterior.whitened, 0.0), border, precision=HIGHEST)
    return mean, jnp.maximum(prior - jnp.sum(border**2, 0), 0.0)
