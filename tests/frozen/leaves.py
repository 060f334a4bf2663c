"""The leaves that a checkpoint holds, and the sites that taps see, of every model and mixer at a tiny size.

Keys are those of `tests.frozen.cases`; an entry has the "settings", the "leaves" of a checkpoint (name -> type and
shape) and the "sites" of a learner that reads one prompt. Nothing is computed. Names of the optimizer's leaves are
optax's too: an entry says in "optax" of which version.
"""

import importlib.metadata
from typing import Any

import jax

from icl import taps
from icl.config import Config
from icl.runs.leaves import name_leaves
from icl.training.stored import loader
from tests.frozen import cases

TABLE = "leaves"


def entry(words: dict[str, Any]) -> dict[str, Any]:
    config = cases.config(words)
    return {
        "settings": words,
        "leaves": leaves(config),
        "sites": sites(config),
        "optax": importlib.metadata.version("optax"),
    }


def leaves(config: Config) -> dict[str, str]:
    """Of the state of one run, as its checkpoints have them."""
    _, wanted = loader(config)
    return {name: _words(leaf) for name, leaf in name_leaves(wanted).items()}


def sites(config: Config) -> dict[str, str]:
    """Of the learner on one prompt."""
    program, wanted = loader(config)
    prompt = jax.eval_shape(lambda key: config.task.sample(key).hide(), jax.random.key(0))
    return {name: _words(shape) for name, shape in taps.sites(program.learner(wanted.params), prompt).items()}


def entries(table: dict[str, Any]) -> dict[str, Any]:
    """Everything that a table lacks."""
    return {key: entry(words) for key, words in cases.settings().items() if key not in table}


def _words(shape: Any) -> str:
    return f"{shape.dtype} {list(shape.shape)}"
