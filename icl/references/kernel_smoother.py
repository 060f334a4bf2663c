"""Kernel smoothing (Nadaraya 1964; Watson 1964): the mean of y weighted by a Gaussian of the distance of inputs.

    mean_k = sum_{j<k} a_j y_j,    a = softmax(-|x_k - x_j|^2 / 2 bandwidth^2)

Where inputs have one length this is softmax attention with keys and queries x / bandwidth and values y.
"""

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from function_classes.base import FunctionClass, Prediction, Predictor, Prompt
from function_classes.fields import setting
from function_classes.gaussian_process import GaussianProcess
from icl.programs import compiled
from icl.references.base import HIGHEST, Reference, plain, vectors_to_numbers
from icl.references.calibration import Fold, fold, search

BANDWIDTHS = tuple(float(v) for v in np.geomspace(0.03, 30.0, 25))


@Reference.registry.add("kernel-smoother", papers=("nadaraya-1964", "watson-1964"))
class KernelSmoother(Reference):
    """The weighted mean of all y seen; 0 at k = 0, the nearest neighbor's y as bandwidth goes to 0, the mean of y as it
    grows. "class" asks `calibrate` for the bandwidth with the least mean error over all positions."""

    reads = "vectors"

    family_parameter: ClassVar[str | None] = "bandwidth"
    family_words: ClassVar[str] = "kernel smoother with bandwidth {}"

    bandwidth: float | Literal["class"] = setting(1.0, "distance over which weights fall; class: the best", above=0)

    @property
    def label(self) -> str:
        best = self.bandwidth == "class"
        return "kernel smoother (best bandwidth)" if best else f"kernel-smoother-{float(self.bandwidth):g}"

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls("class"),) if isinstance(task, GaussianProcess) else ()

    @classmethod
    def families(cls, task: FunctionClass) -> tuple[Reference, ...]:
        """There too: on linear functions it is far from everything."""
        return (cls(),) if isinstance(task, GaussianProcess) else ()

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return BANDWIDTHS

    def applies(self, task: FunctionClass) -> str | None:
        return vectors_to_numbers(self.name, task)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if self.bandwidth != "class":
            return self
        data = fold(task, key, prompts)
        start = np.c_[list(BANDWIDTHS)]
        best = search(lambda grid: np.asarray(_losses(data, jnp.asarray(grid[:, 0], jnp.float32)))[:, None], start)
        return Smoother(jnp.float32(best[0]))

    def __call__(self, prompt: Prompt) -> Prediction:
        return self._settled()(prompt)

    def predict_at(self, prompt: Prompt, k: Int[Array, ""] | int, xs: Float[Array, "N D"]) -> Prediction:
        """Predictions at the inputs `xs` after the first k examples of the prompt."""
        return self._settled().predict_at(prompt, k, xs)

    def _settled(self) -> "Smoother":
        if isinstance(self.bandwidth, str):
            raise self.unresolved("bandwidth")
        return Smoother(jnp.asarray(self.bandwidth, jnp.float32))


class Smoother(eqx.Module):
    """The kernel smoother at a known bandwidth."""

    bandwidth: Float[Array, ""]

    @property
    def found(self) -> dict[str, Any]:
        return {"bandwidth": plain(self.bandwidth)}

    def __call__(self, prompt: Prompt) -> Prediction:
        return Prediction(mean=self.means(prompt))

    def means(self, prompt: Prompt) -> Float[Array, "P"]:
        """The weighted mean at every position of the prompt."""
        return self._smooth(prompt.xs, prompt, jnp.arange(prompt.points))

    def predict_at(self, prompt: Prompt, k: Int[Array, ""] | int, xs: Float[Array, "N D"]) -> Prediction:
        """Predictions at the inputs `xs` after the first k examples of the prompt."""
        return Prediction(mean=self._smooth(xs, prompt, jnp.full(xs.shape[:1], k)))

    def _smooth(self, queries: Shaped[Array, "N D"], prompt: Prompt, seen: Int[Array, "N"]) -> Float[Array, "N"]:
        shown = jnp.arange(prompt.points)[None, :] < seen[:, None]
        gaps = queries.astype(jnp.float32)[:, None, :] - prompt.xs.astype(jnp.float32)[None, :, :]
        squares = jnp.sum(jnp.square(jnp.where(shown[:, :, None], gaps, 0.0)), -1)
        # Relative to the nearest: far from all examples a Gaussian is 0 in float32, its shares are not. That of the
        # nearest is 1 by its place: compiled twice, a distance differs from itself, and a small bandwidth shows it.
        squares = jnp.where(shown, squares, jnp.inf)
        at = jnp.argmin(squares, -1, keepdims=True)
        nearest = jnp.take_along_axis(squares, at, -1)
        further = jnp.maximum(jnp.where(shown, squares, 0.0) - jnp.where(seen[:, None] > 0, nearest, 0.0), 0.0)
        shares = jnp.where(jnp.arange(prompt.points)[None, :] == at, 1.0, jnp.exp(-further / (2 * self.bandwidth**2)))
        shares = jnp.where(shown, shares, 0.0)
        total = jnp.sum(shares, -1)
        values = jnp.where(shown, prompt.ys.astype(jnp.float32)[None, :], 0.0)
        mean = jnp.einsum("nj,nj->n", shares, values, precision=HIGHEST)
        return mean / jnp.where(total > 0, total, 1.0)


@compiled
def _losses(data: Fold, bandwidths: Float[Array, "G"]) -> Float[Array, "G"]:
    def loss(bandwidth: Float[Array, ""]) -> Float[Array, ""]:
        means = jax.vmap(lambda prompt: Smoother(bandwidth).means(prompt))(data.prompts)
        return jnp.sum(data.weight * (means - data.target) ** 2) / jnp.sum(data.weight)

    return jax.lax.map(loss, bandwidths)
