"""Learners whose algorithm is known, on which no rule was tuned: the published error rates of the probes are theirs.

They differ from those of `probes.known` in their algorithm, in the law of their prompts or in their architecture.
"""

import dataclasses

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from function_classes.inputs import Uniform
from function_classes.linear import LinearRegression
from icl.layouts import Joint, Shifted
from icl.models import Learner
from icl.models.attention_only import AttentionOnly
from icl.models.constructions.gradient_descent import GradientDescentWeights
from icl.models.constructions.nearest_neighbor import NearestNeighborWeights
from icl.models.constructions.ridge import ShermanMorrison
from icl.models.mixers.linear import LinearAttention
from icl.models.mixers.merged_linear import MergedLinear
from icl.models.transformer import Transformer
from icl.references.kernel_smoother import KernelSmoother
from icl.references.ridge import Ridge
from probes.closed_forms import optimum
from probes.handmade import (
    Layers,
    MomentReader,
    affine,
    in_turn,
    linear_layers,
    moment_reader,
    newton,
    reread,
    sequential,
    step,
)
from probes.known import Build, Subject, best_rate, penalty, scaled, skewed

# The smoother at which scale b of the scores is 1 / 2 bandwidth^2.
BANDWIDTH, SCALE = 1.0, 0.5


def uniform(task: LinearRegression) -> LinearRegression:
    """Inputs of variance 1 in a cube."""
    return dataclasses.replace(task, inputs=Uniform(-(3**0.5), 3**0.5))


def heavy(task: LinearRegression) -> LinearRegression:
    """Weights twice as large, so that Bayes shrinks a quarter as much."""
    return dataclasses.replace(task, weight_std=2.0)


def _ridge(task: LinearRegression, keeps_weights: bool) -> Learner:
    return ShermanMorrison(penalty=penalty(task), keeps_weights=keeps_weights).make(task)


def _bayes(task: LinearRegression) -> Ridge:
    return Ridge(penalty=penalty(task))


def _spread(task: LinearRegression) -> float:
    """The standard deviation of a label."""
    return float(np.sqrt(task.dim * float(task.weight_std) ** 2 + float(task.noise_std) ** 2))


def _one_step(task: LinearRegression, factor: float, shares: tuple[float, ...] = (1.0,)) -> Learner:
    """A step at a multiple of the best rate, in heads that take these shares of it."""
    rates = np.stack([factor * share * best_rate(task) * np.eye(task.dim) for share in shares])
    return linear_layers(task, step(rates), heads=len(shares))


def _optimum(task: LinearRegression) -> Learner:
    """The optimum on the last position, in two heads: a third of it, and two thirds."""
    best = np.diag(optimum(task, np.array([task.points - 1]), np.ones(1)))
    return linear_layers(task, step(np.stack([best / 3, 2 * best / 3])), heads=2)


def _reads_inputs(task: LinearRegression) -> Learner:
    """One step at the best rate, to which every example also adds half of its first input: PV has an entry [y, x_1]."""

    def layer(width: int) -> Layers:
        ((value, key_query),) = step(best_rate(task) * np.eye(task.dim)[None])(width)
        value[:, -1, 0] = -0.5
        return [(value, key_query)]

    return linear_layers(task, layer)


def _three_layers(task: LinearRegression) -> Learner:
    layer = step(0.3 * np.eye(task.dim)[None])
    return linear_layers(task, lambda width: layer(width) * 3)


def _moved(task: LinearRegression, _: PRNGKeyArray) -> Learner:
    return moment_reader(task, "moved")


def _squares(task: LinearRegression, _: PRNGKeyArray) -> Learner:
    return moment_reader(task, "squares")


def _attention(config: AttentionOnly) -> Build:
    """Random linear attention; merged matrices start with structure, so they are drawn anew."""

    def build(task: LinearRegression, key: PRNGKeyArray) -> Learner:
        learner = config.make(task, key=key)
        mixer = learner.network.blocks[-1].mixer
        if isinstance(config.mixer, MergedLinear):
            drawn = jax.random.normal(jax.random.fold_in(key, 1), (2, *mixer.value.shape))
            where = lambda m: [m.network.blocks[-1].mixer.value, m.network.blocks[-1].mixer.key_query]  # noqa: E731
            learner = eqx.tree_at(where, learner, [drawn[0], drawn[1]])
            return scaled(learner, task, lambda m: (m.network.blocks[-1].mixer.value,))
        return scaled(learner, task, lambda m: (m.network.blocks[-1].mixer.output.weight,))

    return build


def _transformer(config: Transformer) -> Build:
    def build(task: LinearRegression, key: PRNGKeyArray) -> Learner:
        learner = config.make(task, key=key)
        return scaled(learner, task, lambda m: (m.network.head.weight, m.network.head.bias))

    return build


_WIDE = AttentionOnly(init_scale=1.0, heads=2, mixer=LinearAttention(key_size=3))
_THIN = AttentionOnly(init_scale=1.0, heads=3, mixer=LinearAttention(key_size=1))
_MERGED = AttentionOnly(mixer=MergedLinear(normalizer="count"))
_RELU = Transformer(depth=2, width=16, heads=4, activation="relu", layout=Joint(query="every"))
_SUMS = Transformer(depth=3, width=16, heads=2, activation="swiglu", mixer=LinearAttention(normalizer="count"))
_SHIFTED = Transformer(depth=4, width=24, heads=2, layout=Shifted())

UNSEEN: dict[str, Subject] = {
    "ridge, unequal variances": Subject(
        "ridge at the penalty of Bayes by Sherman-Morrison, its weights written into the stream, other inputs",
        lambda task, _: _ridge(task, True),
        teacher=_bayes,
        law=skewed,
    ),
    "ridge, inputs in a cube": Subject(
        "ridge at the penalty of Bayes by Sherman-Morrison, its weights written nowhere, uniform inputs",
        lambda task, _: _ridge(task, False),
        teacher=_bayes,
        law=uniform,
    ),
    "ridge, large weights": Subject(
        "the same where weights are twice as large and Bayes shrinks a quarter as much, its weights in the stream",
        lambda task, _: _ridge(task, True),
        teacher=_bayes,
        law=heavy,
    ),
    "ridge, sign changed": Subject(
        "minus ridge at the penalty of Bayes, the weights of ridge written into the stream",
        lambda task, _: reread(_ridge(task, True), -1.0),
        teacher=lambda task: affine(_bayes(task), -1.0),
    ),
    "ridge and a constant": Subject(
        "ridge at the penalty of Bayes plus the standard deviation of a label",
        lambda task, _: reread(_ridge(task, False), 1.0, _spread(task)),
        teacher=lambda task: affine(_bayes(task), 1.0, _spread(task)),
    ),
    "kernel smoother": Subject(
        "the mean of labels by a Gaussian kernel of bandwidth 1, as a softmax",
        lambda task, _: NearestNeighborWeights(scale=SCALE).make(task),
        teacher=lambda task: KernelSmoother(bandwidth=BANDWIDTH),
    ),
    "moment, coordinates moved": Subject(
        "X'y / k, written into the stream, times the query's coordinates moved on by one",
        _moved,
        teacher=lambda task: MomentReader("moved"),
    ),
    "moment, squares": Subject(
        "X'y / k, written into the stream, times the squares of the query's coordinates",
        _squares,
        teacher=lambda task: MomentReader("squares"),
    ),
    "averaging by attention": Subject(
        "one step at rate 1, in linear attention", lambda task, _: GradientDescentWeights(rate=1.0).make(task)
    ),
    "one step, merged": Subject(
        "one step at the best rate, in linear attention with merged matrices", lambda task, _: _one_step(task, 1.0)
    ),
    "one step, two heads": Subject(
        "one step at the best rate, three and seven tenths of it by two heads",
        lambda task, _: _one_step(task, 1.0, (0.3, 0.7)),
    ),
    "optimum, two heads": Subject(
        "the optimum 1/Gamma on inputs of unequal variances, a third and two thirds of it by two heads",
        lambda task, _: _optimum(task),
        law=skewed,
    ),
    "three quarters of a step": Subject(
        "one step at three quarters of the best rate", lambda task, _: _one_step(task, 0.75)
    ),
    "step backwards": Subject("one step at minus the best rate", lambda task, _: _one_step(task, -1.0)),
    "step on inputs too": Subject(
        "one step at the best rate on labels to which half of the first input is added",
        lambda task, _: _reads_inputs(task),
    ),
    "three layers of descent": Subject(
        "three steps at rate 0.3, in layers of their own with merged matrices", lambda task, _: _three_layers(task)
    ),
    "six small steps": Subject(
        "six steps at rate 0.2, as six loops of linear attention",
        lambda task, _: GradientDescentWeights(steps=6, rate=0.2).make(task),
    ),
    "five Newton iterations": Subject(
        "Newton's iteration at the penalty of Bayes, each of five written out",
        lambda task, _: newton(task, 5, penalty(task), shown=True),
    ),
    "one example after another": Subject(
        "a step of stochastic descent at rate 0.2 for every example, in its order",
        lambda task, _: sequential(task, 0.2),
    ),
    "one coordinate after another": Subject(
        "a step at rate 0.5 on every coordinate of the weights in turn", lambda task, _: in_turn(task, 0.5)
    ),
    "random attention, two heads": Subject("one layer of linear attention", _attention(_WIDE), random=True),
    "random attention, three thin heads": Subject("one layer, key size 1", _attention(_THIN), random=True),
    "random attention, merged": Subject("one layer of merged matrices", _attention(_MERGED), random=True),
    "random relu transformer": Subject("two blocks, softmax attention and relu", _transformer(_RELU), random=True),
    "random linear-attention transformer": Subject("three blocks, sums and swiglu", _transformer(_SUMS), random=True),
    "random transformer, shifted": Subject("four blocks, tokens (x_k, y_k-1)", _transformer(_SHIFTED), random=True),
}
