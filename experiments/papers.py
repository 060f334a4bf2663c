"""The claims of a paper, one file of `experiments/claims/` each, as they were written before anything was measured.

A file holds `paper`, `setting` and tables `[[claim]]` with id, statement, source (where the paper says so), basis,
quantity (what is measured) and criterion (when it counts as holding, see `experiments.criteria`).
"""

import dataclasses
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from experiments.criteria import Clause, parse
from function_classes.fields import ConfigError, Problem, nearest

FOLDER = Path(__file__).parent / "claims"
BASES = ("paper", "derived", "control", "open")


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement, what decides it, and who asserts it.

    `basis`: the paper asserts it, it is derived from a formula, it is a control that shows whether the measurement can
    say no, or it is open. `file` is the name of the file it stands in, `paper` the citation there.
    """

    id: str
    file: str
    paper: str
    statement: str
    source: str
    basis: str
    quantity: str
    criterion: str

    @property
    def clauses(self) -> tuple[Clause, ...]:
        return parse(self.criterion)


def names(folder: Path = FOLDER) -> tuple[str, ...]:
    """The papers whose claims are written down."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def read(name: str, folder: Path = FOLDER) -> dict[str, Claim]:
    """The claims of a paper by id, in their order.

    Raises ConfigError with every problem at once: an unknown paper or key, a missing one, an id that appears twice, a
    criterion that is not understood. Each names file, claim and text.
    """
    if name not in names(folder):
        raise ConfigError([Problem("paper", f"no claims are written down for {name!r}{nearest(name, names(folder))}")])
    try:
        tree = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(f"{name}.toml", f"is not TOML: {error}")]) from None
    problems = _texts(f"{name}.toml", tree, {"paper", "setting", "claim"}, lists={"claim"})
    given = {field.name for field in dataclasses.fields(Claim)} - {"file", "paper"}
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(tree.get("claim", ()), 1):
        place = f"{name}.toml, claim {entry.get('id', number)}"
        wrong = _texts(place, entry, given)
        problems += wrong
        if wrong:
            continue
        claim = Claim(file=name, paper=tree.get("paper", ""), **entry)
        if claim.basis not in BASES:
            problems.append(Problem(place, f"unknown basis {claim.basis!r}{nearest(claim.basis, BASES)}"))
        if claim.id in claims:
            problems.append(Problem(place, "this id appears twice"))
        try:
            parse(claim.criterion)
        except ValueError as error:
            problems.append(Problem(place, f"criterion {claim.criterion!r}: {error}"))
        claims[claim.id] = claim
    if problems:
        raise ConfigError(problems)
    return claims


def _texts(place: str, table: dict[str, Any], keys: set[str], lists: Collection[str] = ()) -> list[Problem]:
    """What is wrong with the keys of a table; all of them hold texts except `lists`."""
    problems = [Problem(place, f"unknown key {key!r}{nearest(key, keys)}") for key in table if key not in keys]
    problems += [Problem(place, f"missing key {key!r}") for key in sorted(keys) if key not in table]
    for key, value in table.items():
        if key in keys and not isinstance(value, list if key in lists else str):
            problems.append(Problem(place, f"{key!r} must be {'tables' if key in lists else 'a text'}, got {value!r}"))
    return problems
