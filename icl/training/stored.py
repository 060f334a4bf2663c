"""The whole state that training goes on from: what a checkpoint must hold beside the learner, and why it may not."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from icl.config import Config
from icl.runs import provenance
from icl.runs.directory import RunDirectory
from icl.runs.errors import Incompatible
from icl.training.engine import Program
from icl.training.state import Data, State


def skeleton(program: Program, data: Data) -> State:
    """Shapes and types of one member's state, as checkpoints hold it."""
    shapes = program.shapes(data)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), shapes)


@functools.lru_cache(maxsize=8)
def loader(config: Config) -> tuple[Program, State]:
    """The program of a configuration, and the shapes its checkpoints hold."""
    program = Program(config)
    return program, skeleton(program, program.data([config]))


@contextlib.contextmanager
def of_this_optax(directory: RunDirectory) -> Iterator[None]:
    """While a run's states are read: where nothing but leaves of the optimizer does not fit, its configuration is the
    same and optax is another, and Incompatible says so."""
    try:
        yield
    except Incompatible as error:
        if not error.leaves or any(name.partition(".")[0] != "optimizer" for name in error.leaves):
            raise
        raise Incompatible(error.path, _sentence(directory.manifest), error.leaves) from None


def _sentence(manifest: Mapping[str, Any]) -> str:
    before, now = (
        found.get("optax") if isinstance(found := one.get("versions"), Mapping) else None
        for one in (manifest, {"versions": provenance.versions()})
    )
    known = f" (optax {before} wrote it, and this is {now})" if before not in (None, now) else ""
    return (
        f"holds the optimizer state of another version of optax{known}, so training goes on from it with that version "
        "alone; its model is whole, and icl show, evaluate, identify and probe work as before"
    )
