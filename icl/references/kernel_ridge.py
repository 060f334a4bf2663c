"""Kernel ridge regression: mean_k = k(x_k, X) (k(X, X) + penalty I)^{-1} y, a Gaussian process believed in."""

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from function_classes.base import FunctionClass, Prediction, Predictor, Prompt
from function_classes.fields import setting
from function_classes.gaussian_process import NUGGET, GaussianProcess
from function_classes.kernels import Kernel, covariance, kernel_filter, kernel_predict
from icl.programs import compiled
from icl.references.base import Reference, plain, vectors_to_numbers
from icl.references.calibration import Fold, fold, search

LENGTHSCALES = tuple(float(v) for v in np.geomspace(0.03, 30.0, 19))

# Every candidate factors a matrix per prompt, and the error near the best lengthscale is flat.
CALIBRATION_PROMPTS = 256


@Reference.registry.add("kernel-ridge", papers=("saunders-1998", "mueller-2022"))
class KernelRidge(Reference):
    """Ridge in the space of a kernel with k(x, x) = 1 (`function_classes.kernels`); 0 at k = 0.

    scikit-learn's KernelRidge(alpha=penalty); for rbf its gamma is 1 / (2 lengthscale^2). Bayes for f ~ GP(0, k) and
    noise s is penalty s^2. Float32 adds 1e-5 to the penalty. "class" asks `calibrate` for the lengthscale with the
    least mean error over all positions. The factor grows by one row at a position, so no later row reaches it.
    """

    reads = "vectors"

    family_parameter: ClassVar[str | None] = "lengthscale"
    family_words: ClassVar[str] = "kernel ridge with lengthscale {}"

    lengthscale: float | Literal["class"] = setting(1.0, "of the kernel, in the unit of x; class: the best", above=0)
    penalty: float = setting(0.1, "multiplies I in k(X, X) + penalty I", at_least=0)
    kernel: Kernel = setting("rbf", "covariance function")
    period: float = setting(1.0, "period of every coordinate; read by the periodic kernel alone", above=0)

    @property
    def label(self) -> str:
        start = "best lengthscale" if self.lengthscale == "class" else f"lengthscale {float(self.lengthscale):g}"
        return f"kernel ridge ({self.kernel}, {start})"

    @classmethod
    def example(cls, task: FunctionClass) -> Reference:
        """With kernel and penalty of Bayes, where the class has them."""
        if not isinstance(task, GaussianProcess):
            return cls()
        penalty = float(task.noise_std / task.scale) ** 2
        return cls(float(task.lengthscale), penalty, task.kernel, float(task.period))

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls("class"),) if isinstance(task, GaussianProcess) else ()

    @classmethod
    def families(cls, task: FunctionClass) -> tuple[Reference, ...]:
        """For Gaussian processes: elsewhere identification would take its time for a member that nobody expects."""
        return (cls.example(task),) if isinstance(task, GaussianProcess) else ()

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return LENGTHSCALES

    def applies(self, task: FunctionClass) -> str | None:
        return vectors_to_numbers(self.name, task)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if self.lengthscale != "class":
            return self
        data = fold(task, key, min(prompts, CALIBRATION_PROMPTS))
        member = self._settled(1.0)

        def losses(grid: np.ndarray) -> np.ndarray:
            return np.asarray(_losses(data, member, jnp.asarray(grid[:, 0], jnp.float32)))[:, None]

        best = search(losses, np.c_[list(LENGTHSCALES)])
        return self._settled(float(best[0]))

    def __call__(self, prompt: Prompt) -> Prediction:
        return self._resolved()(prompt)

    def predict_at(self, prompt: Prompt, k: Int[Array, ""] | int, xs: Float[Array, "N D"]) -> Prediction:
        """Predictions at the inputs `xs` after the first k examples of the prompt."""
        return self._resolved().predict_at(prompt, k, xs)

    def _resolved(self) -> "SettledKernelRidge":
        if isinstance(self.lengthscale, str):
            raise self.unresolved("lengthscale")
        return self._settled(self.lengthscale)

    def _settled(self, lengthscale: Array | float) -> "SettledKernelRidge":
        length, penalty, period = (jnp.asarray(v, jnp.float32) for v in (lengthscale, self.penalty, self.period))
        return SettledKernelRidge(length, penalty, period, self.kernel)


class SettledKernelRidge(eqx.Module):
    """Kernel ridge at a known lengthscale."""

    lengthscale: Float[Array, ""]
    penalty: Float[Array, ""]
    period: Float[Array, ""]
    kernel: Kernel = eqx.field(static=True)

    @property
    def found(self) -> dict[str, Any]:
        return {"lengthscale": plain(self.lengthscale)}

    def __call__(self, prompt: Prompt) -> Prediction:
        return Prediction(mean=self._posterior(prompt).mean)

    def predict_at(self, prompt: Prompt, k: Int[Array, ""] | int, xs: Float[Array, "N D"]) -> Prediction:
        """Predictions at the inputs `xs` after the first k examples of the prompt, by one solve."""
        cross = self._covariance(prompt.xs, xs)
        return Prediction(mean=kernel_predict(self._posterior(prompt), k, cross, jnp.ones(xs.shape[0]))[0])

    def _posterior(self, prompt: Prompt):
        gram = self._covariance(prompt.xs, prompt.xs)
        return kernel_filter(gram, prompt.ys.astype(jnp.float32), self.penalty + NUGGET)

    def _covariance(self, a: Shaped[Array, "N D"], b: Shaped[Array, "M D"]) -> Float[Array, "N M"]:
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
        return covariance(self.kernel, a, b, self.lengthscale, 1.0, self.period)


@compiled
def _losses(data: Fold, member: SettledKernelRidge, lengthscales: Float[Array, "G"]) -> Float[Array, "G"]:
    def loss(lengthscale: Float[Array, ""]) -> Float[Array, ""]:
        tried = eqx.tree_at(lambda m: m.lengthscale, member, lengthscale)
        means = jax.vmap(lambda prompt: tried._posterior(prompt).mean)(data.prompts)
        return jnp.sum(data.weight * (means - data.target) ** 2) / jnp.sum(data.weight)

    return jax.lax.map(loss, lengthscales)
