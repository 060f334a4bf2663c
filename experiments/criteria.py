"""The English of a criterion as clauses that a program can decide, so that no code restates what was written down.

    criterion  = clause {", and " clause} [", " quantifier]
    clause     = ["is " | "each "] predicate [condition] [quantifier]
    predicate  = "below 2" | "at most 2" | "above 2" | "at least 2" | "between 1 and 2"
               | "within 5 percent" | "within a factor 1.5 of the true value"    of 1: what is measured / the truth
               | "falls from 1 to 2 to 4" | "rises from 1 to 2"                  the conditions whose names end so
               | "in the right order" | "strictly earlier"                       every condition below the next
               | "at most half of that"                                          of the clause before, seed by seed
               | "with that EFFECT present exactly in those"                     the seeds of the clause before
    condition  = "at each X" | "at X" | "with X" | "in X" | "without"            all; the one of that name
    quantifier = "for each seed" | "for at least four of five seeds" | "median over seeds"

A clause without a quantifier has that at the end of the criterion, else that of the clause before it; a criterion
without any speaks of one value, the mean over seeds where there are several.
"""

import dataclasses
import math
import re
from typing import Literal

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
_QUANTIFIER = r"for each seed|for at least \w+ of \w+ seeds|median over seeds"
_CONDITION = r"(?:at|with|in) \w[\w .^-]*?|without"
_CLAUSE = re.compile(rf"(?:and )?(?:is |each )?(?P<what>.+?)(?: (?P<where>{_CONDITION}))?(?: (?P<over>{_QUANTIFIER}))?")
_FORMS = (
    "below, at most, above or at least a number; between A and B; within P percent; within a factor F of the true "
    "value; falls (rises) from A to B; in the right order; strictly earlier; at most half of that; with that ... "
    "present exactly in those"
)


@dataclasses.dataclass(frozen=True)
class Quantifier:
    """Which seeds must satisfy a clause: `need` of every `of`, or the median or the pooled value of all."""

    kind: Literal["count", "median", "pooled"] = "pooled"
    need: int = 1
    of: int = 1


@dataclasses.dataclass(frozen=True)
class Clause:
    """One condition on one part of what was measured: what `compare` makes of the values lies between low and high.

    `strict`: the ends do not count. `levels`: the conditions that are compared, by how their names end. `where`: the
    condition it speaks of; "" and "each ..." are all of them.
    """

    text: str
    compare: Literal["value", "falls", "rises", "relative", "present"]
    low: float = -math.inf
    high: float = math.inf
    strict: bool = False
    levels: tuple[str, ...] = ()
    where: str = ""
    over: Quantifier = Quantifier()


def parse(criterion: str) -> tuple[Clause, ...]:
    """The clauses of a criterion in their order. ValueError says which words are not understood."""
    pieces = criterion.split(", ")
    last = _quantifier(pieces[-1]) if re.fullmatch(_QUANTIFIER, pieces[-1]) else None
    over, clauses = last, []
    for piece in pieces[:-1] if last else pieces:
        match = _CLAUSE.fullmatch(piece)
        # The words of this one predicate look like a condition.
        if match is None or re.fullmatch(r"with that \w+ present exactly in those", piece):
            what, where, own = piece, "", None
        else:
            what, where, own = match["what"], match["where"] or "", match["over"]
        over = _quantifier(own) if own else over
        clause = _predicate(what)
        if clause.compare in ("relative", "present") and not clauses:
            raise ValueError(f"{piece!r} refers to a clause before it, and there is none")
        where = re.sub("^(at|with|in) ", "", where)
        clauses.append(
            dataclasses.replace(clause, text=piece.removeprefix("and "), where=where, over=over or Quantifier())
        )
    if not clauses:
        raise ValueError(f"{criterion!r} has no clause")
    return tuple(clauses)


def _predicate(text: str) -> Clause:
    if found := re.fullmatch(rf"(below|above|at most|at least) ({_NUMBER})", text):
        value, strict = float(found[2]), found[1] in ("below", "above")
        low, high = (-math.inf, value) if found[1] in ("below", "at most") else (value, math.inf)
        return Clause(text, "value", low, high, strict)
    if found := re.fullmatch(rf"between ({_NUMBER}) and ({_NUMBER})", text):
        low, high = float(found[1]), float(found[2])
        if low >= high:
            raise ValueError(f"{text!r}: the first number must be the smaller one")
        return Clause(text, "value", low, high)
    if found := re.fullmatch(rf"within ({_NUMBER}) percent", text):
        return Clause(text, "value", 1 - float(found[1]) / 100, 1 + float(found[1]) / 100)
    if found := re.fullmatch(rf"within a factor ({_NUMBER}) of the true value", text):
        return Clause(text, "value", 1 / float(found[1]), float(found[1]))
    if found := re.fullmatch(rf"(falls|rises) from ((?:{_NUMBER})(?: to (?:{_NUMBER}))+)", text):
        way = "falls" if found[1] == "falls" else "rises"
        return Clause(text, way, 0.0, strict=True, levels=tuple(found[2].split(" to ")))
    if text in ("in the right order", "strictly earlier"):
        return Clause(text, "rises", 0.0, strict=True)
    if text == "at most half of that":
        return Clause(text, "relative", high=0.5)
    if re.fullmatch(r"with that \w+ present exactly in those", text):
        return Clause(text, "present")
    raise ValueError(f"{text!r} is not understood; a clause says {_FORMS}")


def _quantifier(text: str) -> Quantifier:
    if text == "median over seeds":
        return Quantifier("median")
    if text == "for each seed":
        return Quantifier("count")
    need, of = re.findall(r"at least (\w+) of (\w+) seeds", text)[0]
    if need not in _NUMBERS or of not in _NUMBERS or not 0 < _NUMBERS.index(need) <= _NUMBERS.index(of):
        raise ValueError(f"{text!r}: expected numbers from one to ten in words, the first not above the second")
    return Quantifier("count", _NUMBERS.index(need), _NUMBERS.index(of))
