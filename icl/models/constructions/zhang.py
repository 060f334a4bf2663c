"""The global minimum of one layer of linear attention on linear functions (Zhang, Frei, Bartlett 2023, Theorem 4.1).

Tokens (x_i, y_i) and the query (x, 0), itself among the keys; merged matrices; the sum divided by the number M of
examples. For x ~ N(0, Lambda), trained on prompts of N examples,

    Gamma = (1 + 1/N) Lambda + (tr Lambda + s^2) / N I,     c = tr(Gamma^-2)
    W_KQ = c^(-1/4) diag(Gamma^-1, 0),     W_PV = c^(1/4) e e'  (e: the last coordinate)
    prediction = x' Gamma^-1 (1/M) sum_i y_i x_i

The paper has s = 0; s is the label noise in units of the standard deviation of the weights, and enters as derived from
the same expected loss.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import setting
from function_classes.inputs import Diagonal, Gaussian
from function_classes.linear import LinearRegression
from icl.layouts import Joint
from icl.models.attention_only import AttentionOnly
from icl.models.constructions.base import Construction
from icl.models.mixers.merged_linear import MergedLinear
from icl.references.averaging import Averaging
from icl.references.base import LinearPredictor


@Construction.registry.add("zhang-optimum", papers=("zhang-2023",))
class ZhangOptimum(Construction):
    """One layer at the optimum for a diagonal covariance and N training examples, on prompts of any length."""

    eigenvalues: tuple[float, ...] | None = setting(None, "of Lambda; none: those of the task's inputs", above=0)
    examples: int | None = setting(None, "N; none: all that a prompt shows before its last position", at_least=1)

    def applies(self, task: FunctionClass) -> str | None:
        if not isinstance(task, LinearRegression):
            return f"{self.name} is the optimum on linear-regression, not on {task.name}"
        if task.weight_mean != 0:
            return f"{self.name} supposes weights of mean 0, those of the task have mean {task.weight_mean:g}"
        if self.eigenvalues is None and not isinstance(task.inputs, Gaussian | Diagonal):
            return f"{self.name} needs inputs gaussian or diagonal, or eigenvalues of its own"
        if self.eigenvalues is not None and len(self.eigenvalues) != task.dim:
            return f"{self.name} has {len(self.eigenvalues)} eigenvalues, inputs have {task.dim} coordinates"
        return None

    def config(self, task: FunctionClass) -> AttentionOnly:
        return AttentionOnly(layout=Joint(query="last", marker=False), mixer=MergedLinear(normalizer="count"))

    def gamma(self, task: FunctionClass) -> np.ndarray:
        """(D,) diagonal of Gamma."""
        assert isinstance(task, LinearRegression)
        size = self.examples or max(task.points - 1, 1)
        spectrum = self.eigenvalues
        if spectrum is None:
            law = task.inputs
            assert isinstance(law, Gaussian | Diagonal)
            spectrum = law.eigenvalues if isinstance(law, Diagonal) else (law.std**2,) * task.dim
        values = np.asarray(spectrum, np.float64)
        noise = (task.noise_std / task.weight_std) ** 2
        return (1 + 1 / size) * values + (values.sum() + noise) / size

    def fill(self, network: Any, task: FunctionClass) -> Any:
        inverse = 1 / self.gamma(task)
        balance = np.sum(inverse**2) ** 0.25
        key_query = np.diag(np.append(inverse / balance, 0.0))
        value = np.diag(np.append(np.zeros_like(inverse), balance))
        where = lambda n: [n.blocks[0].mixer.key_query, n.blocks[0].mixer.value]  # noqa: E731
        return eqx.tree_at(where, network, [jnp.asarray(a[None], float) for a in (key_query, value)])

    def algorithm(self, task: FunctionClass) -> Predictor:
        return ScaledAveraging(jnp.asarray(1 / self.gamma(task), float))


class ScaledAveraging(LinearPredictor):
    """w_k = Gamma^-1 (1/k) sum_{i<k} y_i x_i."""

    inverse: Float[Array, "D"]

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        return self.inverse[None, :] * Averaging().weights(prompt)
