"""A class made from another one: what it does not change, it takes from there."""

import dataclasses
from typing import Any

from jaxtyping import Array, PRNGKeyArray, PyTree, Shaped

from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.linear import LinearRegression
from function_classes.spaces import Space


class Wrapped(FunctionClass):
    """Tasks, inputs and functions of `base`, whose points are the wrapper's."""

    points: int = setting(16, "positions in a prompt", at_least=1)
    base: FunctionClass = setting(LinearRegression(), "the class that is changed; it has these points too")

    def __check_init__(self):
        # Equinox runs this before the checks of `Fields`, so the base may still be a plain description of one.
        if isinstance(self.base, FunctionClass) and self.base.points != self.points:
            object.__setattr__(self, "base", dataclasses.replace(self.base, points=self.points))

    @property
    def x_space(self) -> Space:
        return self.base.x_space

    @property
    def y_space(self) -> Space:
        return self.base.y_space

    @property
    def steps(self) -> int:
        return self.base.steps

    @property
    def input_law(self) -> Any:
        return self.base.input_law

    def sample_latent(self, key: PRNGKeyArray) -> PyTree:
        return self.base.sample_latent(key)

    def sample_inputs(self, latent: PyTree, key: PRNGKeyArray) -> Shaped[Array, "P *x"]:
        return self.base.sample_inputs(latent, key)

    def evaluate(self, latent: PyTree, xs: Shaped[Array, "N *x"]) -> Shaped[Array, "N *y"]:
        return self.base.evaluate(latent, xs)

    def oracle(self, prompt: Prompt) -> Prediction:
        return self.base.oracle(prompt)
