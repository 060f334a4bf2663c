"""What a construction is: a model class, its weights, and the algorithm that these weights run."""

from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from function_classes.base import FunctionClass, NotAvailable, Predictor
from function_classes.fields import Fields
from function_classes.linear import LinearRegression
from function_classes.registry import Registry
from function_classes.spaces import Real
from icl.layouts import Signature
from icl.models.attention_only import AttentionOnly
from icl.models.base import Learner, ModelConfig
from icl.models.looped import AlgoFormer, Looped, LoopedNetwork
from icl.models.transformer import Transformer
from icl.references.base import vectors_to_numbers


class Needs(NamedTuple):
    """The size a construction takes."""

    layers: int
    heads: int
    width: int


class TokenConstruction(Fields):
    """Weights by hand for tokens that are given. What they run is no predictor of a function class."""

    registry: ClassVar[Registry] = Registry("token construction", "icl.models.constructions", "icl.token_constructions")

    def network(self, loops: int = 1) -> LoopedNetwork:
        """The weights, to be looped that often."""
        raise NotImplementedError


class Construction(Fields):
    """Weights by hand in a trainable model class. `kind` says whether the learner equals its algorithm up to rounding
    or only in a limit."""

    registry: ClassVar[Registry] = Registry("construction", "icl.models.constructions", "icl.constructions")
    kind: ClassVar[Literal["exact", "approximate"]] = "exact"

    @classmethod
    def example(cls) -> FunctionClass:
        """A task this construction is for, as the contract tests take it."""
        return LinearRegression(dim=4, points=9, noise_std=0.3)

    def applies(self, task: FunctionClass) -> str | None:
        """None, or the sentence why this construction does not exist for `task`."""
        reason = vectors_to_numbers(self.name, task)
        if reason is None and not isinstance(task.y_space, Real):
            return f"{self.name} predicts numbers, and learners read logits where outputs are {task.y_space}"
        return reason

    def config(self, task: FunctionClass) -> ModelConfig:
        """The model class in which the weights live."""
        raise NotImplementedError

    def fill(self, network: Any, task: FunctionClass) -> Any:
        """The network with these weights."""
        raise NotImplementedError

    def algorithm(self, task: FunctionClass) -> Predictor:
        """What the learner computes, computed directly."""
        raise NotImplementedError

    def needs(self, task: FunctionClass) -> Needs:
        """Layers, heads and width of the learner; a layer in a loop counts as often as it runs."""
        config = self.config(task)
        if isinstance(config, Looped):
            ends = config.before + config.after if isinstance(config, AlgoFormer) else 0
            return Needs(ends + config.loops * config.depth, config.heads, config.width)
        if isinstance(config, Transformer):
            return Needs(config.depth, config.heads, config.width)
        assert isinstance(config, AttentionOnly)
        return Needs(config.depth, config.heads, config.width(Signature.of(task)))

    def make(self, task: FunctionClass) -> Learner:
        """The learner. Raises NotAvailable where the construction does not apply."""
        reason = self.applies(task)
        if reason:
            raise NotAvailable(reason)
        learner = blank(self.config(task), task)
        return eqx.tree_at(lambda m: m.network, learner, self.fill(learner.network, task))


def blank(config: ModelConfig, task: FunctionClass) -> Learner:
    """A learner of this class whose parameters are all 0, to be written by hand: random weights of every shape would
    have to be compiled, only to be overwritten."""
    shapes = eqx.filter_eval_shape(lambda: config.make(task, key=jax.random.key(0)))
    empty = lambda leaf: jnp.asarray(np.zeros(leaf.shape, leaf.dtype))  # noqa: E731
    return jax.tree.map(lambda leaf: empty(leaf) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, shapes)


def write_projections(mixer: Any, query_key: np.ndarray, value: np.ndarray, output: np.ndarray) -> Any:
    """A one-head attention with diagonal W_Q = W_K, W_V and P, given by their diagonals (E,)."""
    diagonals = [jnp.diag(jnp.asarray(d, float)) for d in (query_key, query_key, value, output)]
    where = lambda m: [m.query.weight, m.key.weight, m.value.weight, m.output.weight]  # noqa: E731
    return eqx.tree_at(where, mixer, diagonals)
