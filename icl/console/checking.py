"""`icl check my_file.py`: what holds of everything that a file registers, and what does not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from function_classes.fields import ConfigError, Problem
from icl import contracts, custom
from icl.models import made


def report(file: Path) -> int:
    """Prints one line for every promise of every member; 1 where one does not hold. Raises ConfigError for a file that
    registers nothing that has promises."""
    found = list(members(file))
    if not found:
        kinds = ", ".join(family.registry.kind for family in contracts.FAMILIES)
        raise ConfigError([Problem(str(file), f"registers nothing that can be checked: {kinds}")])
    broken = 0
    for member in found:
        typer.echo(f"{member.registry.kind} {member.name}")
        for outcome in contracts.check(member):
            broken += not outcome.holds
            typer.echo(f"  {'holds ' if outcome.holds else 'BROKEN'}  {outcome.promise}")
            if not outcome.holds:
                typer.echo(f"          {outcome.found}")
    typer.echo(f"{broken} broken" if broken else "all hold")
    return 1 if broken else 0


def members(file: Path) -> Iterator[Any]:
    """What a file registers, of the kinds that have promises; and its modules that are made as learners are."""
    custom.load(file)
    here = str(file.resolve())
    for family in contracts.FAMILIES:
        known = {**family.registry.unlisted(), **{name: family.registry.find(name) for name in family.registry.names()}}
        for member in dict.fromkeys(known.values()):
            origin = family.registry.origin(member)
            maker = getattr(member, "maker", None)
            if origin is not None and origin.file == here and not (maker and made.misfit(maker)):
                yield member
