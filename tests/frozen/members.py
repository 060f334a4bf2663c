"""Every kind of registered thing, and the members that belong to this project (a test may register others)."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from function_classes.base import FunctionClass
from function_classes.fields import Fields
from function_classes.inputs import InputLaw
from function_classes.noise_laws import NoiseLaw
from function_classes.shifts import Shift
from function_classes.tokenizers import Tokenizer
from icl.config import Config, Evaluation, Training
from icl.layouts import Layout
from icl.models import ModelConfig
from icl.models.constructions import Construction
from icl.models.constructions.base import TokenConstruction
from icl.models.heads import HeadConfig
from icl.models.mixers import MixerConfig
from icl.references import Reference
from icl.training.curriculum import Curriculum
from icl.training.optimizers import Optimizer
from icl.training.schedules import Schedule
from probes.base import Probe

FAMILIES: tuple[type[Fields], ...] = (
    FunctionClass,
    InputLaw,
    NoiseLaw,
    Tokenizer,
    Shift,
    Reference,
    Layout,
    HeadConfig,
    MixerConfig,
    ModelConfig,
    Optimizer,
    Schedule,
    Construction,
    TokenConstruction,
    Probe,
)
# Parts of a configuration that are no choice among members.
PARTS: tuple[type[Fields], ...] = (Config, Training, Curriculum, Evaluation)
OURS = ("function_classes", "icl", "probes")
# Fields without a default, and fields whose usual value is empty.
REQUIRED: dict[str, dict[str, Any]] = {
    "reference/bayes-of": {"task": {"name": "linear-regression"}},
    "part/Config": {"task": {"name": "linear-regression"}},
}


def names(family: type[Fields]) -> tuple[str, ...]:
    """The members of a family that this project has."""
    known = family.registry
    return tuple(n for n in known.names() if known.find(n).__module__.split(".")[0] in OURS)


def every() -> dict[str, type[Fields]]:
    """kind/name -> class, for all members of all kinds and the parts of a configuration."""
    found = {f"{f.registry.kind}/{name}": f.registry.find(name) for f in FAMILIES for name in names(f)}
    return found | {key_of_part(part): part for part in PARTS}


def key_of(value: Fields) -> str:
    """kind/name of an object."""
    return key_of_part(type(value)) if value.registry is None else f"{value.registry.kind}/{value.name}"


def key_of_part(part: type[Fields]) -> str:
    return f"part/{part.__name__}"


def inside(value: Any) -> Iterator[Fields]:
    """An object and all that stand in its fields."""
    if isinstance(value, tuple):
        for item in value:
            yield from inside(item)
    if isinstance(value, Fields):
        yield value
        for field in dataclasses.fields(value):
            yield from inside(getattr(value, field.name))
