"""The source of code that a user wrote, wherever it was typed: in a file, in a cell of a notebook, at a prompt.

A run is known by what its code says: the text of its class, and of everything that this names and that the user wrote
too, since a helper that changed is another run. Code that nobody kept (typed at a prompt, made by `exec`) has no text:
it is marked unknown, and never taken for anything.
"""

import ast
import dataclasses
import functools
import inspect
import linecache
import secrets
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from function_classes.fields import Fields

UNKNOWN = "unknown-"

OURS = ("function_classes", "icl", "probes", "experiments", "figures")
"""Packages whose code came with this one."""


def text(member: type) -> str | None:
    """What identifies the code of a class; None where no source is kept. A class that names nothing else of the user's
    is its own text."""
    return _with_names(member)


def alone(member: Any) -> str | None:
    """The text of a class or function without what it names; None where no source is kept."""
    if _file_of(member) is None:
        return _in_cell(member)
    try:
        found = inspect.getsource(member)
    except (OSError, TypeError):
        return None
    # `exec` may run under the name of a module that has a file, and even another class of this name.
    return found if all(_same_file(f, member) for f in _functions(member)) else None


def unknown() -> str:
    """In place of a hash, for code without source: never the same twice."""
    return UNKNOWN + secrets.token_hex(5)


def is_unknown(tree: Any) -> bool:
    """Whether a configuration, as plain values, holds code without source."""
    if isinstance(tree, Mapping):
        return any(map(is_unknown, tree.values()))
    if isinstance(tree, list | tuple):
        return any(map(is_unknown, tree))
    return isinstance(tree, str) and f"@{UNKNOWN}" in tree


def is_ours(member: Any) -> bool:
    """Whether code came with this package: its mistakes are ours, and need no check at the door."""
    room = str(getattr(member, "__module__", "")).partition(".")[0]
    return room in OURS


def all_ours(value: Any) -> bool:
    """Whether a configuration object and all that it holds came with this package."""
    if isinstance(value, tuple):
        return all(map(all_ours, value))
    return not isinstance(value, Fields) or (
        is_ours(type(value)) and all(all_ours(getattr(value, field.name)) for field in dataclasses.fields(value))
    )


def bytes_of(leaf: Any) -> bytes:
    """What identifies a leaf of a module."""
    if isinstance(leaf, jax.Array):
        key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes()
    if isinstance(leaf, np.ndarray) and (leaf.size > 1000 or leaf.dtype.kind not in "fc"):
        return leaf.tobytes()  # a text of many numbers leaves most of them out
    return _word(leaf).encode()


def static(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The static fields of all modules in a tree, by path: they are no leaves and change what a module computes. Those
    of Equinox's own layers are left out, since shapes of arrays say as much."""
    if isinstance(tree, Mapping):
        tree = list(tree.items())
    if isinstance(tree, list | tuple):
        for index, item in enumerate(tree):
            yield from static(item, f"{path}.{index}")
    elif isinstance(tree, eqx.Module) and dataclasses.is_dataclass(tree):
        for field in dataclasses.fields(tree):
            value, below = getattr(tree, field.name, None), f"{path}.{field.name}"
            if not field.metadata.get("static"):
                yield from static(value, below)
            elif not type(tree).__module__.startswith("equinox."):
                yield below, _word(value)


def _word(value: Any) -> str:
    """A value as a text that is the same in every process: addresses are not."""
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_word, value))})"
    if callable(value) and not isinstance(value, eqx.Module):
        inner = inspect.unwrap(value)
        name = f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(value).__name__)}"
        typed = [inner] if _typed(value) else []
        if "<" in name and isinstance(inner, types.FunctionType):  # others have this name too
            name += f" {inner.__code__.co_code.hex()} {inner.__code__.co_consts!r}"
        return "\n".join([name, *(_in_cell(one) or unknown() for one in typed)])
    return repr(value)


def _with_names(member: type) -> str | None:
    """The text of a class with that of all it names of the user's, and the values of plain globals."""
    found: dict[str, str] = {}
    waiting: list[Any] = [member]
    while waiting:
        one = waiting.pop()
        name = f"{one.__module__}.{one.__qualname__}"
        if name in found:
            continue
        own = alone(one)
        if own is None:
            return None
        found[name] = own
        waiting += [base for base in getattr(one, "__bases__", ()) if _users(base)]
        for function in _functions(one):
            for word, value in _named(function):
                if _users(value):
                    waiting.append(inspect.unwrap(value))
                elif isinstance(value, bool | int | float | str | bytes | tuple | np.ndarray | jax.Array):
                    found[f"{name} {word}"] = _value(value)
    (first, *others) = (found[name] for name in (f"{member.__module__}.{member.__qualname__}", *sorted(found)))
    return first if len(found) == 1 else "\n".join([first, *others])


def _value(value: Any) -> str:
    """A plain global as a text, without addresses."""
    if not isinstance(value, tuple):
        return bytes_of(value).hex()
    return _word(value) if " at 0x" in repr(value) else repr(value)


def _in_cell(member: Any) -> str | None:
    """The lines of a class or function, found by the file name that its code has."""
    for function in _functions(member):
        lines = linecache.getlines(function.__code__.co_filename)
        try:
            tree = ast.parse("".join(lines)) if lines else None
        except SyntaxError:
            continue
        for node in ast.walk(tree) if tree is not None else ():
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name != member.__name__:
                continue
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first <= function.__code__.co_firstlineno <= (node.end_lineno or 0):
                return "".join(lines[first - 1 : node.end_lineno])
    return None


def _functions(member: Any) -> list[types.FunctionType]:
    """The functions written in the body of a class, without what decorators made of them; a function is its own."""
    if not inspect.isclass(member):
        member = inspect.unwrap(member)
        return [member] if isinstance(member, types.FunctionType) else []
    found = []
    for value in vars(member).values():
        while value is not None and not isinstance(value, types.FunctionType):
            inner = (getattr(value, name, None) for name in ("fget", "__func__", "__wrapped__"))
            value = next((one for one in inner if one is not None), None)
        if value is not None and inspect.unwrap(value).__code__.co_qualname.startswith(f"{member.__qualname__}."):
            found.append(inspect.unwrap(value))
    return found


def _named(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function names that was defined outside it."""
    codes = [function.__code__]
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    for name in sorted({name for code in codes for name in code.co_names}):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name != "__class__":
            try:
                yield name, cell.cell_contents
            except ValueError:
                continue


def _typed(value: Any) -> bool:
    """Whether a class or function was typed where there is no file."""
    value = inspect.unwrap(value) if callable(value) else value
    return (inspect.isclass(value) or isinstance(value, types.FunctionType)) and (
        value.__module__ not in sys.builtin_module_names and _file_of(value) is None
    )


def _users(value: Any) -> bool:
    """Whether the user wrote a class or function: typed it, or keeps it in a file of his own."""
    if _typed(value):
        return True
    value = inspect.unwrap(value) if callable(value) else value
    file = _file_of(value) if inspect.isclass(value) or isinstance(value, types.FunctionType) else None
    return file is not None and not is_ours(value) and not is_installed(Path(file))


def is_installed(file: Path) -> bool:
    """Whether a file belongs to Python or to an installed distribution, for one user or for all."""
    file = file.resolve()
    packages = {"site-packages", "dist-packages"}.intersection(file.parts)
    return bool(packages) or any(file.is_relative_to(place) for place in _installed())


@functools.cache
def _installed() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")})


def _file_of(member: Any) -> str | None:
    return getattr(sys.modules.get(member.__module__), "__file__", None)


def _same_file(function: types.FunctionType, member: type) -> bool:
    file = inspect.getsourcefile(member)
    return file is None or Path(function.__code__.co_filename).resolve() == Path(file).resolve()
