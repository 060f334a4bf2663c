"""The first numbers of every stream: batches, weights, prompts. One seed and one configuration give them for ever.

Keys, each followed by " @ ..." where a component's version is not 1, so that a raised version is a new entry:

    key/STREAM          the random key of a named stream of `icl.prng`
    batch/CLASS         the first two prompts of step STEP of training
    weights/CASE        what the weights of `tests.frozen.cases` start from
    prompts/STREAM      the first two prompts of a stream of a class, which no class but this one needs

An array is written as its shape, its first numbers and, of floats, the root of its mean square; of whole numbers a hash
of all of them. Floats are compared up to TOLERANCE, absolutely and relatively, whole numbers exactly.
"""

import functools
import hashlib
from typing import Any

import jax
import numpy as np

from function_classes.base import Prompt
from function_classes.fields import ConfigError
from icl import prng
from icl.config import Config
from icl.programs import draw
from icl.runs.leaves import name_leaves
from icl.training import gradients
from icl.training.engine import Program
from tests.frozen import cases, identities, tables
from tests.frozen.members import FAMILIES, names

TABLE = "numbers"
SEED, STEP, POINTS, TOLERANCE = 3, 2, 5, 2e-4
# A stream of real numbers, of which few references know something.
WATCHED = "linear-dynamical-system"
STREAMS = ("training", "first step of training", "validation", "evaluation", "identification")


def stated(key: str, config: Config) -> str:
    """A key with the versions of what takes part."""
    return " @ ".join([key, *(f"{name} {number}" for name, number in sorted(identities.versions(config).items()))])


def first(array: Any, count: int) -> list[Any]:
    """An array in few words."""
    array = np.asarray(array)
    if array.dtype.kind == "f":
        flat = np.ravel(array).astype(float)
        square = np.sqrt(np.mean(np.square(flat))) if flat.size else 0.0
        return [list(array.shape), *(float(f"{v:.6g}") for v in (*flat[:count], square))]
    whole = np.ascontiguousarray(array.astype(np.int64))
    return [list(array.shape), *whole.ravel()[:count].tolist(), hashlib.sha256(whole.tobytes()).hexdigest()[:10]]


def agree(then: list[Any], now: list[Any]) -> bool:
    """Whether two arrays are the same in these words."""
    if len(then) != len(now) or then[0] != now[0]:
        return False
    if isinstance(then[-1], str) or isinstance(now[-1], str):
        return then == now
    return bool(np.allclose(then[1:], now[1:], rtol=TOLERANCE, atol=TOLERANCE))


def prompts(batch: Prompt) -> dict[str, list[Any]]:
    """All that a batch of prompts shows, and what it is scored on."""
    parts = {"xs": batch.xs, "ys": batch.ys, "targets": batch.targets, "scored": batch.scored}
    return {name: first(array, 8) for name, array in parts.items() if array is not None}


def training(name: str) -> Config:
    """A class in training, short where it may be, with the first default of every field whose default has changed: the
    same configuration must draw the same, and a new default is another configuration."""
    sizes = {"seed": SEED, "model.depth": 1, "training.batch": 2, **_first_defaults(name)}
    try:
        return Config.create(name, **sizes, points=POINTS)
    except ConfigError:
        return Config.create(name, **sizes)


def _first_defaults(name: str) -> dict[str, Any]:
    table, key = tables.read(identities.TABLE), f"{FAMILIES[0].registry.kind}/{name}/"
    changed = [place.removesuffix("?1") for place in table if place.startswith(key) and place.endswith("?1")]
    return {f"task.{place.removeprefix(key)}": table[place]["default"] for place in changed}


def batch(config: Config, count: int = 2, step: int = STEP) -> Prompt:
    """The prompts that the engine trains on."""
    program = Program(config)
    (data,) = [jax.tree.map(lambda a: a[0], program.data([config]))]
    run = jax.jit(lambda task, seed, step: gradients.batch(task, seed, step, 0, count))
    return run(data.task, data.seed, np.int32(step))


def weights(config: Config) -> dict[str, list[Any]]:
    """The parameters that a run starts from."""
    program = Program(config)
    state = program.start(program.data([config]))
    return {name: first(leaf[0], 3) for name, leaf in name_leaves(state.params).items()}


def keys() -> dict[str, list[int]]:
    return {f"key/{name}": jax.random.key_data(prng.stream(SEED, name)).tolist() for name in prng.STREAMS}


@functools.cache
def watched() -> Config:
    """What `tests.frozen.watching` trains and measures."""
    sizes = {"seed": SEED, "training.steps": STEP + 1, "training.batch": 3, "training.validation_prompts": 3}
    sizes |= {"evaluation.prompts": 4, "evaluation.references": "none", "training.checkpoint_every": "none"}
    return Config.create(WATCHED, points=POINTS, **sizes)


def streams() -> dict[str, dict[str, list[Any]]]:
    """First prompts, drawn here from their keys; the tests look for them where they are used."""
    config = watched()
    found = {name: draw(config.task, prng.stream(SEED, name), 0, 2) for name in STREAMS if name in prng.STREAMS}
    found |= {"training": batch(config), "first step of training": batch(config, step=0)}
    return {f"prompts/{name}": prompts(some) for name, some in found.items()}


def batches() -> dict[str, Config]:
    """Key -> configuration, of every class."""
    return {stated(f"batch/{name}", config): config for name in names(FAMILIES[0]) for config in [training(name)]}


def starts() -> dict[str, Config]:
    """Key -> configuration, of everything that has weights."""
    made = {key: cases.config(words | {"seed": SEED}) for key, words in cases.settings().items()}
    return {stated(f"weights/{key}", config): config for key, config in made.items()}


def entries(table: dict[str, Any]) -> dict[str, Any]:
    """Everything that a table lacks."""
    found: dict[str, Any] = {**keys(), **streams()}
    found |= {key: prompts(batch(config)) for key, config in batches().items() if key not in table}
    return found | {key: weights(config) for key, config in starts().items() if key not in table}
