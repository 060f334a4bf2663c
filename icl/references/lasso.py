"""The lasso (Tibshirani 1996): w = argmin 1/2 |Xw - y|^2 + penalty |w|_1, refitted to every prefix."""

from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import setting
from function_classes.rotations import rotate
from function_classes.spaces import Real
from icl.programs import compiled
from icl.references.base import HIGHEST, LinearPredictor, LinearReference, Reference, plain
from icl.references.calibration import Fold, fold, search

PENALTIES = tuple(float(v) for v in np.geomspace(1e-3, 1e3, 19))

# A solve is a loop, and the best penalty is flat: more prompts would only make the search slower.
CALIBRATION_PROMPTS = 128

# Share of the trace on the diagonal of a step's system, which more weights than examples leave singular: it tilts the
# step and not what it aims at.
RIDGE = 2e-7

# A whole step that changes no weight by more than this share of the largest is the last.
SETTLED = 1e-4

# A weight of 0 comes in where the slope is above the penalty by more than rounding: else it would leave again.
ENTERS = 1 + 1e-5

Loss = Literal["sum", "mean"]


@Reference.registry.add("lasso", papers=("tibshirani-1996", "lee-2006", "garg-2022", "panwar-2023"))
class Lasso(LinearReference):
    """w_k = argmin 1/2 |Xw - y|^2 + penalty |w|_1 over the first k examples; loss "mean" multiplies penalty by k.

    scikit-learn's Lasso(alpha) without intercept, 1/(2k) |Xw - y|^2 + alpha |w|_1, is penalty = alpha with loss "mean";
    alpha = 0.01 in Garg et al. and Panwar et al. For orthonormal columns w is X'y moved towards 0 by penalty.

    Found by an active set that starts from the solution of the prefix before, until no weight wants to change. At dim
    20 and penalty 0.01 the gap to the dual objective is within 2e-3 of the objective in each of 1,536 prompts, at every
    k: where it is flat, with fewer examples than inputs and almost no penalty, predictions may still differ.
    """

    family_parameter: ClassVar[str | None] = "penalty"
    family_words: ClassVar[str] = "lasso with penalty {}"

    penalty: float | Literal["class"] = setting(0.1, "multiplies |w|_1; class: the best of the class", above=0)
    loss: Loss = setting("sum", "1/2 of the sum or of the mean of squares beside the penalty")
    iterations: int = setting(128, "steps of the active set for every prefix, at most", at_least=1, absent=32)

    @property
    def label(self) -> str:
        where = " per example" if self.loss == "mean" else ""
        return "lasso (best penalty)" if self.penalty == "class" else f"lasso-{float(self.penalty):g}{where}"

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        """Where the class says that few weights differ from 0."""
        return (cls(penalty="class"), cls(0.01, "mean")) if sparse(task) else ()

    @classmethod
    def families(cls, task: FunctionClass) -> tuple[Reference, ...]:
        """There too: elsewhere identification would take its time for a member that nobody expects."""
        return (cls(),) if sparse(task) else ()

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return PENALTIES

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if self.penalty != "class":
            return self
        data = fold(task, key, min(prompts, CALIBRATION_PROMPTS))

        def losses(grid: np.ndarray) -> np.ndarray:
            return np.asarray(_losses(data, jnp.asarray(grid[:, 0], jnp.float32), self.loss, self.iterations))[:, None]

        best = search(losses, np.c_[list(PENALTIES)])
        return CalibratedLasso(jnp.float32(best[0]), self.loss, self.iterations)

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        if isinstance(self.penalty, str):
            raise self.unresolved("penalty")
        return active_set(prompt, self.penalty, self.loss, self.iterations)


def sparse(task: FunctionClass) -> bool:
    """Whether outputs are numbers and the class has a field that says how many weights there are."""
    return hasattr(task, "sparsity") and isinstance(task.y_space, Real)


class CalibratedLasso(LinearPredictor):
    """The lasso with the penalty that was found."""

    penalty: Float[Array, ""]
    loss: Loss = eqx.field(static=True)
    iterations: int = eqx.field(static=True)

    @property
    def found(self) -> dict[str, Any]:
        return {"penalty": plain(self.penalty)}

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        return active_set(prompt, self.penalty, self.loss, self.iterations)


class _State(NamedTuple):
    """Weights, whether the last step was a whole one, and whether after it no weight wanted to come in."""

    weights: Float[Array, "D"]
    arrived: Bool[Array, ""]
    settled: Bool[Array, ""]
    count: Int[Array, ""]


def active_set(prompt: Prompt, penalty: Float[Array, ""] | float, loss: Loss, iterations: int) -> Float[Array, "P D"]:
    """At most `iterations` steps of feature-sign search (Lee et al. 2006) for every prefix, from the solution before.

    A step goes to the minimum over the weights in use, their signs kept, or to the first of them that reaches 0 and
    leaves. Once a step arrived, the zero weight with the largest |X_j'(y - Xw)| > penalty comes in. Sums grow by one
    example at a position, so no later row reaches an earlier one. Cost O(P iterations D^3).
    """
    xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
    dim = xs.shape[-1]

    def position(carry, example):
        triangle, labels, w = carry
        x, y, k = example
        second = jnp.matmul(triangle.T, triangle, precision=HIGHEST)
        threshold = penalty * (k if loss == "mean" else 1.0)
        nugget = jnp.where(jnp.trace(second) > 0, RIDGE * jnp.trace(second), 1.0)

        def step(w: Array, arrived: Array | bool) -> tuple[Array, Array, Array]:
            # From the residue: the difference of X'y and X'X w would keep half the digits.
            residue = labels - jnp.matmul(triangle, w, precision=HIGHEST)
            slope = jnp.matmul(residue, triangle, precision=HIGHEST)
            outside = jnp.where(w == 0, jnp.abs(slope), 0.0)
            enters = arrived & (outside == jnp.max(outside)) & (outside > ENTERS * threshold)
            signs = jnp.where(enters, jnp.sign(slope), jnp.sign(w))
            used = signs != 0
            system = jnp.where(used[:, None] & used[None, :], second, 0.0) + jnp.diag(jnp.where(used, nugget, 1.0))
            aim = jnp.where(used, slope - threshold * signs, 0.0)
            change = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(system), True), aim)
            leaves = used & (jnp.sign(w + change) != signs)
            shares = jnp.where(leaves, -w / jnp.where(leaves, change, 1.0), 1.0)
            share = jnp.min(shares)
            moved = jnp.where(leaves & (shares <= share), 0.0, w + share * change)
            small = jnp.max(jnp.abs(change)) <= SETTLED * jnp.max(jnp.abs(moved))
            return moved, ~jnp.any(leaves), arrived & ~jnp.any(enters) & small

        def turn(state: _State) -> _State:
            return _State(*step(state.weights, state.arrived), state.count + 1)

        start = _State(jax.lax.stop_gradient(w), jnp.bool_(False), jnp.bool_(False), jnp.int32(0))
        found = jax.lax.while_loop(lambda s: ~s.settled & (s.count < iterations), turn, start)
        # One more step among the weights in use has the derivatives that the loop has not.
        w = step(jax.lax.stop_gradient(found.weights), False)[0]
        return (*rotate(triangle, labels, x, y), w), w

    start = jnp.zeros((dim, dim)), jnp.zeros(dim), jnp.zeros(dim)
    return jax.lax.scan(position, start, (xs, ys, jnp.arange(prompt.points, dtype=jnp.float32)))[1]


@compiled
def _losses(data: Fold, penalties: Float[Array, "G"], loss: Loss, iterations: int) -> Float[Array, "G"]:
    def error(penalty: Float[Array, ""]) -> Float[Array, ""]:
        weights = jax.vmap(lambda prompt: active_set(prompt, penalty, loss, iterations))(data.prompts)
        means = jnp.sum(weights * data.prompts.xs.astype(jnp.float32), -1)
        return jnp.sum(data.weight * (means - data.target) ** 2) / jnp.sum(data.weight)

    return jax.lax.map(error, penalties)
