"""Learners whose algorithm is known, on which rules may be tuned: plain, in disguise, and with random weights. Those of
which the published error rates are stand in `probes.unseen`.

plain     the hand-set weights
rotated   the same function with other weights in every matrix, another disguise every time
distilled a trained transformer that imitates the reference of that name, trained anew every time (`probes.distilled`)
random    weights as at the start of training, others every time, scaled to the mean square of the labels
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from function_classes.base import Predictor
from function_classes.inputs import Diagonal
from function_classes.linear import LinearRegression
from icl.models import Learner
from icl.models.attention_only import AttentionOnly, loop
from icl.models.constructions.disguise import rotated
from icl.models.constructions.finite_pool import FinitePool
from icl.models.constructions.gradient_descent import GradientDescentPlusPlus, GradientDescentWeights
from icl.models.constructions.moment import ExplicitMoment
from icl.models.constructions.nearest_neighbor import NearestNeighborWeights
from icl.models.constructions.ridge import ShermanMorrison
from icl.models.constructions.zhang import ZhangOptimum
from icl.models.transformer import Transformer
from icl.programs import draw, predict
from icl.references.averaging import Averaging
from icl.references.gradient_descent import GradientDescent
from icl.references.ridge import Ridge
from probes.closed_forms import best_step
from probes.distilled import distilled
from probes.handmade import newton

# Variances of the inputs at which the optimum 1/Gamma is far from a multiple of I.
SKEWED = Diagonal((2.0, 1.0, 0.3))


Build = Callable[[LinearRegression, PRNGKeyArray], Learner]


class Subject(NamedTuple):
    """`build` gives the learner: from a task alone where weights are set by hand, from a key too where random; None for
    one that exists as a trained imitation alone. `teacher` has the same predictions, where a small transformer can
    imitate them. `law` changes the class of prompts to the one that the subject is for."""

    algorithm: str
    build: Build | None = None
    random: bool = False
    teacher: Callable[[LinearRegression], Predictor] | None = None
    law: Callable[[LinearRegression], LinearRegression] = lambda task: task

    @property
    def variants(self) -> tuple[str, ...]:
        if self.random:
            return ("random",)
        by_hand = () if self.build is None else ("plain", "rotated")
        return by_hand if self.teacher is None else (*by_hand, "distilled")

    def on(self, task: LinearRegression) -> LinearRegression:
        """The task with the law of prompts that this subject is for."""
        return self.law(task)

    def make(self, task: LinearRegression, variant: str, key: PRNGKeyArray) -> Learner:
        """The learner of one trial."""
        if variant == "distilled" and self.teacher is not None:
            return distilled(self.teacher(task), task, key)
        assert self.build is not None
        learner = self.build(task, key)
        return rotated(learner, key) if variant == "rotated" else learner


def skewed(task: LinearRegression) -> LinearRegression:
    """Inputs of unequal variances."""
    return dataclasses.replace(task, inputs=Diagonal(SKEWED.eigenvalues[: task.dim]))


def best_rate(task: LinearRegression) -> float:
    """Of one step, at the position at which a prompt has shown all its examples but one."""
    return best_step(task, np.array([task.points - 1]), np.ones(1))


def _by_hand(build: Callable[[LinearRegression], Any]) -> Build:
    return lambda task, _: build(task).make(task)


def _descent_plus_plus(task: LinearRegression, _: PRNGKeyArray) -> Learner:
    """Two loops of one layer; gamma at half of 1 / E|X'X|, where the inputs of the second are visibly others."""
    layer = GradientDescentPlusPlus(rates=(best_rate(task),), gammas=(0.5 / (task.points + task.dim),)).make(task)
    return loop(_recurrent(layer), 2)


def _recurrent(layer: Learner) -> Learner:
    return dataclasses.replace(layer, network=dataclasses.replace(layer.network, loops=1))


def _step_in_one_pass(task: LinearRegression, _: PRNGKeyArray) -> Learner:
    learner = GradientDescentWeights(rate=best_rate(task)).make(task)
    return dataclasses.replace(learner, layout=dataclasses.replace(learner.layout, query="every"))


def _random_transformer(task: LinearRegression, key: PRNGKeyArray) -> Learner:
    learner = Transformer(depth=3, width=16, heads=2).make(task, key=key)
    return scaled(learner, task, lambda m: (m.network.head.weight, m.network.head.bias))


def _random_attention(task: LinearRegression, key: PRNGKeyArray) -> Learner:
    learner = AttentionOnly(init_scale=1.0).make(task, key=key)
    return scaled(learner, task, lambda m: (m.network.blocks[0].mixer.output.weight,))


def scaled(learner: Learner, task: LinearRegression, linear: Callable[[Learner], tuple[Any, ...]]) -> Learner:
    """The learner with those weights, in which its predictions are linear, multiplied until the mean square of
    predictions is that of the labels."""
    prompts = draw(task, jax.random.key(0), 0, 256)
    said = np.asarray(predict(learner, prompts).mean, np.float64)
    factor = np.sqrt(np.mean(np.asarray(prompts.ys, np.float64) ** 2) / np.mean(said**2))
    return eqx.tree_at(linear, learner, tuple(jnp.float32(factor) * leaf for leaf in linear(learner)))


SUBJECTS: dict[str, Subject] = {
    "one step": Subject(
        "one step of gradient descent at the best rate, in linear attention",
        _by_hand(lambda task: GradientDescentWeights(rate=best_rate(task))),
        teacher=lambda task: GradientDescent(steps=1, rate=best_rate(task)),
    ),
    "one step, one pass": Subject("the same step with the queries of all positions in one pass", _step_in_one_pass),
    "half a step": Subject(
        "one step at half of the best rate",
        _by_hand(lambda task: GradientDescentWeights(rate=best_rate(task) / 2)),
        teacher=lambda task: GradientDescent(steps=1, rate=best_rate(task) / 2),
    ),
    "four steps": Subject(
        "four steps at rate 0.4, as four loops of linear attention",
        _by_hand(lambda task: GradientDescentWeights(steps=4, rate=0.4)),
    ),
    "three Newton iterations": Subject(
        "Newton's iteration for least squares, each of three written out",
        lambda task, _: newton(task, 3, 0.0, shown=True),
    ),
    "GD++": Subject("two loops of GD++, which also transforms the inputs", _descent_plus_plus),
    "optimum": Subject(
        "the optimum 1/Gamma of one layer, on inputs of unequal variances",
        _by_hand(lambda task: ZhangOptimum()),
        law=skewed,
    ),
    "averaging": Subject(
        "one step at rate 1, the moment X'y/k written into the stream",
        _by_hand(lambda task: ExplicitMoment(rate=1.0)),
        teacher=lambda task: Averaging(),
    ),
    "ridge": Subject(
        "ridge at the penalty of Bayes by Sherman-Morrison, its weights written nowhere",
        _by_hand(lambda task: ShermanMorrison(penalty=penalty(task))),
        teacher=lambda task: Ridge(penalty=penalty(task)),
    ),
    "ridge, weights kept": Subject(
        "the same ridge, its weights written into the stream",
        _by_hand(lambda task: ShermanMorrison(penalty=penalty(task), keeps_weights=True)),
    ),
    "finite pool": Subject(
        "the posterior mean over four weight vectors", _by_hand(lambda task: FinitePool(size=4, noise_std=0.6))
    ),
    "nearest neighbor": Subject("1-nearest-neighbor, as a sharp softmax", _by_hand(lambda _: NearestNeighborWeights())),
    "random attention": Subject("one layer of linear attention, random weights", _random_attention, random=True),
    "random transformer": Subject("three blocks, softmax attention and gelu", _random_transformer, random=True),
}


def penalty(task: LinearRegression) -> float:
    """Of ridge, at which it is Bayes."""
    return float(task.noise_std / task.weight_std) ** 2
