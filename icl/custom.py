"""Code of the user: a Python file named on the command line. Nothing found in a run or a configuration is imported."""

import dataclasses
import hashlib
import importlib.abc
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path

import equinox as eqx

from function_classes import origins, sources
from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import ConfigError, Fields, Problem, nearest
from function_classes.sources import is_unknown
from icl.models import made

_files: set[str] = set()


def load(path: str | Path) -> dict[str, type[FunctionClass]]:
    """Runs a file and registers its function classes as `Name@<hash of the file>`, and of the user's modules that it
    imports, so that changed code is another class. Modules beside the file can be imported, as by a script. Raises
    ConfigError where the file is missing."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError([Problem(str(path), "no such file")])
    module_name = _module_name(path.read_bytes())
    digest = module_name.rpartition("_")[2]
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or not isinstance(spec.loader, importlib.abc.FileLoader):
            raise ConfigError([Problem(str(path), "is not a Python file")])
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        if (folder := str(path.resolve().parent)) not in sys.path:
            sys.path.append(folder)  # last: nothing there is taken for anything of ours
        _files.add(spec.loader.get_filename())
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    others: list[str | bytes] = [word for pair in sorted(origins.imported(path.resolve()).items()) for word in pair]
    code = origins.hashed([digest, *others]) if others else digest
    found = {}
    for name, member in vars(sys.modules[module_name]).items():
        if inspect.isclass(member) and issubclass(member, FunctionClass) and member.__module__ == module_name:
            found[name] = member
            register(member, code)
            FunctionClass.registry.also(f"{name}@{digest}", member)
        elif inspect.isclass(member) and issubclass(member, eqx.Module) and member.__module__ == module_name:
            if not issubclass(member, Fields):
                made.learner_of(member, f"{name}@{code}")
    return found


def _module_name(content: bytes) -> str:
    return f"icl_custom_{hashlib.sha256(content).hexdigest()[:10]}"


def blame(error: BaseException) -> str | None:
    """File, line and function of the innermost line of the user's own code that an error passed through, if any."""
    if isinstance(error, SyntaxError) and error.filename in _files:
        return f"{error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _files]
    return f"{frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}" if frames else None


def register(member: type[FunctionClass], digest: str | None = None) -> str:
    """The name of a class outside the registry, registered on first use: its own name and a hash of its source. A class
    without source has another name at every call, so that no run of it is ever taken for another one."""
    known = FunctionClass.registry
    if member.name and member.name in known and known.find(member.name) is member and not is_unknown(member.name):
        return member.name
    if digest is None and (text := sources.text(member)) is not None:
        digest = _digest(text)
        known.also(f"{member.__name__}@{_digest(sources.alone(member) or text)}", member)
    if digest is not None:
        known.add(f"{member.__name__}@{digest}")(member)
        return member.name
    return known_as(member, f"{member.__name__}@{sources.unknown()}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def known_as(member: type[FunctionClass], name: str) -> str:
    """Registers a class under one more name, by which its own does not change."""
    words = {"__module__": member.__module__, "__qualname__": member.__qualname__, "__doc__": member.__doc__}
    FunctionClass.registry.add(name)(type(member.__name__, (member,), words))
    return name


def named(task: FunctionClass) -> FunctionClass:
    """The same class with everything in it that the registry does not know registered (`register`)."""
    cls, values = type(task), {}
    if not (cls.name in cls.registry and cls.registry.find(cls.name) is cls and not is_unknown(cls.name)):
        cls = FunctionClass.registry.find(register(cls))
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        several = isinstance(value, tuple) and any(isinstance(one, FunctionClass) for one in value)
        if several:
            value = tuple(named(one) if isinstance(one, FunctionClass) else one for one in value)
        values[field.name] = named(value) if isinstance(value, FunctionClass) else value
    same = cls is type(task) and all(values[name] is getattr(task, name) for name in values)
    return task if same else cls(**values)


def open_with(member: type[FunctionClass], recorded: str) -> None:
    """Makes the class of a run known by the name that its configuration has. Raises NotAvailable for another class,
    or one that has changed since."""
    if not inspect.isclass(member) or not issubclass(member, FunctionClass):
        raise NotAvailable(f"task: expected the function class itself (such as Cubic), got {member!r}")
    if not is_unknown(recorded):
        found, known = register(member), FunctionClass.registry
        if recorded not in known or known.find(recorded) is not member:
            raise NotAvailable(f"task: the run was trained on {recorded}, and this is {found}: its code has changed")
    elif recorded.partition("@")[0] != member.__name__:
        raise NotAvailable(f"task: the run was trained on {recorded}, and this is {member.__name__}")
    elif recorded not in FunctionClass.registry:
        known_as(member, recorded)


def resolve(word: str) -> str:
    """A class name as it is; `./my_task.py:Cubic` as the registered name of the class in that file."""
    if ".py" not in word:
        return word
    path, name = _parts(word)
    return _chosen(word, "function class", {key: member.name for key, member in load(path).items()}, name)


def resolve_model(word: str) -> str:
    """The name of a model as it is; `./net.py:Net` as that of the model whose networks are `Net(task, key=key)`, or of
    the `ModelConfig` of this name."""
    if ".py" not in word:
        return word
    path, name = _parts(word)
    load(path)
    members = vars(sys.modules[_module_name(Path(path).read_bytes())])
    found = {key: made.name_of(member) for key, member in members.items() if inspect.isclass(member)}
    return _chosen(word, "model", {key: known for key, known in found.items() if known}, name)


def _parts(word: str) -> tuple[str, str]:
    """`path.py:Name` in its parts; no name where none is given."""
    path, _, name = word.rpartition(":") if word.rpartition(":")[0].endswith(".py") else (word, "", "")
    return path, name


def _chosen(word: str, kind: str, found: dict[str, str], name: str) -> str:
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name in found:
        return found[name]
    path = _parts(word)[0]
    reason = f"no {kind} {name!r} in {path}{nearest(name, found)}"
    if not name:
        reason = f"which {kind}? write {path}:{' or :'.join(found)}" if found else f"no {kind} in {path}"
    raise ConfigError([Problem(word, reason)])
