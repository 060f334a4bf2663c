"""Nearest neighbors in the Euclidean or the Hamming distance of the inputs."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from function_classes.base import FunctionClass, Prediction, Predictor, Prompt
from function_classes.fields import setting
from function_classes.spaces import Signs
from icl.references.base import Reference, vectors_to_numbers
from icl.references.calibration import fold

CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16)


@Reference.registry.add("nearest-neighbors", papers=("garg-2022", "akyurek-2022"))
class NearestNeighbors(Reference):
    """The mean of y over the nearest `neighbors` examples; all of them while there are fewer, 0 while there is none.

    "distance" weights by |x - x_j|^-exponent: exponent 1 is the option of Garg et al. and of scikit-learn, 2 is Akyurek
    et al.; examples at distance 0 then count alone. Among equal distances the example shown first is nearer. The
    Hamming distance is the number of coordinates that differ; among signs its order is that of the Euclidean one.
    "class" asks `calibrate` for the number with the least mean error over all positions.
    """

    reads = "vectors"

    neighbors: int | Literal["class"] = setting(3, "how many neighbors, or class: the best of 1 to 16", at_least=1)
    weights: Literal["uniform", "distance"] = setting("uniform", "all alike, or by distance")
    exponent: float = setting(2.0, "of the distance, where weights = distance", above=0)
    metric: Literal["euclidean", "hamming"] = setting("euclidean", "length of the difference, or how many differ")

    @property
    def label(self) -> str:
        start = "best number of" if self.neighbors == "class" else f"{self.neighbors}"
        weighted = f" (1/distance^{float(self.exponent):g})" if self.weights == "distance" else ""
        return f"{start}-nn" + weighted + (" (hamming)" if self.metric == "hamming" else "")

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        if isinstance(task.x_space, Signs):
            return cls(1, metric="hamming"), cls(metric="hamming")
        return (cls(),)

    def applies(self, task: FunctionClass) -> str | None:
        return vectors_to_numbers(self.name, task)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if self.neighbors != "class":
            return self
        data = fold(task, key, prompts)
        members = [NearestNeighbors(number, self.weights, self.exponent, self.metric) for number in CANDIDATES]

        def loss(member: NearestNeighbors) -> float:
            means = jax.vmap(lambda prompt: member.means(prompt))(data.prompts)
            return float(jnp.sum(data.weight * (means - data.target) ** 2))

        return min(members, key=loss)

    @property
    def found(self) -> dict[str, int]:
        return {} if isinstance(self.neighbors, str) else {"neighbors": self.neighbors}

    def __call__(self, prompt: Prompt) -> Prediction:
        return Prediction(mean=self.means(prompt))

    def means(self, prompt: Prompt) -> Float[Array, "P"]:
        """The vote at every position of the prompt."""
        return self._vote(self._squares(prompt.xs, prompt.xs), prompt.ys, jnp.arange(prompt.points))

    def predict_at(self, prompt: Prompt, k: Int[Array, ""] | int, xs: Float[Array, "N D"]) -> Prediction:
        """Predictions at the inputs `xs` after the first k examples of the prompt."""
        return Prediction(mean=self._vote(self._squares(xs, prompt.xs), prompt.ys, jnp.full(xs.shape[:1], k)))

    def _squares(self, xs: Shaped[Array, "N D"], shown: Shaped[Array, "P D"]) -> Float[Array, "N P"]:
        """Squared distances."""
        a, b = xs.astype(jnp.float32)[:, None, :], shown.astype(jnp.float32)[None, :, :]
        if self.metric == "hamming":
            return jnp.square(jnp.sum((a != b).astype(jnp.float32), -1))
        return jnp.sum(jnp.square(a - b), -1)

    def _vote(self, squares: Float[Array, "N P"], ys: Shaped[Array, "P"], seen: Int[Array, "N"]) -> Float[Array, "N"]:
        if isinstance(self.neighbors, str):
            raise self.unresolved("neighbors")
        shown = jnp.arange(len(ys))[None, :] < seen[:, None]
        squares = jnp.where(shown, squares, jnp.inf)
        nearest, index = jax.lax.top_k(-squares, min(self.neighbors, len(ys)))
        used = jnp.take_along_axis(shown, index, 1)
        values = jnp.where(used, ys.astype(jnp.float32)[index], 0.0)
        weight = used.astype(jnp.float32)
        if self.weights == "distance":
            near = jnp.where(used, -nearest, 0.0)
            least = near[:, :1]
            ratio = least / jnp.where(near > 0, near, 1)
            # Relative to the nearest, so that no power overflows; where that is at distance 0, only its equals count.
            scaled = jnp.where(least > 0, ratio ** (self.exponent / 2), (near == 0).astype(jnp.float32))
            weight = weight * scaled
        total = jnp.sum(weight, -1)
        return jnp.sum(weight * values, -1) / jnp.where(total > 0, total, 1)
