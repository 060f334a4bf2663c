"""Which file imports which, read from the text of the files.

Imports inside functions count, and so do names of modules in strings (`importlib.import_module("icl.handle")`,
`python -m icl.cli`). Importing `a.b` runs `a/__init__.py` as well, but only the imports at its top: a package that
loads its members when they are asked for would otherwise tie every file to every other. Tests also depend on the file
that registers a name which they say, and on data files whose name they say.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOMS = ("function_classes", "icl", "probes", "experiments", "figures", "tests")
DOTTED = re.compile(rf"\b(?:{'|'.join(ROOMS)})(?:\.\w+)+")
STRING = re.compile(r"""(["'])((?:(?!\1)[^\\\n]){1,100})\1""")
# A node is a file and whether all of it counts, or what runs as soon as it is imported.
Node = tuple[str, bool]


@dataclass(frozen=True)
class Source:
    """What one file says: modules it imports, those it imports at once, its short strings, and what it registers."""

    imports: frozenset[str] = frozenset()
    at_once: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()
    members: tuple[str, ...] = ()

    @property
    def turns(self) -> bool:
        """Whether it takes a share of the members of a registry."""
        return "tests.conftest.rotate" in self.imports


def read(path: str, text: str) -> Source:
    """Statements are parsed; strings are found by their quotes, which is ten times as fast."""
    package = path.removesuffix("/__init__.py").removesuffix(".py").split("/")
    imports, at_once, members = set(DOTTED.findall(text)), set(), []
    for node, at_top in _statements(ast.parse(text).body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = set(_imported(node, package, path))
            imports |= names
            at_once |= names if at_top else set()
        else:
            members += _registered(node)
    return Source(
        frozenset(imports), frozenset(at_once), frozenset(said for _, said in STRING.findall(text)), tuple(members)
    )


def _statements(body: list[ast.stmt], at_top: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    """All, and whether they run as soon as the file is imported: not those in functions or for type checkers."""
    for node in body:
        yield node, at_top
        inside = at_top and not isinstance(node, ast.If | ast.FunctionDef | ast.AsyncFunctionDef)
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, name, []), inside)
        for handler in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _statements(handler.body, inside)


def _imported(node: ast.Import | ast.ImportFrom, package: list[str], path: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    inside = package if path.endswith("__init__.py") else package[:-1]
    place = ".".join(inside[: len(inside) - node.level + 1]) if node.level else ""
    module = ".".join(part for part in (place, node.module) if part)
    yield from (f"{module}.{alias.name}" for alias in node.names)


def _registered(node: ast.stmt) -> Iterator[str]:
    """The name in `@Kind.registry.add("name", ...)` above what is registered, and in `Experiment(name="name", ...)`."""
    for call in getattr(node, "decorator_list", ()):
        match call:
            case ast.Call(func=ast.Attribute(attr="add"), args=[ast.Constant(value=str(name)), *_]):
                yield name
    match node:
        case ast.Assign(value=ast.Call(func=ast.Name(id="Experiment"), keywords=fields)):
            yield from (f.value.value for f in fields if f.arg == "name" and isinstance(f.value, ast.Constant))


@dataclass(frozen=True)
class Graph:
    """All Python files of the repository at `root`, and `others` that are gone or no Python."""

    root: Path
    others: tuple[str, ...] = ()
    rooms: tuple[str, ...] = field(default=ROOMS)

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Path -> what it says. A file that is no Python today says nothing: its own tests will say that."""
        found = {}
        for room in self.rooms:
            for path in sorted((self.root / room).rglob("*.py")):
                name = path.relative_to(self.root).as_posix()
                try:
                    found[name] = read(name, path.read_text(encoding="utf-8"))
                except (SyntaxError, ValueError, OSError):
                    found[name] = Source()
        return found

    @cached_property
    def modules(self) -> dict[str, str]:
        """Dotted name -> path, also of files that are gone: what imports them is broken, and its tests must say so."""
        paths = [*self.sources, *(name for name in self.others if name.endswith(".py"))]
        return {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in paths}

    @cached_property
    def tests(self) -> tuple[str, ...]:
        return tuple(p for p in self.sources if p.startswith("tests/") and p.rpartition("/")[2].startswith("test_"))

    @cached_property
    def homes(self) -> dict[str, set[str]]:
        """Registered name -> files that register it: kinds may share a name."""
        found = defaultdict(set)
        for path, source in self.sources.items():
            for name in () if path.startswith("tests/") else source.members:
                found[name].add(path)
        return found

    def _paths(self, names: Iterable[str]) -> Iterator[Node]:
        """What is imported: the module with all it has, and what runs at once in the packages above it."""
        for name in names:
            parts = name.split(".")
            whole = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in self.modules), 0)
            if whole:
                yield self.modules[".".join(parts[:whole])], True
            for n in range(1, whole):
                if ".".join(parts[:n]) in self.modules:
                    yield self.modules[".".join(parts[:n])], False

    @cached_property
    def uses(self) -> dict[Node, set[Node]]:
        """Node -> what it depends on."""
        data = defaultdict(set)
        for name in self.others:
            if not name.endswith(".py"):
                data[name.rpartition("/")[2]].add(name)
        found: dict[Node, set[Node]] = {}
        for path, source in self.sources.items():
            found[path, True] = set(self._paths(source.imports)) | {(path, False)}
            found[path, False] = set(self._paths(source.at_once))
            if path.startswith("tests/"):
                said = [home for name in source.strings & self.homes.keys() for home in self.homes[name]]
                found[path, True] |= {(home, True) for home in said}
                folders = [path.rsplit("/", n)[0] for n in range(1, path.count("/") + 1)]
                own = [f"{folder}/conftest.py" for folder in folders if f"{folder}/conftest.py" in self.sources]
                found[path, True] |= {(conftest, True) for conftest in own if conftest != path}
            for name in source.strings:
                found[path, True] |= {(file, True) for file in data.get(name.rpartition("/")[2], ())}
        return found

    @cached_property
    def users(self) -> dict[Node, set[Node]]:
        found = defaultdict(set)
        for user, used in self.uses.items():
            for node in used:
                found[node].add(user)
        return found

    def distances(self, files: Iterable[str]) -> dict[str, int]:
        """Path -> the fewest imports between it and one of `files`, for all that depend on them."""
        found: dict[Node, int] = {}
        front = [(path, whole) for path in files for whole in (False, True)]
        steps = 0
        while front:
            found |= dict.fromkeys(front, steps)
            front = list({user for node in front for user in self.users.get(node, ())} - found.keys())
            steps += 1
        least: dict[str, int] = {}
        for (path, _), far in found.items():
            least[path] = min(far, least.get(path, far))
        return least
