"""The best step of gradient descent and the best single layer of linear attention, for one law of inputs.

After k examples m = (1/k) sum_i y_i x_i has E[m w'] = Lambda and E[m m'] = Lambda Gamma_k, so the expected loss of the
prediction a_k x' U' m, summed over positions k with weights a_k = k over the layer's normalizer, is least at

    U = sum_k a_k / sum_k a_k^2 Gamma_k
    U = I sum_k a_k tr Lambda^2 / sum_k a_k^2 tr(Lambda^2 Gamma_k)        among multiples of I
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from function_classes.inputs import Diagonal, Gaussian, PowerLaw, Uniform
from function_classes.linear import LinearRegression


class Moments(NamedTuple):
    """Variances of independent coordinates around 0, and their kurtosis E x^4 / (E x^2)^2."""

    variances: Float[np.ndarray, "D"]
    kurtosis: float


def moments(task: LinearRegression) -> Moments | None:
    """The moments of the inputs of a class; None where they are not known here, or not around 0."""
    law = task.inputs
    if isinstance(law, Gaussian):
        return Moments(np.full(task.dim, float(law.std) ** 2), 3.0)
    if isinstance(law, Diagonal):
        return Moments(np.asarray(law.eigenvalues, float), 3.0)
    if isinstance(law, PowerLaw):
        spectrum = np.arange(1, task.dim + 1) ** -float(law.exponent)
        return Moments(spectrum * task.dim / spectrum.sum(), 3.0)
    if isinstance(law, Uniform) and float(law.low) == -float(law.high):
        return Moments(np.full(task.dim, float(law.high) ** 2 / 3), 1.8)
    return None


def gamma(known: Moments, examples: Float[np.ndarray, "K"] | int, noise: float = 0.0) -> Float[np.ndarray, "*K D"]:
    """The diagonal of Gamma for every number of examples; `noise` is the label noise over the weights' deviation."""
    size = np.asarray(examples, float)[..., None]
    return (1 + (known.kurtosis - 2) / size) * known.variances + (known.variances.sum() + noise**2) / size


def optimum(
    task: LinearRegression, examples: Float[np.ndarray, "K"], shares: Float[np.ndarray, "K"]
) -> Float[np.ndarray, "D"]:
    """The diagonal of the best U on these positions: 1 / Gamma for one position and a layer that divides by k."""
    _, gammas = _known(task, examples)
    return shares.sum() / np.sum(shares[:, None] ** 2 * gammas, 0)


def best_step(task: LinearRegression, examples: Float[np.ndarray, "K"], shares: Float[np.ndarray, "K"]) -> float:
    """The best multiple of I: the learning rate of one step, in the unit of U."""
    variances, gammas = _known(task, examples)
    squares = variances**2
    return float(shares.sum() * squares.sum() / np.sum(shares[:, None] ** 2 * gammas * squares))


def _known(task: LinearRegression, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = moments(task)
    assert known is not None
    return known.variances, gamma(known, examples, float(task.noise_std) / float(task.weight_std))
