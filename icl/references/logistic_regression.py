"""Logistic regression with an L2 penalty, by Newton's method on every prefix.

w_k = argmin sum_{i<k} log(1 + exp(-y_i w'x_i)) + penalty / 2 |w|^2        P(y = +1 | x) = 1 / (1 + exp(-w_k'x))
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.rotations import back_substitute, divide, rotate
from function_classes.spaces import Signs
from icl.references.base import HIGHEST, Reference, vectors_to_labels

# A step that changes no margin y w'x by more than this share of the largest (or of 1) is the last but one.
SETTLED = 1e-3


@Reference.registry.add("logistic-regression", papers=("cox-1958",))
class LogisticRegression(Reference):
    """The penalty is on the sum, as scikit-learn's with C = 1 / penalty; the mode of the posterior of w ~ N(0, I /
    penalty). Without intercept unless asked for; the intercept is penalized alike, as a weight of one more input 1.

    Newton's method with the damped steps of Sun and Tran-Dinh, which need no search along a line, from the solution of
    the prefix before or from 0, until the margins stand still, in coordinates R w with R'R = X'X / 4 + penalty I. Over
    penalties from 1e-3 to 1e3, inputs of scale 30 and inputs around 100, separable labels and repeated inputs,
    probabilities are within 1e-3 of the optimum.

    P(+) = 1/2 at k = 0. Signs alone: labels of more than two kinds have `linear-discriminant`.
    """

    reads = "vectors"

    family_parameter: ClassVar[str | None] = "penalty"
    family_words: ClassVar[str] = "logistic regression with penalty {}"

    penalty: float = setting(1.0, "multiplies |w|^2 / 2 beside the sum of losses", above=0)
    intercept: bool = setting(False, "a constant input of 1 beside x")
    iterations: int = setting(100, "Newton steps for every prefix, at most", at_least=1, absent=6)

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
        index = jnp.arange(prompt.points)

        def position(carry: tuple[Array, Array], k: Int[Array, ""]):
            triangle, w = carry
            rows = jnp.where((index < k)[:, None], inputs * signs[:, None], 0.0)
            problem = _scaled(triangle, rows, self.penalty)

            def newton(state: _State) -> _State:
                step, change = _newton(problem, state.scaled)
                return _State(state.scaled + step, state.count + 1, change)

            def unsettled(state: _State) -> Array:
                return (state.count < self.iterations) & ~(state.change < SETTLED)

            # Where the last examples contradict the solution before, 0 is nearer: there no example is far from doubt.
            before = jnp.matmul(triangle, w, precision=HIGHEST)
            before = jnp.where(_objective(problem, before) < _objective(problem, 0 * before), before, 0.0)
            begin = _State(jax.lax.stop_gradient(before), jnp.int32(0), jnp.float32(jnp.inf))
            scaled = jax.lax.while_loop(unsettled, newton, begin).scaled
            # One more step from the optimum, which has the derivatives that the loop has not.
            scaled = scaled + _newton(problem, scaled)[0]
            w = back_substitute(triangle, scaled)
            plain = _Problem(rows, self.penalty * jnp.eye(w.shape[0]))
            w = w + jax.lax.stop_gradient(_polished(plain, w) - w)
            # |row| / 2 is the most that an example adds to the curvature.
            after = rotate(triangle, jnp.zeros_like(w), 0.5 * inputs[k], jnp.zeros(()))[0]
            return (jax.lax.stop_gradient(after), jax.lax.stop_gradient(w)), w

        start = jnp.sqrt(jnp.asarray(self.penalty, jnp.float32)) * jnp.eye(inputs.shape[-1])
        return jax.lax.scan(position, (start, jnp.zeros_like(inputs[0])), index)[1]

    def _inputs(self, xs: Shaped[Array, "N D"]) -> Float[Array, "N D1"]:
        xs = xs.astype(jnp.float32)
        return jnp.concatenate([xs, jnp.ones_like(xs[:, :1])], 1) if self.intercept else xs


class _State(NamedTuple):
    """R w after `count` steps, the last of which changed no margin by more than `change` times the largest."""

    scaled: Float[Array, "D1"]
    count: Int[Array, ""]
    change: Float[Array, ""]


class _Problem(NamedTuple):
    """The objective in R w: its rows R^-T y_i x_i (0 where nothing was seen) and what the penalty multiplies."""

    rows: Float[Array, "P D1"]
    penalty: Float[Array, "D1 D1"]


def _scaled(triangle: Float[Array, "D1 D1"], rows: Float[Array, "P D1"], penalty: Array | float) -> _Problem:
    """In these coordinates the curvature is at most I, whatever scale and offset the inputs have."""
    solved = divide(jnp.concatenate([rows, jnp.eye(triangle.shape[0])]), triangle)
    inverse = solved[rows.shape[0] :]
    return _Problem(solved[: rows.shape[0]], penalty * jnp.matmul(inverse.T, inverse, precision=HIGHEST))


def _polished(problem: _Problem, w: Float[Array, "D1"]) -> Float[Array, "D1"]:
    """After two more steps in the weights themselves, where these do not raise the objective: where labels are
    separable and the penalty is small, its share is lost in the scaled coordinates."""
    better = w + _newton(problem, w)[0]
    better = better + _newton(problem, better)[0]
    return jnp.where(_objective(problem, better) <= _objective(problem, w), better, w)


def _objective(problem: _Problem, scaled: Float[Array, "D1"]) -> Float[Array, ""]:
    """Sum of losses and penalty. Rows that were not seen add a constant."""
    losses = jax.nn.softplus(-jnp.matmul(problem.rows, scaled, precision=HIGHEST))
    return jnp.sum(losses) + 0.5 * jnp.sum(scaled * jnp.matmul(problem.penalty, scaled, precision=HIGHEST))


def _newton(problem: _Problem, scaled: Float[Array, "D1"]) -> tuple[Float[Array, "D1"], Float[Array, ""]]:
    """A step of Newton's method times log(1 + d) / d, with d the largest change of a margin by a whole step: it always
    descends, and is whole in the end. And d, relative to the largest margin."""
    rows = problem.rows
    margins = jnp.matmul(rows, scaled, precision=HIGHEST)
    right, wrong = jax.nn.sigmoid(margins), jax.nn.sigmoid(-margins)
    slope = jnp.matmul(wrong, rows, precision=HIGHEST) - jnp.matmul(problem.penalty, scaled, precision=HIGHEST)
    curved = jnp.matmul((right * wrong)[None, :] * rows.T, rows, precision=HIGHEST) + problem.penalty
    whole = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(curved), True), slope)
    change = jnp.max(jnp.abs(jnp.matmul(rows, whole, precision=HIGHEST)))
    share = jnp.where(change > 0, jnp.log1p(change) / jnp.where(change > 0, change, 1.0), 1.0)
    return share * whole, change / (1 + jnp.max(jnp.abs(margins)))


def _log_probs(scores: Float[Array, "N"]) -> Float[Array, "N 2"]:
    """Minus first, then plus."""
    return jax.nn.log_sigmoid(jnp.stack([-scores, scores], -1))
