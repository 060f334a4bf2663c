"""`icl list KIND`: everything that is registered, from the registries themselves."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from function_classes import fields, plain
from function_classes.fields import ConfigError, Problem, nearest
from icl import references


def _registries() -> dict[str, Any]:
    from function_classes.base import FunctionClass
    from function_classes.inputs import InputLaw
    from function_classes.noise_laws import NoiseLaw
    from function_classes.shifts import Shift
    from function_classes.tokenizers import Tokenizer
    from icl.layouts import Layout
    from icl.models import ModelConfig
    from icl.models.constructions import Construction, TokenConstruction
    from icl.models.heads import HeadConfig
    from icl.models.mixers import MixerConfig
    from icl.references import Reference
    from icl.training.optimizers import Optimizer
    from icl.training.schedules import Schedule

    families = {
        "function-classes": FunctionClass,
        "input-laws": InputLaw,
        "noise-laws": NoiseLaw,
        "tokenizers": Tokenizer,
        "shifts": Shift,
        "layouts": Layout,
        "models": ModelConfig,
        "mixers": MixerConfig,
        "heads": HeadConfig,
        "constructions": Construction,
        "token-constructions": TokenConstruction,
        "references": Reference,
        "optimizers": Optimizer,
        "schedules": Schedule,
    }
    return {kind: family.registry for kind, family in families.items()}


def entries(kind: str) -> list[dict[str, Any]]:
    """Name, one line, fields with defaults and papers of every member of a kind."""
    registry = _registries()[kind]
    found = []
    for name in registry.names():
        member = registry.find(name)
        settings = {f.name: _plain(f.default) for f in fields.settings(member) if f.default is not _MISSING}
        entry = {"name": name, "what": _first_line(member), "fields": settings, "papers": list(registry.papers[name])}
        found.append(entry | (FACTS[kind](member) if kind in FACTS else {}))
    return found


_FACTS = ("target", "bayes", "references", "tests")
_MISSING: Any = fields.dataclasses.MISSING


def listing(
    kind: str,
    extra: Mapping[str, Callable[[], dict[str, str]]],
    as_json: bool,
    task: str | None = None,
    settings: Sequence[tuple[str, str]] = (),
) -> str:
    """The text of `icl list`. `extra` adds kinds that live in rooms further right, as name -> one line. `task`, with
    fields as flags, asks which references apply to a class."""
    if settings and task is None:
        raise ConfigError([Problem("--" + settings[0][0], "is a field of a class: name the class with --for")])
    kinds = [*_registries(), "presets", *extra]
    if not kind:
        return json.dumps(kinds) if as_json else "kinds: " + ", ".join(kinds)
    kind = kind.replace("_", "-")
    if kind not in kinds and kind + "s" in kinds:
        kind += "s"
    if kind not in kinds:
        raise ConfigError([Problem("list", f"unknown kind {kind!r}{nearest(kind, kinds)}")])
    if task is not None:
        if kind != "references":
            raise ConfigError([Problem("--for", f"asks which references apply, not which {kind}")])
        found = applicable(task, settings)
        return json.dumps(found) if as_json else _applicable_text(task, found)
    if kind == "presets":
        from icl.presets import PRESETS

        lines = {name: "\n    ".join([p.source, *("- " + d for d in p.deviations)]) for name, p in PRESETS.items()}
    elif kind in extra:
        lines = extra[kind]()
    else:
        found = entries(kind)
        if as_json:
            return json.dumps(found)
        return "\n".join(_text(entry) for entry in found)
    if as_json:
        return json.dumps(lines)
    return "\n".join(f"{name}\n    {what}" for name, what in lines.items()) or f"no {kind}"


def applicable(task: str, settings: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Every family of references with the reason why it cannot be used on a class, None where it can; whether it is
    slow, its members in the standard table, and the field of its continuous family."""
    from icl import custom, references
    from icl.console import options

    chosen: Any = options.configs(custom.resolve(task), settings, None, None)
    if len(chosen) > 1:
        raise ConfigError([Problem("--for", "expects one class: a list of values would be a sweep")])
    chosen = chosen[0].task
    found = []
    for name, reason in references.explain(chosen).items():
        family = references.Reference.registry.find(name)
        members = [m.label for m in family.standard(chosen) if m.applies(chosen) is None] if reason is None else []
        searched = [m for m in family.families(chosen) if m.applies(chosen) is None] if reason is None else []
        entry = {"name": name, "reason": reason, "cost": family.cost, "standard": members}
        found.append(entry | {"family": family.family_parameter if searched else None})
    return found


def _applicable_text(task: str, found: Sequence[dict[str, Any]]) -> str:
    lines = [f"references that apply to {task}:"]
    wide = 2 + max(len(entry["name"]) for entry in found)
    for entry in (entry for entry in found if entry["reason"] is None):
        notes = ["slow"] if entry["cost"] == "slow" else []
        notes += [f"in tables: {', '.join(entry['standard'])}"] if entry["standard"] else []
        notes += [f"identified by {entry['family']}"] if entry["family"] else []
        lines.append(f"  {entry['name']:<{wide}}{'; '.join(notes)}".rstrip())
    rest = [entry for entry in found if entry["reason"] is not None]
    lines += ["", "those that do not:"] if rest else []
    return "\n".join([*lines, *(f"  {entry['name']:<{wide}}{entry['reason']}" for entry in rest)])


def markdown() -> str:
    """docs/catalog.md: every kind as a table, generated from the registries (`python -m icl.console.catalog`)."""
    lines = ["# Catalog", "", "Generated from the registries by `python -m icl.console.catalog`; do not edit."]
    for kind in _registries():
        found = entries(kind)
        facts = [key for key in found[0] if key not in ("name", "what", "fields", "papers")]
        lines += [
            "",
            f"## {kind}",
            "",
            "| " + " | ".join(["name", "what", "fields", *facts, "papers"]) + " |",
            "|---" * (4 + len(facts)) + "|",
        ]
        for entry in found:
            settings = ", ".join(f"`{name}={value}`" for name, value in entry["fields"].items())
            cells = [f"`{entry['name']}`", entry["what"], settings]
            cells += [entry[fact] for fact in facts]
            cells.append(", ".join(entry["papers"]))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _text(entry: dict[str, Any]) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in entry["fields"].items())
    lines = [entry["name"], f"    {entry['what']}"]
    if "bayes" in entry:
        lines.append(f"    target {entry['target']}; Bayes {entry['bayes']}")
        lines.append(f"    references {entry['references']}")
    if "parameters" in entry:
        own = [f"{key} {entry[key]}" for key in ("parameters", "state", "cost", "expected") if key in entry]
        lines.append("    " + "; ".join(own))
    lines += [f"    fields {settings}"] if settings else []
    lines += [f"    papers {', '.join(entry['papers'])}"] if entry["papers"] else []
    return "\n".join(lines)


def _class_facts(member: Any) -> dict[str, str]:
    required = [f.name for f in fields.settings(member) if f.default is _MISSING]
    if required:
        return dict.fromkeys(_FACTS, "as the class it is given")
    task = member()
    kind = task.bayes_kind
    return {
        "target": task.y_space.kind,
        "bayes": kind.kind + (f" ({kind.detail})" if kind.detail else ""),
        "references": ", ".join(name for name, reason in references.explain(task).items() if reason is None),
        "tests": ", ".join(_tests(member.name)),
    }


def _mixer_facts(member: Any) -> dict[str, str]:
    """Of one layer of width 64 with 8 heads for 82 tokens."""
    from icl import ranking
    from icl.models.mixers.base import Place

    parameters, state = ranking.sizes(member(), Place(64, 8, 4, 82))
    sizes = {"parameters": f"{parameters:,}", "state": f"{state:,} bytes"}
    return sizes | {"cost": member.cost, "expected": member.expected}


def _model_facts(member: Any) -> dict[str, str]:
    """Of the learner with its defaults on `linear-regression`."""
    import equinox as eqx
    import jax

    from function_classes.base import get
    from icl.layouts import Signature
    from icl.models.base import ModelConfig

    task = get("linear-regression")
    config: ModelConfig = member(layout=member.usual_layout(Signature.of(task)))
    if config.refuses(task):
        return {"parameters": "those of the module"}
    shapes = eqx.filter_eval_shape(lambda key: config.make(task, key=key), jax.random.key(0))
    leaves = jax.tree.leaves(eqx.filter(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)))
    return {"parameters": f"{sum(leaf.size for leaf in leaves):,}"}


FACTS: dict[str, Callable[[Any], dict[str, str]]] = {
    "function-classes": _class_facts,
    "mixers": _mixer_facts,
    "models": _model_facts,
}


def _tests(name: str) -> list[str]:
    """The files of a checkout that test a class: the contract of all classes, and those that name it."""
    folder = Path(__file__).parents[2] / "tests" / "function_classes"
    made = [file.name for file in sorted(folder.glob("test_*.py")) if f'"{name}"' in file.read_text("utf-8")]
    return ["test_contract.py", *(file for file in made if file != "test_contract.py")]


def _first_line(member: Any) -> str:
    return " ".join((member.__doc__ or "").split("\n\n")[0].split())


def _plain(value: Any) -> Any:
    if isinstance(value, fields.Fields):
        return value.name or "..."
    return plain.dump(value)


if __name__ == "__main__":
    print(markdown(), end="")
