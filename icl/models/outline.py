"""A learner without its numbers: which arrays it has, and how it is put together from them.

A stored learner is read with this alone: nothing here knows how its numbers were found.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from function_classes import sources
from function_classes.base import FunctionClass, Predictor
from function_classes.fields import ConfigError, Problem
from icl import prng
from icl.models.anatomy import Anatomy, refuses
from icl.models.base import ModelConfig
from icl.models.stacked import recomputing


def begin(model: ModelConfig, task: FunctionClass, seed: Any, remat: bool = False) -> Predictor:
    """The learner as training begins: with the weights of a seed, and with `remat` blocks that are computed again for
    the gradient."""
    learner = model.make(task, key=prng.stream(seed, "weights"))
    return dataclasses.replace(learner, network=recomputing(learner.network)) if remat else learner


@dataclasses.dataclass(frozen=True, eq=False)
class Outline:
    """`params` and `constants` have the shape and type of an array in place of every array of the learner, that is
    trained or not (`icl.models.anatomy`); `constants` is None where all arrays are trained. `static` is what is no
    array, and `initial` are the constants that the learner begins with, None where they depend on the seed."""

    anatomy: Anatomy
    params: PyTree
    constants: PyTree
    static: PyTree
    initial: PyTree

    @classmethod
    def of(cls, model: ModelConfig, task: FunctionClass, remat: bool = False) -> "Outline":
        """What came with the package begins with finite floats, so that its shapes tell all, and nothing is computed.
        Of anything else the numbers are looked at. Raises ConfigError for what cannot be trained."""
        found = []

        def make() -> Predictor:
            learner = begin(model, task, 0, remat)
            found.append(Anatomy(learner))
            found.append(found[0].split(learner)[1])
            return learner

        if sources.all_ours(model):
            shapes = eqx.filter_eval_shape(make)
            anatomy, initial = found[0], found[1] if model.name == "given" else None
        else:
            learner = eqx.filter_jit(lambda: begin(model, task, 0, remat))()
            if reason := refuses(learner):
                raise ConfigError([Problem("model", f"{model.name} cannot be trained: {reason}")])
            anatomy = Anatomy(learner)
            shapes, initial = eqx.filter_eval_shape(lambda: learner), anatomy.split(learner)[1]
        params, constants, static = anatomy.split(shapes)
        return cls(anatomy, _shapes(params), _shapes(constants), static, initial)

    def learner(self, params: PyTree, constants: PyTree = None) -> Any:
        """The predictor with these parameters and constants; None: the constants it began with."""
        return self.anatomy.join(params, self.initial if constants is None else constants, self.static)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(self.params))

    @property
    def paths(self) -> list[str]:
        """Where each parameter stands in the learner, in the order of leaves."""
        return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(self.params)]


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
