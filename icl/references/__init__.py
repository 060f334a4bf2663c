"""Learners that are not trained: what a trained model is compared with.

from icl import references
references.get("ridge", penalty=0.25)(prompt).mean
references.standard(task)                        # label -> reference, for a table about this function class
references.chosen("greedy-tree,lasso", task)     # label -> reference, of those that are named
references.explain(task)                         # name -> None, or why it cannot be used there
"""

from typing import Any

from function_classes.base import FunctionClass
from function_classes.fields import ConfigError, Problem, nearest
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


def chosen(words: str, task: FunctionClass) -> dict[str, Reference]:
    """The members of the families that are named, with commas, by label. ConfigError for an unknown name, with the
    nearest, and for one that cannot be used on `task`, with the reason."""
    members, problems = [], []
    for name in dict.fromkeys(word.strip() for word in words.split(",")):
        if name not in names():
            problems.append(Problem("references", f"unknown reference {name!r}{nearest(name, names())}"))
            continue
        members.append(Reference.registry.find(name).example(task))
        reason = members[-1].applies(task)
        problems += [] if reason is None else [Problem("references", reason)]
    if problems:
        raise ConfigError(problems)
    return {member.label: member for member in members}


def explain(task: FunctionClass) -> dict[str, str | None]:
    """For every family: None where it can be used on `task`, else the sentence why not."""
    return {name: Reference.registry.find(name).example(task).applies(task) for name in names()}
