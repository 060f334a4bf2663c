"""Predictors that ignore the prompt: the floor below which nothing has been learned in context."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from function_classes.spaces import Symbols
from icl.programs import draw
from icl.references.base import Reference, plain


@Reference.registry.add("null", papers=("garg-2022",))
class Null(Reference):
    """0 for numbers and signs, the uniform distribution for symbols (their number comes with `calibrate`)."""

    ignores_prompt: ClassVar[bool] = True

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(),)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        return Uniform(task.y_space.n) if isinstance(task.y_space, Symbols) else self

    def __call__(self, prompt: Prompt) -> Prediction:
        return Prediction(mean=jnp.zeros(prompt.ys.shape))


class Uniform(eqx.Module):
    """Every one of `symbols` symbols with probability 1 / symbols."""

    symbols: int = eqx.field(static=True)

    @property
    def found(self) -> dict[str, Any]:
        return {"symbols": self.symbols}

    def __call__(self, prompt: Prompt) -> Prediction:
        return Prediction(log_probs=jnp.full((*prompt.ys.shape, self.symbols), -jnp.log(float(self.symbols))))


@Reference.registry.add("prior-mean")
class PriorMean(Reference):
    """The mean of y at each position over the class, or the frequencies of symbols there (one count added to each),
    from the calibration prompts: the best predictor that ignores the prompt, up to their number."""

    ignores_prompt: ClassVar[bool] = True

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        shown = draw(task, key, 0, prompts).scores
        if not isinstance(task.y_space, Symbols):
            return Constant(jnp.mean(shown.astype(jnp.float32), 0), None)
        counts = shown if jnp.issubdtype(shown.dtype, jnp.floating) else jax.nn.one_hot(shown, task.y_space.n)
        probs = (jnp.sum(counts, 0) + 1) / (prompts + task.y_space.n)
        return Constant(None, jnp.log(probs))

    def __call__(self, prompt: Prompt) -> Prediction:
        raise NotAvailable("prior-mean needs data: call .calibrate(task, key) first")


class Constant(eqx.Module):
    """The same prediction for every prompt."""

    mean: Float[Array, "P ..."] | None
    log_probs: Float[Array, "P ... C"] | None

    @property
    def found(self) -> dict[str, Any]:
        numbers = {"mean": self.mean, "log_probs": self.log_probs}
        return {name: plain(values) for name, values in numbers.items() if values is not None}

    def __call__(self, prompt: Prompt) -> Prediction:
        return Prediction(mean=self.mean, log_probs=self.log_probs)
