"""Where registered code came from that is not part of this package, and the hash that tells it from other code.

Code from a file is known by that file and by the user's own modules that it imports, however deep; that of an installed
distribution by the distribution's version and the file; what was typed in a cell by its text and all that it names.
Code that nobody kept has an unknown hash, another one every time it is registered, and is never taken for anything.
"""

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from function_classes import sources

DIGITS = 10
"""Hexadecimal digits of a hash."""


class Origin(NamedTuple):
    """The hash of code, the file it stands in, and the installed distribution that this belongs to, with its version.
    `file` is None for code that was typed."""

    code: str
    file: str | None = None
    distribution: str | None = None


def origin(member: Any) -> Origin | None:
    """Of a class or function as it is now; None for what came with this package."""
    if sources.is_ours(member):
        return None
    file = _file(sys.modules.get(member.__module__))
    if file is None:
        return Origin(typed(member) or sources.unknown())
    owner = distribution(member.__module__, file)
    words = [owner or "", file.read_bytes()]
    if owner is None:
        words += [word for pair in sorted(imported(file, member.__module__).items()) for word in pair]
    return Origin(hashed(words), str(file), owner)


def typed(member: Any) -> str | None:
    """The hash of a class that was typed where there is no file; None where its text was not kept."""
    text = sources.text(member)
    return None if text is None else hashed([text])


def hashed(words: list[str | bytes]) -> str:
    """Of texts one after another, without mixing up where one ends."""
    digest = hashlib.sha256()
    for word in words:
        data = word.encode() if isinstance(word, str) else word
        digest.update(f"{len(data)} ".encode() + data)
    return digest.hexdigest()[:DIGITS]


def imported(file: Path, module: str = "") -> dict[str, bytes]:
    """Name -> content of the user's own modules that a file imports, and those that they import: whatever is neither
    part of Python, nor of an installed distribution, nor of this package."""
    found: dict[str, bytes] = {}
    waiting = [(module, file)]
    while waiting:
        name, path = waiting.pop()
        for other in _named(path.read_bytes(), _package(name, path)):
            place = _own(other)
            if place is not None and other not in found and place != file:
                found[other] = place.read_bytes()
                waiting.append((other, place))
    return found


def distribution(module: str, file: Path) -> str | None:
    """The installed distribution of a module, `name version`; None where it is a file of the user."""
    if not sources.is_installed(file):
        return None
    top = module.partition(".")[0]
    names = importlib.metadata.packages_distributions().get(top, ())
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names) or top


def _named(text: bytes, package: str) -> Iterator[str]:
    """Every module that the statements of a file may import, wherever they stand."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                parts = one.name.split(".")
                yield from (".".join(parts[: end + 1]) for end in range(len(parts)))
        elif isinstance(node, ast.ImportFrom):
            if node.level and not package:
                continue
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package or None)
            parts = base.split(".")
            yield from (".".join(parts[: end + 1]) for end in range(len(parts)))
            yield from (f"{base}.{one.name}" for one in node.names)


def _own(name: str) -> Path | None:
    """The file of a module of the user's; None for any other."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in sources.OURS:
        return None
    spec = None if name in sys.modules else _spec(name)
    file = _file(sys.modules.get(name)) or (Path(spec.origin) if spec and spec.has_location and spec.origin else None)
    if file is None or file.suffix != ".py" or not file.is_file():
        return None
    return None if sources.is_installed(file) else file


def _spec(name: str) -> ModuleSpec | None:
    """Where a module would be imported from. Nothing is imported for it, its packages neither."""
    parent, dot, _ = name.rpartition(".")
    if not dot:
        with contextlib.suppress(ValueError):
            return importlib.util.find_spec(name)
        return None
    package = sys.modules.get(parent) or _spec(parent)
    places = getattr(package, "__path__", None) or getattr(package, "submodule_search_locations", None)
    return PathFinder.find_spec(name, list(places)) if places else None


def _package(module: str, file: Path) -> str:
    """What relative imports of a module start from."""
    loaded = sys.modules.get(module)
    package = getattr(loaded, "__package__", None)
    if package is not None:
        return package
    return module if file.name == "__init__.py" else module.rpartition(".")[0]


def _file(module: Any) -> Path | None:
    name = getattr(module, "__file__", None)
    return Path(name).resolve() if name and Path(name).is_file() else None
