"""Gradient descent from 0 on the squared error of the context (von Oswald et al. 2022).

    L_k(w) = 1/(2k) sum_{i<k} (w'x_i - y_i)^2      w <- w - rate grad L_k(w), `steps` times      prediction k: w'x_k

The best rate depends on the position, so "the best rate" has two meanings and both exist here: one rate for the class,
or one for every position (a much stronger reference). With many steps gradient descent is almost ridge, so it is
always named with its number of steps.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Prediction, Predictor, Prompt
from function_classes.fields import setting
from icl.programs import compiled
from icl.references.averaging import counts
from icl.references.base import LinearPredictor, LinearReference, Path, Reference, plain
from icl.references.calibration import fold, search

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)

# Relative to 1 / (mean largest curvature): above 2 most prompts diverge, far below early stopping of noisy data.
RELATIVE_RATES = np.geomspace(1e-4, 4.0, 40)

# Scale of the rate and weight of the error there, in the search for the best of several steps.
GUARD = ((1.1, 0.1), (1.2, 0.05), (1.35, 0.02))


@Reference.registry.add("gradient-descent", papers=("von-oswald-2022", "akyurek-2022"))
class GradientDescent(LinearReference):
    """`steps` steps from w = 0 with one rate, or the best per class or per position found by `calibrate`.

    x, w ~ N(0, I), noise s, one step: best rate k / (k + dim + 1 + s^2). Rate 1 and one step is averaging.
    """

    family_parameter: ClassVar[str | None] = "steps"
    family_words: ClassVar[str] = "gradient descent of {} steps at the best rate for every position"

    steps: int = setting(1, "number of steps for every prefix", at_least=1)
    rate: float | Literal["class", "position"] = setting("position", "a number, or best per class or position", above=0)

    @property
    def label(self) -> str:
        rate = f"best rate per {self.rate}" if isinstance(self.rate, str) else f"rate {float(self.rate):g}"
        return f"gd-{self.steps} ({rate})"

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return cls(1), cls(1, "class"), cls(4), cls(16)

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return STEPS

    def family_path(self, task: FunctionClass, key: PRNGKeyArray, prompts: Prompt) -> Path:
        own = calibration(task, key, 512)
        modes = decompose(prompts.xs.astype(jnp.float32), prompts.ys.astype(jnp.float32))

        def path(values: Sequence[float]) -> list[Prediction]:
            rates = [best_rates(own, int(steps), "position") for steps in values]
            means = [descent_means(modes, jnp.float32(s), r) for s, r in zip(values, rates, strict=True)]
            return [Prediction(mean=mean) for mean in means]

        return path

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if not isinstance(self.rate, str):
            return self
        rates = best_rates(calibration(task, key, prompts), self.steps, self.rate)
        return CalibratedGradientDescent(rates, self.steps)

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        if isinstance(self.rate, str):
            raise self.unresolved("rate")
        return descend(prompt, jnp.full(prompt.points, self.rate), self.steps)


class CalibratedGradientDescent(LinearPredictor):
    """Gradient descent with the rates that were found; positions beyond them use the last one."""

    rates: Float[Array, "R"]
    steps: int = eqx.field(static=True)

    @property
    def found(self) -> dict[str, Any]:
        return {"steps": self.steps, "rates": plain(self.rates)}

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        positions = jnp.minimum(jnp.arange(prompt.points), len(self.rates) - 1)
        return descend(prompt, self.rates[positions], self.steps)


def descend(prompt: Prompt, rates: Float[Array, "P"], steps: int) -> Float[Array, "P D"]:
    """Weights after `steps` steps for every prefix. One position after another: its D x D second moment stays in cache
    and a later row cannot reach it. Cost O(P steps D^2)."""
    xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
    dim = xs.shape[-1]

    def position(carry, example):
        second, moment = carry
        x, y, rate = example

        def step(_, w):
            return w + rate * (moment - jnp.sum(second * w[None, :], -1))

        w = jax.lax.fori_loop(0, steps, step, jnp.zeros(dim), unroll=min(steps, 4))
        return (second + x[:, None] * x[None, :], moment + x * y), w

    start = jnp.zeros((dim, dim)), jnp.zeros(dim)
    return jax.lax.scan(position, start, (xs, ys, rates / counts(prompt.points)))[1]


class Modes(NamedTuple):
    """Prediction k in the eigenbasis of X'X/k: sum over j of loads[k, j] gain(curvatures[k, j])."""

    curvatures: Float[Array, "B P D"]
    loads: Float[Array, "B P D"]


def decompose(xs: Float[Array, "B P D"], ys: Float[Array, "B P"]) -> Modes:
    """gain(c) = (1 - (1 - rate c)^steps) / c, so all numbers of steps and all rates share one decomposition. In NumPy:
    compiling it for every new shape takes longer than running it."""
    rows, labels = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    size = np.maximum(np.arange(rows.shape[1]), 1.0)[:, None]
    second = np.cumsum(rows[..., :, None] * rows[..., None, :], 1) - rows[..., :, None] * rows[..., None, :]
    moment = np.cumsum(rows * labels[..., None], 1) - rows * labels[..., None]
    curvatures, basis = np.linalg.eigh(second / size[..., None])
    loads = (moment / size)[..., None, :] @ basis * (rows[..., None, :] @ basis)
    return Modes(jnp.asarray(np.maximum(curvatures, 0), jnp.float32), jnp.asarray(loads[..., 0, :], jnp.float32))


@jax.jit
def descent_means(modes: Modes, steps: Float[Array, ""], rates: Float[Array, "P"]) -> Float[Array, "B P"]:
    """Predictions after any number of steps at these rates, one for every position."""
    rates = rates[None, :, None]
    shrunk = rates * modes.curvatures
    flat = shrunk < 1e-6
    left = jnp.exp(steps * jnp.log(jnp.maximum(jnp.abs(1 - shrunk), 1e-30)))
    odd = (jnp.mod(steps, 2.0) == 1) & (shrunk > 1)
    left = jnp.where(odd, -left, left)
    gain = jnp.where(flat, steps, (1 - left) / jnp.where(flat, 1, shrunk))
    return jnp.sum(modes.loads * gain * rates, -1)


class Calibration(NamedTuple):
    """The modes of calibration prompts, what their means should come close to, and the weight of each position."""

    modes: Modes
    target: Float[Array, "B P"]
    weight: Float[Array, "B P"]


def calibration(task: FunctionClass, key: PRNGKeyArray, prompts: int) -> Calibration:
    """Everything that the search for the best rate of any number of steps needs to know about a class."""
    data = fold(task, key, prompts)
    modes = decompose(data.prompts.xs.astype(jnp.float32), data.prompts.ys.astype(jnp.float32))
    return Calibration(modes, data.target, data.weight)


@compiled
def _losses(own: Calibration, steps: Float[Array, ""], rates: Float[Array, "G P"]) -> Float[Array, "G P"]:
    def loss(rates):
        return jnp.mean(own.weight * (descent_means(own.modes, steps, rates) - own.target) ** 2, 0)

    return jax.lax.map(loss, rates)


def best_rates(own: Calibration, steps: int, kind: str) -> Float[Array, "P"]:
    """The rate with the least mean error for every position, or the same for all with the least sum of them.

    The error of many steps grows so fast beyond the stable rates that prompts too rare for a sample decide its mean:
    rates fitted to 512 prompts had at 16 steps a mean error hundreds of times the best one on others. So with more than
    one step (one has a mean that is quadratic in the rate) a rate answers with small weights for larger ones too:
    `GUARD`. Scaling the rate is scaling the curvatures, so these stand for the prompts that the sample lacks. The price
    is a mean distance from Bayes above the least by 2 to 4 % at 4 steps and 10 to 30 % at 16 (dim 5, noise 0.5).
    """
    largest = np.array(jnp.mean(own.modes.curvatures[..., -1], 0))
    largest[0] = largest[1:2].sum() or 1.0
    points = len(largest)

    def losses(rates: np.ndarray) -> np.ndarray:
        def at(scaled: np.ndarray) -> np.ndarray:
            return np.asarray(_losses(own, jnp.float32(steps), jnp.asarray(scaled, jnp.float32)), np.float64)

        return at(rates) + sum(weight * at(scale * rates) for scale, weight in (GUARD if steps > 1 else ()))

    if kind == "position":
        rates = search(losses, RELATIVE_RATES[:, None] / largest[None, :])
    else:
        start = np.geomspace(RELATIVE_RATES[0] / largest.max(), RELATIVE_RATES[-1] / largest.min(), 60)
        rates = search(lambda g: losses(np.repeat(g, points, 1)).sum(1, keepdims=True), start[:, None])
    return jnp.asarray(np.broadcast_to(rates, points), jnp.float32)
