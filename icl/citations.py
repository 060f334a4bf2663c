"""`icl cite`: BibTeX of exactly what a run used, from the papers that every registered part names."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from function_classes.fields import ConfigError, Fields, Problem, nearest

FILE = Path(__file__).parent / "papers.bib"
OWN = "icl-workbench"


def library() -> dict[str, str]:
    """Key -> BibTeX entry, in the order of `papers.bib`."""
    entries = re.split(r"\n(?=@)", FILE.read_text(encoding="utf-8"))
    return {entry.split("{", 1)[1].split(",", 1)[0]: entry.strip() for entry in entries}


def paper(key: str) -> str:
    """The entry of one paper. Raises ConfigError with the nearest key."""
    known = library()
    if key not in known:
        raise ConfigError([Problem("cite", f"no run and no paper is called {key!r}{nearest(key, known)}")])
    return known[key]


def used(config: Fields) -> dict[str, list[str]]:
    """Paper -> the parts of a configuration that name it, as "mixer softmax"; this program comes last."""
    found: dict[str, list[str]] = {}
    for part in _parts(config):
        for key in part.registry.papers.get(part.name, ()):
            words = f"{part.registry.kind} {part.name}"
            found.setdefault(key, []).extend([words] if words not in found.get(key, []) else [])
    return found | {OWN: ["everything"]}


def _parts(value: Any) -> list[Any]:
    """Every registered object in a configuration, depth first."""
    if isinstance(value, tuple):
        return [part for item in value for part in _parts(item)]
    if not isinstance(value, Fields):
        return []
    own = [value] if value.registry is not None else []
    return own + [p for field in dataclasses.fields(value) for p in _parts(getattr(value, field.name))]


def bibliography(config: Fields) -> str:
    """BibTeX of what a configuration uses, each entry below a comment that says for what."""
    known = library()
    return "\n\n".join(f"% {', '.join(parts)}\n{known[key]}" for key, parts in used(config).items())
