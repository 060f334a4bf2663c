"""Settings of configuration objects: what a field may hold, how it is built from text, how it is written down.

One machinery serves function classes, models, layouts, optimizers and the configuration of a whole run. A class that
inherits `Fields` is a frozen Equinox module whose annotations are checked when it is made, all at once:

    class Ridge(Fields):
        penalty: float = setting(1.0, "multiplies I in X'X + penalty I", at_least=0)

Float fields are leaves of the pytree, hence data under `jax.jit`: a sweep over them compiles once, and no code may
branch on them in Python. Every other plain field (int, bool, str, tuple) is static and part of the tree structure.
"""

import dataclasses
import inspect
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp

from function_classes.annotations import describe, options, own
from function_classes.problems import ConfigError as ConfigError
from function_classes.problems import Problem as Problem
from function_classes.problems import join as join
from function_classes.problems import nearest as nearest
from function_classes.problems import shown, too_deep

FLOAT32_MAX = 3.4028234e38
INT32_MAX = 2**31 - 1
T = TypeVar("T")
_MISSING: Any = dataclasses.MISSING
UNSTATED: Any = object()


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a field promises beyond its annotation. `absent` is the value a configuration without the field means;
    it stays what it was when the field was introduced, so that hashes of older configurations do not change."""

    doc: str = ""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    science: bool = True
    absent: Any = UNSTATED

    def complaint(self, value: Any) -> str | None:
        bounds = (
            (self.at_least, lambda v, b: v >= b, "at least"),
            (self.above, lambda v, b: v > b, "above"),
            (self.at_most, lambda v, b: v <= b, "at most"),
            (self.below, lambda v, b: v < b, "below"),
        )
        for bound, holds, words in bounds:
            if bound is not None and not holds(value, bound):
                limit = bound if isinstance(bound, int) else f"{bound:g}"
                return f"must be {words} {limit}, got {shown(value)}"
        return None


def setting(
    default: Any = _MISSING,
    doc: str = "",
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    science: bool = True,
    absent: Any = UNSTATED,
) -> Any:
    """A field with a default, a line of documentation and bounds. `science=False` keeps it out of a run's identity."""
    rule = Rule(doc, at_least, above, at_most, below, science, absent)
    if default is _MISSING:
        return dataclasses.field(metadata={"rule": rule})
    return dataclasses.field(default=default, metadata={"rule": rule})


class Fields(eqx.Module):
    """A frozen object whose fields are its configuration: numbers, strings, tuples, nested `Fields`, never arrays."""

    # A family of interchangeable objects (function classes, layouts, ...) sets these; see `function_classes.registry`.
    registry: ClassVar[Any] = None
    name: ClassVar[str] = ""
    version: ClassVar[int] = 1

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.__annotations__ = own(cls)
        for name, annotation in cls.__annotations__.items():
            if typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
                continue
            given = cls.__dict__.get(name, _MISSING)
            metadata: dict[str, Any] = {"rule": Rule()}
            default = given
            if isinstance(given, dataclasses.Field):
                metadata, default = dict(given.metadata), given.default
            if not _is_data(annotation):
                metadata["static"] = True
            keywords: dict[str, Any] = {} if default is _MISSING else {"default": default}
            setattr(cls, name, dataclasses.field(metadata=metadata, **keywords))

    def __check_init__(self):
        problems: list[Problem] = []
        for field in dataclasses.fields(self):
            try:
                value = coerce(field.type, getattr(self, field.name), field.metadata["rule"])
            except ConfigError as error:
                problems += error.under(field.name).problems
            else:
                object.__setattr__(self, field.name, value)
        problems = problems or list(self.problems())
        if problems:
            raise ConfigError(problems)

    def problems(self) -> Iterable[Problem]:
        """What is wrong between fields that are each valid alone (sparsity above dim, say)."""
        return ()


def _is_data(annotation: Any) -> bool:
    """Floats and nested settings, and lists of nested settings; a list of plain numbers is static."""
    choices = options(annotation)
    choices += tuple(a for o in choices if typing.get_origin(o) is tuple for a in typing.get_args(o) if a is not float)
    return any(o is float or (inspect.isclass(o) and issubclass(o, Fields)) for o in choices)


def _reject(expected: Any, value: Any, extra: str = "") -> typing.NoReturn:
    raise ConfigError([Problem("", f"expected {describe(expected)}, got {shown(value)}{extra}")])


def coerce(annotation: Any, value: Any, rule: Rule = Rule()) -> Any:
    """`value` as the annotation's type, or a ConfigError that says what was expected.

    Bool is not an int; 1 and 1.0 are one value; integral floats are accepted for ints; NaN never is.
    """
    if len(options(annotation)) > 1:
        if value is None and type(None) in options(annotation):
            return None
        rest = [o for o in options(annotation) if o is not type(None)]
        for position, option in enumerate(rest):
            try:
                return coerce(option, value, rule)
            except ConfigError:
                if position == len(rest) - 1:
                    raise
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is float and isinstance(value, jax.core.Tracer):
        return value
    if annotation is bool:
        if not isinstance(value, bool):
            _reject(annotation, value)
        return value
    if annotation in (int, float):
        value = _number(annotation, value, rule)
    elif annotation is str:
        if not isinstance(value, str):
            _reject(annotation, value)
    elif origin is Literal:
        # A shell cannot tell the choice "none" from the absence of a value.
        value = "none" if value is None and "none" in arguments else value
        if value not in arguments:
            extra = nearest(value, arguments) if isinstance(value, str) else ""
            _reject(annotation, value, extra if "did you" in extra else "")
    elif origin is tuple:
        value = _tuple(annotation, arguments, value, rule)
        return value
    elif inspect.isclass(annotation) and issubclass(annotation, Fields):
        return _nested(annotation, value)
    complaint = rule.complaint(value) if isinstance(value, int | float) else None
    if complaint:
        raise ConfigError([Problem("", complaint)])
    return value


def _number(annotation: Any, value: Any, rule: Rule) -> int | float:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        # A number of less than double precision means the shortest decimal that it rounds: .1, not .10000000149.
        short = getattr(value.dtype, "kind", "") == "f" and value.dtype.itemsize < 8
        value = float(str(value)) if short else value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        _reject(annotation, value)
    if isinstance(value, float) and not math.isfinite(value):
        _reject(annotation, value, " (not finite)")
    if annotation is float and abs(value) > FLOAT32_MAX:
        _reject(annotation, value, " (beyond float32)")
    if annotation is int and value != int(value):
        _reject(annotation, value)
    if annotation is int and rule.at_most is None and abs(value) > INT32_MAX:
        _reject(annotation, value, f" (whole numbers go up to {INT32_MAX})")
    return annotation(value) + 0  # 0 has one sign


def _tuple(annotation: Any, arguments: tuple[Any, ...], value: Any, rule: Rule) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        _reject(annotation, value)
    items = tuple(value)
    variadic = len(arguments) == 2 and arguments[1] is Ellipsis
    if not variadic and len(items) != len(arguments):
        raise ConfigError([Problem("", f"expected {len(arguments)} values, got {len(items)}")])
    result, problems = [], []
    for index, item in enumerate(items):
        try:
            result.append(coerce(arguments[0] if variadic else arguments[index], item, rule))
        except ConfigError as error:
            problems += error.under(str(index)).problems
    if problems:
        raise ConfigError(problems)
    return tuple(result)


def _nested(annotation: type[Fields], value: Any) -> Fields:
    if isinstance(value, annotation):
        return value
    if isinstance(value, str) and annotation.registry is not None:
        value = {"name": value}
    if not isinstance(value, Mapping):
        _reject(annotation, value)
    return build(annotation, value)


def build(cls: type[Fields], values: Mapping[str, Any]) -> Any:
    """An object from a mapping of plain values; `name` chooses among the members of a registered family.

    Raises ConfigError with every unknown, missing, ill-typed and out-of-range field at once.
    """
    if too_deep(values):
        raise ConfigError([Problem("", "settings are nested too deep, or in themselves")])
    values = dict(values)
    if cls.registry is not None:
        name = values.pop("name", None)
        if name is None:
            raise ConfigError([Problem("name", f"missing: which {cls.registry.kind}?")])
        cls = cls.registry.find(name)
    settings = {field.name: field for field in dataclasses.fields(cls)}
    problems = [
        Problem(name, f"unknown field of {cls.name or cls.__name__}{nearest(name, settings)}")
        for name in values
        if name not in settings
    ]
    missing = [n for n, f in settings.items() if f.default is _MISSING and n not in values]
    problems += [Problem(name, f"missing: expected {describe(settings[name].type)}") for name in missing]
    for name in values.keys() & settings.keys():
        usual = settings[name].default
        if isinstance(values[name], Mapping) and "name" not in values[name] and getattr(usual, "registry", None):
            values[name] = {"name": usual.name, **values[name]}
        try:
            values[name] = coerce(settings[name].type, values[name], settings[name].metadata["rule"])
        except ConfigError as error:
            problems += error.under(name).problems
    if problems:
        order = {name: index for index, name in enumerate(settings)}
        raise ConfigError(sorted(problems, key=lambda p: order.get(p.path.split(".")[0], -1)))
    return cls(**values)


def settings(cls: type[Fields]) -> tuple[dataclasses.Field, ...]:
    """The fields of a class, in order: name, type, default, and `metadata["rule"]` with its documentation."""
    return dataclasses.fields(cls)


def as_data(tree: T) -> T:
    """The same tree with Python floats as arrays: under `filter_jit` a float would be a constant."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float) if isinstance(leaf, float) else leaf, tree)
