"""Logistic regression with an L2 penalty, by Newton's method (iteratively reweighted least squares) on every prefix.

w_k = argmin sum_{i<k} log(1 + exp(-y_i w'x_i)) + penalty / 2 |w|^2        P(y = +1 | x) = 1 / (1 + exp(-w_k'x))
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.spaces import Signs
from icl.references.base import HIGHEST, Reference, vectors_to_labels

# Shares of a Newton step that are tried; 0 keeps the objective from rising.
SHARES = (1.0, 0.5, 0.25, 0.1, 0.0)


@Reference.registry.add("logistic-regression", papers=("cox-1958",))
class LogisticRegression(Reference):
    """The penalty is on the sum, as scikit-learn's with C = 1 / penalty; the mode of the posterior of w ~ N(0, I /
    penalty). Without intercept unless asked for; the intercept is penalized alike, as a weight of one more input 1.

    `iterations` Newton steps from the solution of the prefix before, each cut where the full one would not descend.
    P(+) = 1/2 at k = 0. Signs alone: labels of more than two kinds have `linear-discriminant`.
    """

    reads = "vectors"

    family_parameter: ClassVar[str | None] = "penalty"
    family_words: ClassVar[str] = "logistic regression with penalty {}"

    penalty: float = setting(1.0, "multiplies |w|^2 / 2 beside the sum of losses", above=0)
    intercept: bool = setting(False, "a constant input of 1 beside x")
    iterations: int = setting(6, "Newton steps for every prefix", at_least=1)

    @property
    def label(self) -> str:
        return f"logistic regression (penalty {float(self.penalty):g}{', intercept' if self.intercept else ''})"

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(),)

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return tuple(float(v) for v in np.geomspace(1e-3, 1e3, 19))

    def applies(self, task: FunctionClass) -> str | None:
        reason = vectors_to_labels(self.name, task)
        if reason is None and not isinstance(task.y_space, Signs):
            return f"{self.name} predicts signs, outputs of {task.name} are {task.y_space}"
        return reason

    def __call__(self, prompt: Prompt) -> Prediction:
        scores = jnp.sum(self.weights(prompt) * self._inputs(prompt.xs), -1)
        return Prediction(log_probs=_log_probs(scores))

    def predict_at(self, prompt: Prompt, k: Int[Array, ""] | int, xs: Float[Array, "N D"]) -> Prediction:
        """Predictions at the inputs `xs` after the first k examples of the prompt."""
        scores = jnp.matmul(self._inputs(xs), self.weights(prompt)[k], precision=HIGHEST)
        return Prediction(log_probs=_log_probs(scores))

    def weights(self, prompt: Prompt) -> Float[Array, "P D1"]:
        """w_k at every position, the intercept last where there is one. Cost O(P^2 iterations D^2)."""
        inputs, signs = self._inputs(prompt.xs), jnp.where(prompt.ys > 0, 1.0, -1.0)
        eye = jnp.eye(inputs.shape[-1])
        index = jnp.arange(prompt.points)

        def position(w: Float[Array, "D1"], k: Int[Array, ""]) -> tuple[Array, Array]:
            shown = index < k
            rows = jnp.where(shown[:, None], inputs * signs[:, None], 0.0)

            def objective(w: Float[Array, "D1"]) -> Float[Array, ""]:
                margins = jnp.matmul(rows, w, precision=HIGHEST)
                return jnp.sum(jnp.where(shown, jax.nn.softplus(-margins), 0.0)) + self.penalty / 2 * jnp.sum(w**2)

            def newton(_: Array | int, w: Float[Array, "D1"]) -> Float[Array, "D1"]:
                wrong = jax.nn.sigmoid(-jnp.matmul(rows, w, precision=HIGHEST))
                slope = jnp.matmul(wrong, rows, precision=HIGHEST) - self.penalty * w
                curved = jnp.matmul((wrong * (1 - wrong))[None, :] * rows.T, rows, precision=HIGHEST)
                system = curved + self.penalty * eye
                step = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(system), True), slope)
                tried = w[None, :] + jnp.array(SHARES)[:, None] * step[None, :]
                return tried[jnp.argmin(jax.vmap(objective)(tried))]

            w = jax.lax.fori_loop(0, self.iterations, newton, w)
            return w, w

        return jax.lax.scan(position, jnp.zeros_like(eye[0]), index)[1]

    def _inputs(self, xs: Shaped[Array, "N D"]) -> Float[Array, "N D1"]:
        xs = xs.astype(jnp.float32)
        return jnp.concatenate([xs, jnp.ones_like(xs[:, :1])], 1) if self.intercept else xs


def _log_probs(scores: Float[Array, "N"]) -> Float[Array, "N 2"]:
    """Minus first, then plus."""
    return jax.nn.log_sigmoid(jnp.stack([-scores, scores], -1))
