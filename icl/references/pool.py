"""Learners that know a finite pool of weight vectors: the hard choice among them (Pathak et al. 2023), and the pool
smoothed by Gaussians (Raventos et al. 2023). Bayes of the class itself is the soft choice, `bayes`.

A class has a pool where it offers `candidates() -> (M, D)`, `noise_std`, and `log_probs(M) -> (M,)` unless all are
alike.
"""

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Predictor, Prompt
from function_classes.fields import setting
from function_classes.posteriors import NOISELESS_FLOOR
from icl.programs import compiled
from icl.references.averaging import before
from icl.references.base import HIGHEST, LinearPredictor, LinearReference, Reference, plain
from icl.references.calibration import Fold, fold, search

WIDTHS = tuple(float(v) for v in np.geomspace(0.01, 10.0, 16))


class Pool(eqx.Module):
    """Candidate weight vectors with their prior, and the noise of labels."""

    candidates: Float[Array, "M D"]
    log_probs: Float[Array, "M"]
    noise_std: Float[Array, ""]


def has_pool(task: Any) -> bool:
    """Whether a class offers candidates, and the noise around what they say."""
    return callable(getattr(type(task), "candidates", None)) and hasattr(task, "noise_std")


def pool_of(task: Any) -> Pool:
    """The pool of a class that has one."""
    candidates = task.candidates()
    count = candidates.shape[0]
    prior = task.log_probs(count) if hasattr(task, "log_probs") else jnp.full(count, -jnp.log(float(count)))
    return Pool(candidates, jnp.asarray(prior, jnp.float32), jnp.asarray(task.noise_std, jnp.float32))


class PoolReference(LinearReference):
    """What both share: the pool comes from the class with `calibrate`."""

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(),)

    def applies(self, task: FunctionClass) -> str | None:
        if not has_pool(task):
            return f"{self.name} needs a finite pool of weight vectors, {task.name} has none"
        if task.bayes_kind.kind == "none":
            return f"the pool of {task.name} is not enumerated: {task.bayes_kind.detail}"
        return super().applies(task)

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        raise NotAvailable(f"{self.name} does not know the pool: call .calibrate(task, key) first")


@Reference.registry.add("pool-argmin", papers=("pathak-2023",))
class PoolArgmin(PoolReference):
    """w_k = the candidate with the least sum of squared residues over the first k examples.

    Ties are shared: at k = 0, where all are equal, w is the mean of the candidates (the first of them, as in codes that
    take an argmin, has about twice the error there). Priors count for shares of ties alone.
    """

    jumps: ClassVar[bool] = True

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        return HardChoice(pool_of(task))


class HardChoice(LinearPredictor):
    """The candidate that fits best."""

    pool: Pool

    @property
    def found(self) -> dict[str, Any]:
        return {"candidates": self.pool.candidates.shape[0]}

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
        residues = ys[:, None] - jnp.matmul(xs, self.pool.candidates.T, precision=HIGHEST)
        errors = before(jnp.square(residues))
        best = errors == jnp.min(errors, -1, keepdims=True)
        shares = jnp.where(best, jnp.exp(self.pool.log_probs)[None, :], 0.0)
        return jnp.matmul(shares, self.pool.candidates, precision=HIGHEST) / jnp.sum(shares, -1, keepdims=True)


@Reference.registry.add("smoothed-pool", papers=("raventos-2023",))
class SmoothedPool(PoolReference):
    """Bayes for w ~ sum_m pi_m N(w_m, width^2 I) with the noise of the class: one posterior per candidate in closed
    form, weighted by its evidence. Bayes of the pool as width goes to 0, ridge from the mean of the pool as it grows.

    "class" asks `calibrate` for the width with the least mean error over all positions. Without noise, evidence has a
    variance of at least 1e-6 of that of y, means have none.
    """

    family_parameter: ClassVar[str | None] = "width"
    family_words: ClassVar[str] = "pool smoothed by {}"

    width: float | Literal["class"] = setting(0.3, "standard deviation around a candidate; class: the best", above=0)

    @property
    def label(self) -> str:
        return "smoothed pool (best width)" if self.width == "class" else f"smoothed-pool-{float(self.width):g}"

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return WIDTHS

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        pool = pool_of(task)
        if self.width != "class":
            return SoftChoice(pool, jnp.asarray(self.width, jnp.float32))
        data = fold(task, key, prompts)

        def losses(grid: np.ndarray) -> np.ndarray:
            return np.asarray(_losses(data, pool, jnp.asarray(grid[:, 0], jnp.float32)))[:, None]

        return SoftChoice(pool, jnp.float32(search(losses, np.c_[list(WIDTHS)])[0]))


class SoftChoice(LinearPredictor):
    """The smoothed pool at a known width."""

    pool: Pool
    width: Float[Array, ""]

    @property
    def found(self) -> dict[str, Any]:
        return {"candidates": self.pool.candidates.shape[0], "width": plain(self.width)}

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        """Potter's square-root update as in `linear_filter`: all candidates share one root. Cost O(P (D^2 + M D))."""
        xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
        start, prior, noise = self.pool.candidates, self.pool.log_probs, jnp.square(self.pool.noise_std)
        second = jnp.einsum("m,mi,mj->ij", jnp.exp(prior), start, start, precision=HIGHEST)

        def step(carry: tuple[Array, Array, Array], example: tuple[Array, Array]):
            weights, root, logs = carry
            x, y = example
            mean = jnp.matmul(jax.nn.softmax(logs), weights, precision=HIGHEST)
            v = jnp.matmul(x, root, precision=HIGHEST)
            total = jnp.sum(v * v) + noise
            inverse = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 0)
            direction = jnp.matmul(root, v, precision=HIGHEST)
            residues = y - jnp.matmul(weights, x, precision=HIGHEST)
            everything = jnp.sum(x * jnp.matmul(second, x, precision=HIGHEST)) + self.width**2 * jnp.sum(x * x)
            scored = jnp.maximum(total, NOISELESS_FLOOR * everything)
            logs = logs - jnp.square(residues) / jnp.where(scored > 0, 2 * scored, 1.0)
            shrink = inverse / (1 + jnp.sqrt(noise * inverse))
            after = (
                weights + inverse * residues[:, None] * direction[None, :],
                root - shrink * direction[:, None] * v[None, :],
                logs - jnp.max(logs),
            )
            return after, mean

        start = start, self.width * jnp.eye(xs.shape[-1]), prior
        return jax.lax.scan(step, start, (xs, ys))[1]


@compiled
def _losses(data: Fold, pool: Pool, widths: Float[Array, "G"]) -> Float[Array, "G"]:
    def loss(width: Float[Array, ""]) -> Float[Array, ""]:
        means = jax.vmap(lambda prompt: SoftChoice(pool, width).means(prompt))(data.prompts)
        return jnp.sum(data.weight * (means - data.target) ** 2) / jnp.sum(data.weight)

    return jax.lax.map(loss, widths)
