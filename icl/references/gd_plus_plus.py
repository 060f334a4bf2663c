"""GD++: gradient descent that also transforms the inputs after every step (von Oswald et al. 2022, appendix A.10).

From w = 0 on 1/(2k) sum_{i<k} (w'x_i - y_i)^2 every step moves w by the rate, as seen by the current inputs, and then

    x_j <- (I - gamma X'X / k) x_j      for all examples and the query, X being the examples as they are by now

which takes the curvatures c towards one another: an eigenvalue becomes (1 - gamma c)^2 c. In the eigenbasis of the
first X'X / k everything is a number: with m = 1 and g = 0, step by step

    g <- g + rate m^2 (1 - c g),    m <- (1 - gamma c m^2) m,       prediction k = sum_j g(c_j) load_j

Deviation: the paper's gamma multiplies the sum X'X, so it is ours divided by the number of examples.
"""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import setting
from icl.programs import compiled
from icl.references.averaging import counts
from icl.references.base import HIGHEST, LinearPredictor, LinearReference, Reference, plain
from icl.references.calibration import search
from icl.references.gradient_descent import GUARD, RELATIVE_RATES, Calibration, calibration

# Of gamma times the mean largest curvature; above 1 most prompts have an input turned around.
RELATIVE_GAMMAS = np.geomspace(1e-3, 1.5, 24)


@Reference.registry.add("gradient-descent-plus-plus", papers=("von-oswald-2022",))
class GradientDescentPlusPlus(LinearReference):
    """`steps` steps of GD++ from w = 0 with one rate and one gamma, numbers or the best for the class. gamma = 0 is
    gradient descent."""

    steps: int = setting(2, "number of steps for every prefix", at_least=1)
    rate: float | Literal["class"] = setting("class", "a number, or the best for the class", above=0)
    gamma: float | Literal["class"] = setting("class", "a number, or the best for the class", at_least=0)

    @property
    def label(self) -> str:
        words = (
            f"{name} {value if isinstance(value, str) else format(float(value), 'g')}" for name, value in self._own
        )
        return f"gd++-{self.steps} ({', '.join(words)})"

    @property
    def _own(self) -> tuple[tuple[str, Any], ...]:
        return ("rate", self.rate), ("gamma", self.gamma)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        rate, gamma = self.rate, self.gamma
        if isinstance(rate, str) or isinstance(gamma, str):
            rate, gamma = best(calibration(task, key, prompts), self.steps, rate, gamma)
        return CalibratedGDPlusPlus(jnp.float32(rate), jnp.float32(gamma), self.steps)

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        for name, value in self._own:
            if isinstance(value, str):
                raise self.unresolved(name)
        return CalibratedGDPlusPlus(jnp.float32(self.rate), jnp.float32(self.gamma), self.steps).weights(prompt)


class CalibratedGDPlusPlus(LinearPredictor):
    """GD++ with the numbers that were found."""

    rate: Float[Array, ""]
    gamma: Float[Array, ""]
    steps: int = eqx.field(static=True)

    @property
    def found(self) -> dict[str, Any]:
        return {"steps": self.steps, "rate": plain(self.rate), "gamma": plain(self.gamma)}

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        size = counts(prompt.points)[:, None]
        shape = (prompt.points, self.steps)
        return transform_and_descend(
            prompt, jnp.broadcast_to(self.rate / size, shape), jnp.broadcast_to(self.gamma / size, shape)
        )


def transform_and_descend(
    prompt: Prompt, rates: Float[Array, "P L"], gammas: Float[Array, "P L"]
) -> Float[Array, "P D"]:
    """Weights of GD++ for every prefix; both numbers multiply sums over examples. With S = X'X, b = X'y, w = 0, M = I:

        w <- w + rate M^2 (b - S w),      M <- (I - gamma M S M) M          step by step

    since step l sees the inputs M x and the residuals y - Xw. Cost O(P L D^3)."""
    xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
    eye = jnp.eye(xs.shape[-1])
    product = lambda a, b: jnp.matmul(a, b, precision=HIGHEST)  # noqa: E731

    def position(carry: tuple[Array, Array], example: tuple[Array, ...]):
        second, moment = carry
        x, y, rates, gammas = example

        def step(state: tuple[Array, Array], numbers: tuple[Array, Array]):
            w, seen = state
            rate, gamma = numbers
            w = w + rate * product(seen, product(seen, moment - product(second, w)))
            return (w, product(eye - gamma * product(seen, product(second, seen)), seen)), None

        w = jax.lax.scan(step, (jnp.zeros_like(x), eye), (rates, gammas))[0][0]
        return (second + x[:, None] * x[None, :], moment + x * y), w

    return jax.lax.scan(position, (jnp.zeros_like(eye), jnp.zeros_like(xs[0])), (xs, ys, rates, gammas))[1]


@compiled
def _losses(own: Calibration, rates: Float[Array, "N"], gammas: Float[Array, "N"], steps: int) -> Float[Array, "N"]:
    """Mean squared error over prompts and positions, of every pair."""

    def loss(pair: tuple[Array, Array]) -> Array:
        rate, gamma = pair
        gain, m = jnp.zeros_like(own.modes.curvatures), jnp.ones_like(own.modes.curvatures)
        for _ in range(steps):
            gain = gain + rate * m**2 * (1 - own.modes.curvatures * gain)
            m = (1 - gamma * own.modes.curvatures * m**2) * m
        return jnp.mean(own.weight * (jnp.sum(own.modes.loads * gain, -1) - own.target) ** 2)

    return jax.lax.map(loss, (rates, gammas))


def best(own: Calibration, steps: int, rate: float | str, gamma: float | str) -> tuple[float, float]:
    """The pair with the least error, of those that are not given: the best rate for every gamma of a grid and for 0,
    then for a finer grid about the best. Larger curvatures than the sample has count with small weights, as in
    `icl.references.gradient_descent.best_rates`: scaling both numbers scales the curvatures."""
    largest = np.asarray(jnp.mean(own.modes.curvatures[..., -1], 0), float)
    top, least = largest.max(), largest[largest > 0].min(initial=largest.max())

    def losses(rates: np.ndarray, gammas: np.ndarray) -> np.ndarray:
        def at(scale: float) -> np.ndarray:
            pair = tuple(jnp.asarray(scale * a, jnp.float32) for a in (rates, gammas))
            return np.asarray(_losses(own, pair[0], pair[1], steps), float)

        return at(1.0) + sum(weight * at(scale) for scale, weight in GUARD)

    def best_rate(gamma: float) -> tuple[float, float]:
        """With its loss."""
        if not isinstance(rate, str):
            found = float(rate)
        else:
            start = np.geomspace(RELATIVE_RATES[0] / top, RELATIVE_RATES[-1] / least, 60)[:, None]
            found = float(search(lambda g: losses(g[:, 0], np.full(len(g), gamma))[:, None], start)[0])
        return found, float(np.nan_to_num(losses(np.array([found]), np.array([gamma]))[0], nan=np.inf))

    if not isinstance(gamma, str):
        return best_rate(float(gamma))[0], float(gamma)
    grid = np.concatenate([[0.0], RELATIVE_GAMMAS / top])
    index = _argmin(best_rate, grid)
    fine = np.linspace(grid[max(index - 1, 0)], grid[min(index + 1, len(grid) - 1)], 9)
    chosen = float(fine[_argmin(best_rate, fine)])
    return best_rate(chosen)[0], chosen


def _argmin(best_rate: Callable[[float], tuple[float, float]], gammas: np.ndarray) -> int:
    return int(np.argmin([best_rate(float(gamma))[1] for gamma in gammas]))
