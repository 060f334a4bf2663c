"""Gradient descent in linear self-attention, and GD++ (von Oswald et al. 2022, Propositions 1 and appendix A.10).

One head on tokens e = (x, y), of which the query's is (x, 0), with keys and values of the context alone:

    W_Q = W_K = diag(I, 0),  W_V = diag(I, -1),  P = diag(-gamma I, eta / N)
    x_j <- x_j - gamma sum_i x_i x_i' x_j        y_j <- y_j - (eta / N) sum_i y_i x_i' x_j

From w = 0 the y slot of a context token is its residual y_j - w'x_j and that of the query is -w'x: the prediction is
minus the slot. The loss is sum_i (w'x_i - y_i)^2 / 2N; with gamma = 0 every layer or loop is a step on it.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import Problem, setting
from icl.layouts import Joint
from icl.models.attention_only import AttentionOnly
from icl.models.constructions.base import Construction, write_projections
from icl.models.constructions.channels import write_linear
from icl.models.looped import Looped
from icl.models.mixers.linear import LinearAttention
from icl.references.base import LinearPredictor
from icl.references.gd_plus_plus import transform_and_descend
from icl.references.gradient_descent import GradientDescent


@Construction.registry.add("gradient-descent", papers=("von-oswald-2022",))
class GradientDescentWeights(Construction):
    """K steps of gradient descent from w = 0, as K loops of one layer.

    The sum is divided by the number of examples seen, so this holds at every position.
    `icl.models.attention_only.loop` gives any other number of steps.
    """

    steps: int = setting(1, "number of steps, K", at_least=1)
    rate: float = setting(0.5, "learning rate eta on the mean over the examples", above=0)

    def config(self, task: FunctionClass) -> AttentionOnly:
        mixer = LinearAttention(normalizer="count")
        return AttentionOnly(depth=self.steps, mixer=mixer, recurrent=True, reads="minus-y")

    def fill(self, network: Any, task: FunctionClass) -> Any:
        return _fill(network, task, [(self.rate, 0.0)])

    def algorithm(self, task: FunctionClass) -> Predictor:
        return GradientDescent(self.steps, self.rate)


@Construction.registry.add("looped-gradient-descent", papers=("von-oswald-2022", "giannou-2023"))
class LoopedGradientDescent(Construction):
    """K steps of gradient descent from w = 0, as K loops of a looped transformer with these weights.

    Its read-in is the identity and its read-out minus the y slot. Nothing is injected again, and there are no MLPs,
    norms and positions. `icl.models.looped.loop` gives any other number of steps. (That a looped transformer descends
    is Giannou et al. 2023; these weights are von Oswald's.)
    """

    steps: int = setting(4, "number of steps, K", at_least=1)
    rate: float = setting(0.5, "learning rate eta on the mean over the examples", above=0)

    def config(self, task: FunctionClass) -> Looped:
        return Looped(
            layout=Joint(query="last", marker=False, sees_itself=False),
            loops=self.steps,
            inject="none",
            width=task.x_space.features + 1,
            heads=1,
            mixer=LinearAttention(normalizer="count"),
            activation="none",
            norm="none",
            positions="none",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        width = task.x_space.features + 1
        inner = _fill(network.inner, task, [(self.rate, 0.0)])
        ends = write_linear(inner.embed, np.eye(width)), write_linear(inner.head, -np.eye(width)[:, -1:])
        return eqx.tree_at(lambda n: n.inner, network, eqx.tree_at(lambda n: (n.embed, n.head), inner, ends))

    def algorithm(self, task: FunctionClass) -> Predictor:
        return GradientDescent(self.steps, self.rate)


@Construction.registry.add("gradient-descent-plus-plus", papers=("von-oswald-2022",))
class GradientDescentPlusPlus(Construction):
    """GD++: every layer also takes x_j <- (I - gamma X'X) x_j, for context and query.

    `gammas` multiplies the sum X'X, as in the paper, and the gradient is divided by one N at every position.
    """

    rates: tuple[float, ...] = setting((0.5, 0.5), "learning rate eta of every layer", above=0)
    gammas: tuple[float, ...] = setting((0.02, 0.02), "gamma of every layer, on the sum over examples", at_least=0)
    examples: int | None = setting(None, "N; none: all that a prompt shows before its last position", at_least=1)

    def problems(self):
        if not self.rates:
            yield Problem("rates", "expected one rate for every layer, got none")
        if len(self.gammas) != len(self.rates):
            yield Problem("gammas", f"must be as many as rates, {len(self.rates)}, got {len(self.gammas)}")

    def config(self, task: FunctionClass) -> AttentionOnly:
        return AttentionOnly(depth=len(self.rates), mixer=LinearAttention(), reads="minus-y")

    def fill(self, network: Any, task: FunctionClass) -> Any:
        size = self._size(task)
        layers = zip(self.rates, self.gammas, strict=True)
        return _fill(network, task, [(rate / size, gamma) for rate, gamma in layers])

    def algorithm(self, task: FunctionClass) -> Predictor:
        return PreconditionedDescent(jnp.asarray(self.rates) / self._size(task), jnp.asarray(self.gammas))

    def _size(self, task: FunctionClass) -> int:
        return self.examples or max(task.points - 1, 1)


def _fill(network: Any, task: FunctionClass, layers: list[tuple[float, float]]) -> Any:
    """The network with (eta / N, gamma) in each of its layers."""
    dim = task.x_space.features
    x, y = np.append(np.ones(dim), 0.0), np.append(np.zeros(dim), 1.0)
    pairs = zip(network.blocks, layers, strict=True)
    mixers = [write_projections(block.mixer, x, x - y, rate * y - gamma * x) for block, (rate, gamma) in pairs]
    return eqx.tree_at(lambda n: [block.mixer for block in n.blocks], network, mixers)


class PreconditionedDescent(LinearPredictor):
    """GD++ with numbers of its own in every step, the same for all positions: `rates` are eta / N, `gammas` multiply
    the sum."""

    rates: Float[Array, "L"]
    gammas: Float[Array, "L"]

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        shape = (prompt.points, self.rates.size)
        numbers = (jnp.broadcast_to(a[None], shape) for a in (self.rates, self.gammas))
        return transform_and_descend(prompt, *numbers)
