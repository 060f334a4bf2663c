"""Mixtures of linear regressions estimated by EM, one component per prompt, then used as a pool (Pathak et al. 2023).

E   r_nj ∝ pi_j exp(-sum_i (y_ni - w_j'x_ni)^2 / 2 s^2)       responsibilities of the components for prompt n
M   w_j = (sum_n r_nj X_n'X_n)^{-1} sum_n r_nj X_n'y_n,   s^2 = mean of r_nj (y_ni - w_j'x_ni)^2,   pi_j = mean r_nj

prediction   w_k = sum_j p_j w_j,   p_j ∝ pi_j exp(-sum_{i<k} (y_i - w_j'x_i)^2 / 2 s^2)
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Predictor, Prompt
from function_classes.fields import setting
from icl.programs import draw
from icl.references.averaging import before
from icl.references.base import HIGHEST, LinearPredictor, LinearReference, Reference, plain
from icl.references.pool import HardChoice, Pool, has_pool

ITERATIONS = 200
TOLERANCE = 1e-7
LEAST_NOISE = 1e-4

# More components than this are not taken over from a class: a few hundred prompts cannot tell them apart.
MANY = 64


@Reference.registry.add("em-mixture", papers=("pathak-2023",))
class EMMixture(LinearReference):
    """Does not know the weight vectors of the class but that there are `components` of them: `calibrate` estimates
    them, their probabilities and the noise from the prompts it draws, which are the training set of the paper.

    Best likelihood of `starts` starts, each from ridge solutions of prompts spread as by k-means++. A component per
    prompt and not per example ("batched" mixtures). `choice` argmin takes the component with the least residues, as
    `pool-argmin`. Deviation: the paper cites the subspace algorithm of Jain et al. 2023 for the estimate.
    """

    components: int = setting(5, "m, the number of weight vectors", at_least=1)
    choice: Literal["mean", "argmin"] = setting("mean", "posterior mean, or the best fitting component")
    starts: int = setting(8, "of EM; the likeliest result counts", at_least=1)

    @property
    def label(self) -> str:
        return f"em-mixture ({self.components} components{', argmin' if self.choice == 'argmin' else ''})"

    @classmethod
    def example(cls, task: Any) -> Reference:
        """With as many components as the class has weight vectors, where these are few."""
        if not has_pool(task) or task.bayes_kind.kind == "none":
            return cls()
        count = jax.eval_shape(task.candidates).shape[0]
        return cls(count) if count <= MANY else cls()

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        batch = draw(task, key, 0, prompts).hide()
        seed = int(np.asarray(jax.random.key_data(key), np.uint32).ravel()[-1])
        fitted = fit(np.asarray(batch.xs, float), np.asarray(batch.ys, float), self.components, self.starts, seed)
        pool = Pool(*(jnp.asarray(part, jnp.float32) for part in (fitted.weights, fitted.log_probs, fitted.noise_std)))
        return HardChoice(pool) if self.choice == "argmin" else SoftWeights(pool)

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        raise NotAvailable(f"{self.name} has estimated nothing: call .calibrate(task, key) first")


class SoftWeights(LinearPredictor):
    """Posterior mean over candidates without spread."""

    pool: Pool

    @property
    def found(self) -> dict[str, Any]:
        return {"noise_std": plain(self.pool.noise_std), "probabilities": plain(jnp.exp(self.pool.log_probs))}

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
        residues = ys[:, None] - jnp.matmul(xs, self.pool.candidates.T, precision=HIGHEST)
        fits = before(jnp.square(residues)) / (2 * jnp.square(self.pool.noise_std))
        shares = jax.nn.softmax(self.pool.log_probs[None, :] - fits, -1)
        return jnp.matmul(shares, self.pool.candidates, precision=HIGHEST)


class Mixture(NamedTuple):
    """A fitted mixture: weight vectors (m, D), log probabilities (m,), noise, and the mean log likelihood of a y."""

    weights: np.ndarray
    log_probs: np.ndarray
    noise_std: float
    log_likelihood: float


def fit(xs: np.ndarray, ys: np.ndarray, components: int, starts: int, seed: int) -> Mixture:
    """EM in float64 on prompts xs (N, P, D), ys (N, P). The noise stays above 1e-4 of the root mean square of y, where
    noiseless labels would end in a division by 0."""
    rng = np.random.default_rng(seed)
    moments = _Moments(xs, ys)
    return max((_climb(moments, _spread(moments, components, rng)) for _ in range(starts)), key=lambda m: m[-1])


class _Moments:
    """Sums over the examples of each prompt: all that EM needs to know."""

    def __init__(self, xs: np.ndarray, ys: np.ndarray):
        self.second = np.einsum("npi,npj->nij", xs, xs)
        self.cross = np.einsum("npi,np->ni", xs, ys)
        self.square = np.square(ys).sum(1)
        self.points = ys.shape[1]
        self.least = LEAST_NOISE**2 * self.square.mean() / self.points

    def errors(self, weights: np.ndarray) -> np.ndarray:
        """Sums of squared residues (N, m)."""
        curved = np.einsum("mi,nij,mj->nm", weights, self.second, weights)
        return np.maximum(self.square[:, None] - 2 * self.cross @ weights.T + curved, 0)


def _spread(moments: _Moments, components: int, rng: np.random.Generator) -> np.ndarray:
    """Ridge solutions of prompts that those chosen before fit badly."""
    eye = np.eye(moments.cross.shape[1])
    solved = np.linalg.solve(moments.second + 1e-2 * moments.points * eye, moments.cross[..., None])[..., 0]
    chosen = [int(rng.integers(len(solved)))]
    while len(chosen) < components:
        bad = moments.errors(solved[chosen]).min(1) + 1e-12
        chosen.append(int(rng.choice(len(solved), p=bad / bad.sum())))
    return solved[chosen]


def _climb(moments: _Moments, weights: np.ndarray) -> Mixture:
    count, dim = weights.shape
    log_probs = np.full(count, -np.log(count))
    noise = max(moments.errors(weights).min(1).mean() / moments.points, moments.least)
    before_, likelihood = -np.inf, -np.inf
    for _ in range(ITERATIONS):
        logs = log_probs - moments.errors(weights) / (2 * noise)
        peak = logs.max(1, keepdims=True)
        evidence = peak[:, 0] + np.log(np.exp(logs - peak).sum(1))
        likelihood = float(evidence.mean() / moments.points - 0.5 * np.log(2 * np.pi * noise))
        if likelihood - before_ < TOLERANCE:
            break
        before_ = likelihood
        shares = np.exp(logs - evidence[:, None])
        second = np.einsum("nm,nij->mij", shares, moments.second)
        nugget = 1e-9 * (np.trace(second, axis1=1, axis2=2)[:, None, None] + 1) * np.eye(dim)
        weights = np.linalg.solve(second + nugget, (shares.T @ moments.cross)[..., None])[..., 0]
        noise = max((shares * moments.errors(weights)).sum() / (len(shares) * moments.points), moments.least)
        log_probs = np.log(np.maximum(shares.mean(0), 1e-12))
    return Mixture(weights, log_probs, float(np.sqrt(noise)), likelihood)
