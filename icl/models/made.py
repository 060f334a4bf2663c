"""A network of the user's own, made anew for every seed by its class: `icl run CLASS --model ./net.py:Net`."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable
from icl.models.base import ModelConfig


class Made(ModelConfig):
    """Learners are `maker(task, key=key)`: an Equinox module that maps a Prompt to a Prediction.

    The layout is not used: the module reads prompts itself. (`icl.train(model=module)` trains a module that exists
    already, from the weights that it has.)
    """

    maker: ClassVar[Callable[..., Any]]

    def make(self, task: FunctionClass, *, key: PRNGKeyArray) -> Any:
        name = self.name.partition("@")[0]
        if reason := misfit(type(self).maker):
            raise NotAvailable(f"model: {name} is made as {name}(task, key=key): {reason}")
        module = type(self).maker(task, key=key)
        if not isinstance(module, eqx.Module) or not callable(module):
            raise NotAvailable(f"model: {name}(task, key=key) is no eqx.Module that maps a Prompt to a Prediction")
        return module


def misfit(maker: Callable[..., Any]) -> str | None:
    """Why something cannot be called as maker(task, key=key); None where it can."""
    try:
        inspect.signature(maker).bind(None, key=None)
    except TypeError as error:
        return str(error)
    return None


def learner_of(maker: type, name: str) -> type[Made]:
    """The model of a class, known by this name; no table lists it."""
    words = {"__module__": maker.__module__, "__qualname__": maker.__qualname__, "__doc__": maker.__doc__}
    found: Any = type(maker.__name__, (Made,), {**words, "maker": staticmethod(maker)})
    ModelConfig.registry.also(name, found)
    return found


def name_of(member: type) -> str | None:
    """The name of the model that a class of a loaded file is or makes; None for any other class."""
    if issubclass(member, ModelConfig):
        return ModelConfig.registry.written(member) if member.name in ModelConfig.registry else None
    known = ModelConfig.registry.unlisted()
    return next((name for name, model in known.items() if getattr(model, "maker", None) is member), None)
