"""What every registered thing promises, as checks: our tests run them on all members, `icl check FILE` on yours.

A check is a function that raises AssertionError with what was found; its name says what holds where it does not.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import function_classes as fc
from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import ConfigError, Fields
from icl.config import Config
from icl.contracts import classes, parts
from icl.layouts import Layout
from icl.models.base import ModelConfig
from icl.models.heads import HeadConfig
from icl.models.mixers.base import MixerConfig
from icl.references.base import Reference
from icl.training.optimizers import Optimizer
from icl.training.schedules import Schedule

POINTS = 7
# Classes that a reference is tried on, the first that it says it applies to.
TRIED = ("linear-regression", "linear-pool", "conjunction", "letter-digit", "markov", "sparse-linear")
# Where a part of a learner stands in a configuration.
PLACES = {
    ModelConfig: "model",
    MixerConfig: "model.mixer",
    HeadConfig: "model.head",
    Layout: "model.layout",
    Optimizer: "training.optimizer",
    Schedule: "training.schedule",
}
FAMILIES = (FunctionClass, Reference, *PLACES)


class Outcome(NamedTuple):
    """What one check came to: the promise in words, and what was found where it does not hold."""

    promise: str
    found: str | None

    @property
    def holds(self) -> bool:
        return self.found is None


def check(member: type[Fields]) -> Iterator[Outcome]:
    """The outcome of every check of a registered class, at its default fields. Errors that its own code raises are not
    caught: they say where they come from."""
    for promise in promises(member):
        try:
            promise()
        except AssertionError as error:
            yield Outcome(_words(promise), str(error))
        except (NotAvailable, ConfigError) as error:
            yield Outcome(_words(promise), str(error))
        else:
            yield Outcome(_words(promise), None)


def promises(member: type[Fields]) -> Iterator[Callable[[], None]]:
    """The checks of a class, ready to be called."""
    if issubclass(member, FunctionClass):
        task = _short(member)
        chosen = list(classes.EVERY)
        chosen += classes.WITH_BAYES if task.bayes_kind.kind != "none" else ()
        chosen += classes.WITH_EXACT_BAYES if task.bayes_kind.exact else ()
        yield from (functools.partial(one, task) for one in chosen)
    elif issubclass(member, Reference):
        tasks = [fc.get(name, points=POINTS) if name != "letter-digit" else fc.get(name) for name in TRIED]
        applies = [task for task in tasks if member.example(task).applies(task) is None]
        if not applies:
            reasons = "; ".join(str(member.example(task).applies(task)) for task in tasks[:2])
            raise NotAvailable(f"{member.name} applies to none of {', '.join(TRIED)}: {reasons}")
        yield from (functools.partial(one, member.example(applies[0]), applies[0]) for one in parts.REFERENCE)
    else:
        place = next(place for family, place in PLACES.items() if issubclass(member, family))
        if issubclass(member, MixerConfig):
            yield functools.partial(parts.mixer_is_one_function_in_both_forms, member())
        yield from (functools.partial(one, _config(place, member)) for one in parts.LEARNER)


def _short(member: type[FunctionClass]) -> Any:
    """With few points, where the class can have so few."""
    try:
        return member.registry.get(member.name, points=POINTS)
    except ConfigError:
        return member.registry.get(member.name)


def _config(place: str, member: type[Fields]) -> Config:
    """A small configuration with a member at its place, on the first class that it works with."""
    problems: list[Any] = []
    for task in TRIED:
        for stack in (parts.STACK, {}):
            try:
                return Config.create(task, **{place: member.name}, **parts.SIZES, **stack)
            except ConfigError as error:
                problems += error.problems
    raise ConfigError(problems[:3])


def _words(promise: Any) -> str:
    return promise.func.__name__.replace("_", " ")
