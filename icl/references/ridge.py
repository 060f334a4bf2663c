"""Ridge regression: w = (X'X + penalty I)^{-1} X'y, the penalty on the sum X'X and not on its mean."""

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import setting
from function_classes.posteriors import LinearPosterior, linear_filter
from icl.programs import compiled
from icl.references.base import LinearPredictor, LinearReference, Reference, plain
from icl.references.calibration import Fold, fold, search

PENALTIES = tuple(float(v) for v in np.geomspace(1e-4, 1e4, 33))


@Reference.registry.add("ridge", papers=("akyurek-2022", "raventos-2023"))
class Ridge(LinearReference):
    """w_k = (X'X + penalty I)^{-1} X'y over the first k examples; penalty 0 is the min-norm limit.

    Bayes for w ~ N(0, t^2 I) and noise s is penalty s^2 / t^2. "class" asks `calibrate` for the penalty with the
    least mean error over all positions. scikit-learn's Ridge(alpha) without intercept is the same. At any penalty as
    exact as `linear_filter` says.
    """

    family_parameter: ClassVar[str | None] = "penalty"
    family_words: ClassVar[str] = "ridge with penalty {}"

    penalty: float | Literal["class"] = setting(1.0, "multiplies I in X'X + penalty I; class: the best", at_least=0)

    @property
    def label(self) -> str:
        return "ridge (best penalty)" if self.penalty == "class" else f"ridge-{float(self.penalty):g}"

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(penalty="class"),)

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return PENALTIES

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if self.penalty != "class":
            return self
        data = fold(task, key, prompts)
        best = search(lambda grid: np.asarray(_losses(data, jnp.asarray(grid[:, 0])))[:, None], np.c_[list(PENALTIES)])
        return CalibratedRidge(jnp.float32(best[0]))

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        return self._posterior(prompt).weights

    def means(self, prompt: Prompt) -> Float[Array, "P"]:
        return self._posterior(prompt).mean

    def _posterior(self, prompt: Prompt) -> LinearPosterior:
        if isinstance(self.penalty, str):
            raise self.unresolved("penalty")
        return _filtered(prompt, self.penalty)


class CalibratedRidge(LinearPredictor):
    """Ridge with the penalty that was found."""

    penalty: Float[Array, ""]

    @property
    def found(self) -> dict[str, Any]:
        return {"penalty": plain(self.penalty)}

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        return _filtered(prompt, self.penalty).weights

    def means(self, prompt: Prompt) -> Float[Array, "P"]:
        return _filtered(prompt, self.penalty).mean


def _filtered(prompt: Prompt, penalty: Float[Array, ""] | float) -> LinearPosterior:
    """The posterior of w ~ N(0, I) with this variance of the noise; 0 is least squares."""
    noise = jnp.sqrt(jnp.asarray(penalty, jnp.float32))
    return linear_filter(prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32), 1.0, noise)


@compiled
def _losses(data: Fold, penalties: Float[Array, "G"]) -> Float[Array, "G"]:
    def loss(penalty):
        means = jax.vmap(lambda prompt: _filtered(prompt, penalty).mean)(data.prompts)
        return jnp.sum(data.weight * (means - data.target) ** 2) / jnp.sum(data.weight)

    return jax.lax.map(loss, penalties)
