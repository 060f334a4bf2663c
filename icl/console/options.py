"""Words of a command line to configurations: plain flags, --set paths, TOML files, comma lists that make a sweep."""

import itertools
import json
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from function_classes import fields, plain
from function_classes.fields import ConfigError, Problem, nearest
from function_classes.problems import NESTING, text_too_deep
from icl.axes import MOST_MEMBERS, count_members

LARGEST_FILE = 2**20
"""Bytes of a file of settings."""


def split(first: str | None, rest: Sequence[str]) -> tuple[str | None, list[str]]:
    """The one word that is neither a flag nor a flag's value, and all others: `--depth 4 CLASS` is `CLASS --depth 4`.

    `first` is what the parser took for that word, which may be a flag it does not know.
    """
    words = [*([] if first is None else [first]), *rest]
    index = 0
    while index < len(words):
        if not words[index].startswith("--"):
            return words[index], words[:index] + words[index + 1 :]
        index += 1 if "=" in words[index] or _alone(words[index + 1 :]) else 2
    return None, words


def pairs(arguments: Sequence[str], command: Sequence[str]) -> list[tuple[str, str]]:
    """`--depth 4 --noise-std=0.1 --set a.b=c` as (name, text) pairs; the text of a flag alone, `--remat`, is empty.
    `command` are the flags the command itself has, named in the message when a word is neither."""
    found, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            hint = nearest("--" + word, command)
            raise ConfigError([Problem(word, f"expected a flag such as --depth 4{hint if 'did you' in hint else ''}")])
        name, equals, text = word[2:].partition("=")
        if not equals:
            alone = _alone(rest)
            if alone and name == "set":
                raise ConfigError([Problem(word, "expects a value")])
            text = "" if alone else rest.pop(0)
        if name == "set":
            name, equals, text = text.partition("=")
            if not equals:
                raise ConfigError([Problem("--set", f"expected PATH=VALUE, got {name!r}")])
        found.append((name, text))
    return found


def _models(text: str) -> str:
    """Names of models, those in files of the user's registered."""
    from icl import custom

    return ",".join(map(custom.resolve_model, text.split(",")))


def configs(task: str | None, settings: Sequence[tuple[str, str]], preset: str | None, file: Path | None) -> list[Any]:
    """Every configuration the words ask for: one, or the product of all comma lists, the last varying fastest."""
    from icl import presets
    from icl.config import Config, name_of, resolve

    settings = [(name, _models(text) if name in ("model", "model.name") else text) for name, text in settings]
    tree: dict[str, Any] = presets.find(preset) if preset else {}
    for key, value in (_toml(file) if file else {}).items():
        tree[key] = tree.get(key, {}) | value if isinstance(value, dict) and isinstance(tree.get(key), dict) else value
    if task is not None and name_of(tree.get("task")) != task:
        tree["task"] = {"name": task}
    # Flags belong to the model that is chosen, wherever in the line it is named; choosing it later would drop them.
    models = [pair for pair in settings if pair[0] in ("model", "model.name") and "," not in pair[1]]
    settings = [*models, *(pair for pair in settings if pair not in models)]
    known = tree | {"model": {"name": models[-1][1]}} if models else tree
    axes, problems = [], []
    for name, text in settings:
        try:
            path = resolve(name, known)
            axes.append([(path, value) for value in _values(path, text, known)])
        except ConfigError as error:
            problems += error.problems
    found: dict[str, Any] = {}
    count_members(axes)
    for choice in itertools.product(*axes):
        try:
            config = Config.from_tree(tree, list(choice))
        except ConfigError as error:
            problems += error.problems
        else:
            found[config.identity] = config
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return list(found.values())


def changes(settings: Sequence[tuple[str, str]], config: Any) -> dict[str, Any]:
    """Settings of one configuration, by path; a list to sweep over is refused where its values are."""
    from icl.config import resolve

    tree, found = config.dump(), {}
    for name, text in settings:
        path = resolve(name, tree)
        values = _values(path, text, tree)
        found[path] = values[0] if len(values) == 1 else values
    return found


def with_fields(task: Any, settings: Sequence[tuple[str, str]]) -> Any:
    """A function class with some fields changed, as flags name them. Raises ConfigError for what is no field of it."""
    from icl.config import Config

    tree = {"task": plain.dump(task)}
    known = [field.name for field in fields.settings(type(task))]
    problems, pairs = [], []
    for name, text in settings:
        path = name.replace("-", "_").removeprefix("task.")
        if path.partition(".")[0] not in known:
            problems.append(Problem(f"--{name}", f"is no field of {task.name}{nearest(path, known)}"))
            continue
        values = _values(f"task.{path}", text, tree)
        if len(values) > 1:
            problems.append(Problem(f"--{name}", f"expected one value, got {text!r}"))
        pairs.append((f"task.{path}", values[0]))
    if problems:
        raise ConfigError(problems)
    return Config.from_tree(tree, pairs).task


def _values(path: str, text: str, tree: dict[str, Any]) -> list[Any]:
    """The value or values of one setting: `1,2,4` is a list to sweep over unless the field is a list or a text."""
    annotation = _annotation(path, tree)
    if not text:
        if annotation is bool:
            return [True]
        raise ConfigError([Problem(f"--{path.rpartition('.')[2].replace('_', '-')}", "expects a value")])
    if annotation is str:
        return [text]
    if text[0] in "[{":
        if text_too_deep(text):
            raise ConfigError([Problem(path, f"nested more than {NESTING} deep")])
        try:
            return [json.loads(text)]
        except ValueError:
            pass  # [softmax,s5], as a shell leaves it: words without quotes
    if text.count(",") >= MOST_MEMBERS:
        raise ConfigError([Problem(path, f"{text.count(',') + 1} values, at most {MOST_MEMBERS} are read")])
    if typing.get_origin(annotation) is tuple or (text.startswith("[") and text.endswith("]")):
        return [[plain.parse(part) for part in text.strip("[]()").split(",") if part]]
    return [plain.parse(part.strip()) for part in text.split(",")]


def _annotation(path: str, tree: dict[str, Any]) -> Any:
    from icl.config import sections

    section, _, name = path.rpartition(".")
    known = sections(tree).get(section, {})
    return known[name].type if name in known else None


def _toml(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise ConfigError([Problem(str(file), f"is larger than {LARGEST_FILE} bytes: settings are a page of text")])
        text = data.decode("utf-8")
        if text_too_deep(text):
            raise ConfigError([Problem(str(file), f"brackets are nested more than {NESTING} deep")])
        return tomllib.loads(text)
    except OSError as error:
        raise ConfigError([Problem(str(file), f"cannot be read: {error.strerror}")]) from None
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of a number with thousands of digits
        reason = str(error).replace("Cannot overwrite a value", "a key appears twice")
        raise ConfigError([Problem(str(file), f"is not TOML: {reason}")]) from None


def _alone(following: Sequence[str]) -> bool:
    """Whether a flag before these words has no value."""
    return not following or following[0].startswith("--")


def help_text(task: str) -> str:
    """Every setting of a class and of training, with defaults, for `icl run CLASS --help`."""
    from icl.config import sections

    lines = []
    for section, known in sections({"task": {"name": task}}).items():
        lines += ["", f"{section}:"]
        for name, field in known.items():
            rule = field.metadata["rule"]
            default = "" if field.default is fields.dataclasses.MISSING else _default(field.default)
            flag = f"--{name.replace('_', '-')}"
            lines.append(f"  {flag:<22}{default:<22}{rule.doc}")
    return "\n".join(lines)


def _default(value: Any) -> str:
    if isinstance(value, fields.Fields):
        return value.name or "(below)"
    return "none" if value is None else str(value)
