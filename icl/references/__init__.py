"""Learners that are not trained: what a trained model is compared with.

from icl import references
references.get("ridge", penalty=0.25)(prompt).mean
references.standard(task)                        # label -> reference, for a table about this function class
references.explain(task)                         # name -> None, or why it cannot be used there
"""

from typing import Any

from function_classes.base import FunctionClass
from icl.references.base import Reference as Reference


def names() -> tuple[str, ...]:
    """The registered families of references."""
    return Reference.registry.names()


def get(name: str, /, **fields: Any) -> Any:
    """A reference with the given fields. ConfigError for an unknown name or field, with the nearest valid one."""
    return Reference.registry.get(name, **fields)


def standard(task: FunctionClass) -> dict[str, Reference]:
    """The members every family offers for a table about `task`, by label, where they apply."""
    members = [member for name in names() for member in Reference.registry.find(name).standard(task)]
    return {member.label: member for member in members if member.applies(task) is None}


def explain(task: FunctionClass) -> dict[str, str | None]:
    """For every family: None where it can be used on `task`, else the sentence why not."""
    return {name: Reference.registry.find(name).example(task).applies(task) for name in names()}
