"""A module of the user's own as the learner: anything that maps a prompt to a prediction trains on the same engine."""

import hashlib
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray

from function_classes import sources
from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import setting
from icl.models import anatomy
from icl.models.base import ModelConfig

_MODULES: dict[str, Any] = {}


@ModelConfig.registry.add("given")
class Given(ModelConfig):
    """A module passed to `icl.train(model=...)`, known by its class and a hash of its source and initial arrays;
    without source (typed at a prompt, made by `exec`) it is another one at every request.

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
    """The configuration of a module, which stays known in this process. Raises NotAvailable for what cannot be trained:
    anything but an Equinox module that can be called, with parameters, all float32 and none of them NaN."""
    if not isinstance(module, eqx.Module) or not callable(module):
        kind = f"the class {module.__name__}; make one" if isinstance(module, type) else type(module).__name__
        raise NotAvailable(f"model: expected an eqx.Module that maps a Prompt to a Prediction, got {kind}")
    if reason := anatomy.refuses(module):
        raise NotAvailable(f"model: {type(module).__name__} cannot be trained: {reason}")
    source = source or f"{type(module).__name__}@{_digest(module)}"
    _MODULES[source] = module
    return Given(source=source)


def _digest(module: Any) -> str:
    """Of the class's source, the arrays and the static fields, so that other weights or other code are another learner.
    Without source it is another one every time."""
    code = sources.text(type(module))
    if code is None:
        return sources.unknown()
    text = hashlib.sha256(code.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(module):
        text.update(jax.tree_util.keystr(path).encode())
        text.update(sources.bytes_of(leaf))
    for path, value in sources.static(module):
        text.update(f"static {path} {value}".encode())
    return text.hexdigest()[:10]
