"""Every name that README, the notebook, `__all__` and the claim files print, and what it stands for.

python/MODULE:NAME      can be imported, or reached with dots from what can
method/CLASS.NAME       of an object that README or the notebook holds in a variable (`HOLDS`)
command/NAME            the options of a command; `command/icl` those before it
line/icl ...            a printed line: it is understood; for `icl run` the "identities" of the runs it asks for
claim/PAPER/ID          all that was written down of a claim before it was measured, and the "experiment"
experiment/NAME/SCALE   the identities of its runs (the first seed of each)
figure/NAME, kind/NAME  what `icl figure` draws, what `icl list` lists
"""

import ast
import dataclasses
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import experiments
import figures
from experiments import papers
from icl import cli
from icl.config import Config
from icl.console import catalog, options
from tests.frozen import identities

TABLE = "names"
ROOT = Path(__file__).parents[2]
PACKAGES = (
    "experiments",
    "function_classes",
    "icl",
    "icl.layouts",
    "icl.models",
    "icl.models.constructions",
    "icl.models.mixers",
    "icl.references",
    "icl.runs",
    "probes",
)
# Variables of README and the notebook: what they hold.
HOLDS = {
    "task": "function_classes:FunctionClass",
    "prompt": "function_classes:Prompt",
    "config": "icl:Config",
    "run": "icl:Run",
    "table": "icl:Table",
    "result": "probes:ProbeResult",
    "known": "icl.models.constructions:Construction",
    "transformer": "icl:Run",
}
# Configurations that take long to make, and scales at which nothing has been measured: with `--full`.
SLOW = ("experiment/mixers/cpu", "/smoke", "/paper")


def code() -> Iterator[ast.Module]:
    """The Python that README and the notebook print."""
    readme = (ROOT / "README.md").read_text("utf-8")
    yield from (ast.parse(block) for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    cells = json.loads((ROOT / "docs" / "is_it_gradient_descent.ipynb").read_text("utf-8"))["cells"]
    yield ast.parse("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))


def exported(package: str) -> Iterator[str]:
    """What a package offers: `__all__`, or what its `__init__` imports as itself."""
    module = importlib.import_module(package)
    yield from (f"python/{package}:{name}" for name in getattr(module, "__all__", ()))
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.col_offset == 0:
            yield from (f"python/{package}:{a.asname}" for a in node.names if a.asname and a.asname == a.name)
        if isinstance(node, ast.FunctionDef) and node.col_offset == 0 and not node.name.startswith("_"):
            yield f"python/{package}:{node.name}"


def printed() -> Iterator[str]:
    """What the printed code imports and reaches with dots."""
    modules: dict[str, str] = {}
    for tree in code():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.asname or alias.name: alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                yield from (f"python/{node.module}:{alias.name}" for alias in node.names)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                root, *rest = _dotted(node)
                if modules.get(root, "").split(".")[0] in ("icl", "function_classes", "probes", "experiments"):
                    yield f"python/{modules[root]}:{'.'.join(rest)}"
                if root in HOLDS:
                    yield f"method/{HOLDS[root]}.{rest[0]}"


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]


def resolves(key: str) -> bool:
    """Whether a name of the first two kinds still stands for something."""
    kind, _, place = key.partition("/")
    module, _, path = place.partition(":")
    value: Any = importlib.import_module(module)
    parts = path.split(".")
    for part in parts[:-1] if kind == "method" else parts:
        value = getattr(value, part, None)
    declared = {name for cls in getattr(value, "__mro__", ()) for name in getattr(cls, "__annotations__", {})}
    stored = _set_in_init(value) if kind == "method" else set()
    return value is not None and (kind != "method" or hasattr(value, parts[-1]) or parts[-1] in declared | stored)


def _set_in_init(cls: Any) -> set[str]:
    """Attributes that a plain class gives itself."""
    return set(cls.__init__.__code__.co_names) if hasattr(cls.__init__, "__code__") else set()


def commands() -> dict[str, list[str]]:
    """Options and arguments of every command."""
    group: Any = typer.main.get_command(cli.app)
    every = {"command/icl": group} | {f"command/{name}": command for name, command in group.commands.items()}
    return {
        key: sorted(word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts))
        for key, command in every.items()
    }


def lines() -> list[str]:
    """Commands that README prints, in blocks and in running text, without their comments."""
    text = (ROOT / "README.md").read_text("utf-8")
    found = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    found += [" ".join(words.split()) for words in re.findall(r"`([^`]+)`", text)]
    found = [line.split("#")[0].split("&& ")[-1].strip() for line in found]
    left_out = ("...", "NAME", "CLASS")
    return sorted({line for line in found if line.startswith("icl ") and not any(w in line for w in left_out)})


def understood(line: str) -> None:
    """Parses a line as the shell command does, and runs nothing. Raises an error for what it does not know."""
    group: Any = typer.main.get_command(cli.app)
    words = shlex.split(line)[1:]
    context = group.make_context("icl", words, resilient_parsing=True)
    # Which attribute holds the command's own name has changed between versions.
    rest = [*getattr(context, "_protected_args", ()), *context.args]
    if not rest:
        return
    command = group.commands.get(rest[0])
    if command is None:
        raise ValueError(f"no command {rest[0]!r}")
    command.make_context(rest[0], list(rest[1:]), parent=context)


def asked(line: str) -> list[Config]:
    """The configurations of an `icl run` line."""
    words = shlex.split(line)[2:]
    task, rest = options.split(None, words)
    settings = options.pairs(rest, [])
    seeds = [text for name, text in settings if name == "seeds"]
    settings = [(name, text) for name, text in settings if name not in ("seeds", "name")]
    settings += [("seed", ",".join(map(str, range(int(text))))) for text in seeds]
    return options.configs(task, settings, None, None)


def line_entry(line: str) -> dict[str, Any]:
    understood(line)
    if not line.startswith("icl run ") or "--help" in line or ".py" in line or line == "icl run --seeds":
        return {}
    configs = asked(line)
    raised = {name: number for config in configs for name, number in identities.versions(config).items()}
    return {"identities": [config.identity for config in configs], "versions": raised}


def claims() -> dict[str, dict[str, str]]:
    measured = {experiment.paper: name for name, experiment in experiments.all_experiments().items()}
    return {
        f"claim/{paper}/{claim.id}": dataclasses.asdict(claim) | {"experiment": measured[paper]}
        for paper in papers.names()
        for claim in papers.read(paper).values()
    }


def scales() -> list[str]:
    known = experiments.all_experiments()
    return [f"experiment/{name}/{scale}" for name, experiment in known.items() for scale in experiment.scales]


def runs_of(key: str) -> dict[str, Any]:
    """The identities of an experiment's runs, and versions."""
    _, name, scale = key.split("/")
    configs = {label: some[0] for label, some in experiments.get(name).scales[scale]().items()}
    raised = {name: number for config in configs.values() for name, number in identities.versions(config).items()}
    return {"runs": {label: config.identity for label, config in configs.items()}, "versions": raised}


def words() -> list[str]:
    """All keys that stand for themselves."""
    found = {name for package in PACKAGES for name in exported(package)} | set(printed())
    found |= {f"figure/{name}" for name in figures.describe()}
    return sorted(found | {f"kind/{kind}" for kind in catalog._registries()})


def entries(table: dict[str, Any]) -> dict[str, Any]:
    """Everything that a table lacks."""
    found: dict[str, Any] = dict.fromkeys(words(), "") | commands() | claims()
    found |= {f"line/{line}": line_entry(line) for line in lines()}
    return found | {key: runs_of(key) for key in scales() if key not in table}
