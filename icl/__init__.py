"""The workbench for the science of in-context learning.

    import jax, icl, function_classes as fc
    task = fc.get("linear-regression", dim=8, points=16)
    config = icl.Config.create("linear-regression", depth=4, steps=500)
    run = icl.train(config)
    icl.evaluate({"model": run.model, "bayes": task.bayes}, task, key=jax.random.key(2), prompts=1024)

Importing does no work: names are loaded when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icl import layouts as layouts
    from icl import references as references
    from icl import taps as taps
    from icl.config import Config as Config
    from icl.evaluation import distance as distance
    from icl.evaluation import evaluate as evaluate
    from icl.handle import Run as Run
    from icl.handle import load as load
    from icl.identification import identify as identify
    from icl.queries import predict_at as predict_at
    from icl.tables import Table as Table
    from icl.training.session import extend as extend
    from icl.training.session import fork as fork
    from icl.training.session import sweep as sweep
    from icl.training.session import train as train

_HOMES = {
    "Config": "icl.config",
    "Run": "icl.handle",
    "Table": "icl.tables",
    "distance": "icl.evaluation",
    "evaluate": "icl.evaluation",
    "extend": "icl.training.session",
    "fork": "icl.training.session",
    "identify": "icl.identification",
    "load": "icl.handle",
    "predict_at": "icl.queries",
    "sweep": "icl.training.session",
    "train": "icl.training.session",
}
_MODULES = ("layouts", "references", "taps")
__all__ = [
    "Config",
    "Run",
    "Table",
    "distance",
    "evaluate",
    "extend",
    "fork",
    "identify",
    "layouts",
    "load",
    "predict_at",
    "references",
    "sweep",
    "taps",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"icl.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'icl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
