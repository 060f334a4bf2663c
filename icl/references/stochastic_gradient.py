"""One-pass stochastic gradient descent: least mean squares, one example after another (Akyurek et al. 2022)."""

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import setting
from icl.programs import compiled
from icl.references.base import LinearPredictor, LinearReference, Reference, plain
from icl.references.calibration import Fold, fold, search

RELATIVE_RATES = tuple(float(v) for v in np.geomspace(1e-4, 4.0, 36))


@Reference.registry.add("stochastic-gradient", papers=("akyurek-2022",))
class StochasticGradient(LinearReference):
    """w_0 = 0, w_{k+1} = w_k + rate x_k (y_k - w_k'x_k). Akyurek et al. write w - 2 a x (x'w - y): rate is 2 a.

    "class" asks `calibrate` for the rate with the least mean error over all positions.
    """

    family_parameter: ClassVar[str | None] = "rate"
    family_words: ClassVar[str] = "one pass of stochastic gradient descent with rate {}"

    rate: float | Literal["class"] = setting("class", "a number, or the best for the class", above=0)

    @property
    def label(self) -> str:
        return "sgd (best rate per class)" if self.rate == "class" else f"sgd (rate {float(self.rate):g})"

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(),)

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return tuple(rate / task.x_space.features for rate in RELATIVE_RATES)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if self.rate != "class":
            return self
        data = fold(task, key, prompts)
        size = float(jnp.mean(jnp.sum(jnp.square(data.prompts.xs.astype(jnp.float32)), -1)))
        grid = np.array(RELATIVE_RATES)[:, None] / size
        best = search(lambda rates: np.asarray(_losses(data, jnp.asarray(rates[:, 0], jnp.float32)))[:, None], grid)
        return CalibratedStochasticGradient(jnp.float32(best[0]))

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        if isinstance(self.rate, str):
            raise self.unresolved("rate")
        return _weights(prompt, self.rate)


class CalibratedStochasticGradient(LinearPredictor):
    """Stochastic gradient descent with the rate that was found."""

    rate: Float[Array, ""]

    @property
    def found(self) -> dict[str, Any]:
        return {"rate": plain(self.rate)}

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        return _weights(prompt, self.rate)


def _weights(prompt: Prompt, rate: Float[Array, ""] | float) -> Float[Array, "P D"]:
    xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)

    def step(w, example):
        x, y = example
        return w + rate * x * (y - jnp.sum(w * x)), w

    return jax.lax.scan(step, jnp.zeros(xs.shape[-1]), (xs, ys))[1]


@compiled
def _losses(data: Fold, rates: Float[Array, "G"]) -> Float[Array, "G"]:
    def loss(rate):
        means = jax.vmap(lambda prompt: CalibratedStochasticGradient(rate).means(prompt))(data.prompts)
        return jnp.sum(data.weight * (means - data.target) ** 2) / jnp.sum(data.weight)

    return jax.lax.map(loss, rates)
