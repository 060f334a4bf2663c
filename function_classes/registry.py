"""One registry for everything that has a name: function classes, mixers, layouts, references, probes, figures.

A member is one file that registers itself; the registry imports the files of its package when first asked, and entry
points (`icl.function_classes`, `icl.mixers`, ...) let other distributions join. Nothing else lists the members.
"""

import importlib
import importlib.metadata
import pkgutil
from typing import Any, TypeVar

from function_classes.fields import ConfigError, Problem, build, nearest
from function_classes.problems import shown

T = TypeVar("T", bound=type)


class Registry:
    """Names to classes (or functions) of one kind.

    `package` is the package (or the one module) where its members live; each module in it registers with
    `@registry.add("name", papers=(...))`.
    """

    def __init__(self, kind: str, package: str, group: str = ""):
        self.kind = kind
        self.package = package
        self.group = group or "icl." + kind.replace(" ", "_") + "s"
        self.papers: dict[str, tuple[str, ...]] = {}
        self._members: dict[str, Any] = {}
        self._loaded = False

    def add(self, name: str, *, papers: tuple[str, ...] = ()):
        """Decorator: registers the class under `name` (kebab-case) and tells the class its name."""

        def register(member: T) -> T:
            known = self._members.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (member.__module__, member.__qualname__):
                raise ValueError(f"{self.kind} {name!r} is already registered by {known.__module__}")
            self._members[name] = member
            self.papers[name] = papers
            member.name = name
            return member

        return register

    def names(self) -> tuple[str, ...]:
        self._load()
        return tuple(sorted(self._members))

    def __contains__(self, name: str) -> bool:
        return name.replace("_", "-") in self.names()

    def find(self, name: str) -> Any:
        """The registered class. Raises ConfigError with the nearest name when there is none."""
        self._load()
        if not isinstance(name, str) or name.replace("_", "-") not in self._members:
            problem = f"unknown {self.kind} {shown(name)}{nearest(str(name)[:100], self._members)}"
            raise ConfigError([Problem("", problem)])
        return self._members[name.replace("_", "-")]

    def get(self, name: str, /, **fields: Any) -> Any:
        """An instance with the given fields, checked. Unknown names and fields raise ConfigError."""
        return build(self.find(name), {**({"name": name} if self.find(name).registry else {}), **fields})

    def _load(self) -> None:
        """Imports all members. One that cannot be imported is named every time: half a registry never answers."""
        if self._loaded:
            return
        self._loaded = True  # members may ask while they are imported
        try:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
                if not module.name.startswith("_") and module.name != "cli":
                    importlib.import_module(f"{self.package}.{module.name}")
            self._load_others()
        except BaseException:
            self._loaded = False
            raise

    def _load_others(self) -> None:
        """Members of other distributions. Raises ConfigError with every one that cannot be loaded."""
        problems, first = [], None
        for point in importlib.metadata.entry_points(group=self.group):
            try:
                point.load()
            except Exception as error:
                owner = getattr(point.dist, "name", None) or point.value
                message = f"entry point {point.name!r} of {owner} cannot be loaded: {type(error).__name__}: {error}"
                problems.append(Problem("", f"{message}; mend {owner}, or uninstall it"))
                first = first or error
        if problems:
            raise ConfigError(problems) from first
