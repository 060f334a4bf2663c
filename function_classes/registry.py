"""One registry for everything that has a name: function classes, mixers, layouts, references, probes, figures.

A member is one file that registers itself; the registry imports the files of its package when first asked, and entry
points (`icl.function_classes`, `icl.mixers`, ...) let other distributions join. Nothing else lists the members.
"""

import importlib
import importlib.metadata
import pkgutil
from typing import Any, TypeVar

from function_classes.fields import ConfigError, Problem, build, nearest
from function_classes.origins import Origin, origin, typed
from function_classes.problems import shown
from function_classes.sources import UNKNOWN

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
        self._origins: dict[Any, Origin | None] = {}
        self._earlier: dict[str, Any] = {}
        self._loaded = False

    def add(self, name: str, *, papers: tuple[str, ...] = ()):
        """Decorator: registers the class under `name` (kebab-case) and tells the class its name."""

        def register(member: T) -> T:
            now, known = origin(member), self._members.get(name)
            if known is not None and not self._again(known, member, now):
                raise ValueError(f"{self.kind} {name!r} is already registered by {known.__module__}")
            self._members[name] = member
            self._origins[member] = now
            self.papers[name] = papers
            member.name = name
            return member

        return register

    def _again(self, known: Any, member: Any, now: Origin | None) -> bool:
        """Whether a member is the known one once more: its module imported or its file loaded anew."""
        before = self._origins[known]
        same_file = before is not None and now is not None and before.file is not None and before.file == now.file
        return known.__qualname__ == member.__qualname__ and (same_file or known.__module__ == member.__module__)

    def also(self, earlier: str, member: Any) -> None:
        """Lets configurations name a member so, and no table list it: a name that it had earlier, or that has no need
        to be listed. One without a name of its own has this one."""
        self._earlier[earlier] = member
        if member not in self._origins:
            self._origins[member] = origin(member)
            member.name = earlier

    def unlisted(self) -> dict[str, Any]:
        """Name -> member of all that `also` named."""
        return dict(self._earlier)

    def origin(self, member: Any) -> Origin | None:
        """Where a registered member came from; None for those of this package. Code that was typed is looked at again:
        what it names may have changed."""
        found = self._origins.get(member)
        if found is not None and found.file is None and (code := typed(member)) is not None:
            return found._replace(code=code)
        return found

    def written(self, member: Any) -> str:
        """The name under which configuration writes a member down: of one from elsewhere with the hash of its code, so
        that other code is another run. Raises ConfigError for a class that has but the name of the one it is made
        from, and would pass for it."""
        if member not in self._origins and self._members.get(member.name) is not None:
            reason = f"is not registered and would pass for {member.name!r}; register it under a name of its own"
            raise ConfigError([Problem("", f"{self.kind} {member.__name__} {reason}")])
        found = None if "@" in member.name else self.origin(member)
        return member.name if found is None else f"{member.name}@{found.code}"

    def names(self) -> tuple[str, ...]:
        self._load()
        return tuple(sorted(self._members))

    def __contains__(self, name: str) -> bool:
        self._load()
        return name in self._earlier or name.replace("_", "-") in self._members

    def find(self, name: str) -> Any:
        """The registered class; a name with a hash (`written`) stands for code of this hash alone. Raises ConfigError
        with the nearest name when there is none."""
        self._load()
        known = self._earlier | self._members
        member = known.get(name.replace("_", "-"), known.get(name)) if isinstance(name, str) else None
        if member is not None:
            return member
        base, _, code = str(name).partition("@")
        member = self._members.get(base.replace("_", "-")) if code else None
        found = None if member is None else self.origin(member)
        if member is None or found is None:
            problem = f"unknown {self.kind} {shown(name)}{nearest(str(name)[:100], self._members)}"
            raise ConfigError([Problem("", problem)])
        if code != found.code and not (code.startswith(UNKNOWN) and found.code.startswith(UNKNOWN)):
            where = found.file or "as it was typed"
            reason = f"{shown(name)} is not the code of {base} now ({where}), which is @{found.code}"
            raise ConfigError([Problem("", reason)])
        return member

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
            load_entry_points(self.group)
        except BaseException:
            self._loaded = False
            raise


def load_entry_points(group: str) -> None:
    """Imports what other distributions register in a group. Raises ConfigError with all that cannot be loaded."""
    problems, first = [], None
    for point in importlib.metadata.entry_points(group=group):
        try:
            point.load()
        except Exception as error:
            owner = getattr(point.dist, "name", None) or point.value
            message = f"entry point {point.name!r} of {owner} cannot be loaded: {type(error).__name__}: {error}"
            problems.append(Problem("", f"{message}; mend {owner}, or uninstall it"))
            first = first or error
    if problems:
        raise ConfigError(problems) from first
