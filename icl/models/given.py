"""A module of the user's own as the learner: anything that maps a prompt to a prediction trains on the same engine."""

import hashlib
import inspect
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import setting
from icl.models.base import ModelConfig

_MODULES: dict[str, Any] = {}


@ModelConfig.registry.add("given")
class Given(ModelConfig):
    """A module passed to `icl.train(model=...)`, known by its class and a hash of its source and initial arrays.

    The layout is not used: the module reads prompts itself. A run of such a module is opened again, in another
    process, by `icl.load(..., model=module)` with a module of the same class and shapes.
    """

    source: str = setting("", "class and hash of the module")

    def refuses(self, task: FunctionClass) -> list[tuple[str, str]]:
        return [] if self.source else [("name", "a module of your own is given in Python: icl.train(model=module)")]

    def make(self, task: FunctionClass, *, key: PRNGKeyArray) -> Any:
        """The module itself, with its own initial weights: they do not depend on the run's seed."""
        if self.source not in _MODULES:
            raise NotAvailable(f"this run trained {self.source}; open it with icl.load(..., model=module)")
        return _MODULES[self.source]


def remember(module: Any, source: str | None = None) -> Given:
    """The configuration of a module, which stays known in this process. Raises NotAvailable for anything but an
    Equinox module that can be called."""
    if not isinstance(module, eqx.Module) or not callable(module):
        raise NotAvailable(f"expected an eqx.Module that maps a Prompt to a Prediction, got {type(module).__name__}")
    source = source or f"{type(module).__name__}@{_digest(module)}"
    _MODULES[source] = module
    return Given(source=source)


def _digest(module: Any) -> str:
    """Of the class's source and the arrays, so that other weights or other code are another learner."""
    text = hashlib.sha256(inspect.getsource(type(module)).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(module):
        text.update(jax.tree_util.keystr(path).encode())
        text.update(np.asarray(leaf).tobytes() if eqx.is_array(leaf) else repr(leaf).encode())
    return text.hexdigest()[:10]
