"""What a run has where nothing was said: its optimizer's rate, a warmup that fits its steps, the usual layout.

Such values depend on other settings, so they are written down in every configuration and derived anew whenever one is
changed. A configuration made from settings remembers which of these values were typed, and those stay. Of one that was
read from disk nothing is known but its values: there a value that the rule would give counts as derived. Who typed
Muon's own rate, and forks that run with another optimizer, therefore gets that optimizer's rate, as one who typed none
does; whoever means to keep it names it again. The other reading, that all of a stored configuration was typed, would
leave every fork and sweep over a stored run with a rate and a warmup that nobody chose for it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from function_classes import fields, plain
from function_classes.base import FunctionClass
from function_classes.fields import ConfigError
from icl.layouts import Signature
from icl.models.base import ModelConfig
from icl.models.transformer import Transformer
from icl.training.optimizers import Muon, Optimizer
from icl.training.schedules import Schedule, WarmupStableDecay

USUAL_STEPS = 6800


def complete(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with every derived value that it lacks. Parts that are no configuration are left to be reported."""
    model, training = _section(tree.get("model", {})), _section(tree.get("training", {}))
    if model is None or training is None:
        return dict(tree)
    model, training = {"name": Transformer.name, **model}, dict(training)
    tree = {**tree, "model": model, "training": training}
    if training.get("learning_rate") is None and (rate := _rate(tree)) is not None:
        training["learning_rate"] = rate
    schedule = _section({} if training.get("schedule") is None else training["schedule"])
    if schedule is not None and "warmup" not in schedule and (warmup := _warmup(tree)) is not None:
        training["schedule"] = {"name": WarmupStableDecay.name, **schedule, "warmup": warmup}
    layout = model.get("layout", {})
    if isinstance(layout, Mapping) and "name" not in layout and (usual := _layout(tree)) is not None:
        model["layout"] = usual | dict(layout)
    return tree


def stated(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A complete tree without the values that the rule gives."""
    tree = {name: dict(part) if isinstance(part, Mapping) else part for name, part in tree.items()}
    for path, rule in RULES.items():
        *parents, last = path.split(".")
        above: Any = tree
        for parent in parents:
            above = above.get(parent) if isinstance(above, Mapping) else None
        if isinstance(above, Mapping) and last in above and above[last] == rule(tree):
            kept = {name: value for name, value in above.items() if name != last}
            if len(parents) == 1:
                tree[parents[0]] = kept
            else:
                tree[parents[0]] = tree[parents[0]] | {parents[1]: kept}
    return tree


def name_of(value: Any) -> Any:
    """Which member of a family a tree chooses: by its name alone, or by the name among its settings."""
    return value.get("name") if isinstance(value, Mapping) else value


def _section(value: Any) -> dict[str, Any] | None:
    """A part of a tree as a mapping; None where it cannot be one."""
    if isinstance(value, str):
        return {"name": value}
    return dict(value) if isinstance(value, Mapping) else None


def _rate(tree: Mapping[str, Any]) -> float | None:
    """The optimizer's default."""
    optimizer = name_of(tree["training"].get("optimizer")) or Muon.name
    known = isinstance(optimizer, str) and optimizer in Optimizer.registry
    return Optimizer.registry.find(optimizer).default_rate if known else None


def _warmup(tree: Mapping[str, Any]) -> int | None:
    """A twentieth of the steps where the usual warmup would be a quarter of them or more."""
    chosen = name_of(tree["training"].get("schedule")) or WarmupStableDecay.name
    if not isinstance(chosen, str) or chosen not in Schedule.registry:
        return None
    if Schedule.registry.find(chosen) is not WarmupStableDecay:
        return None
    try:
        steps = fields.coerce(int, tree["training"].get("steps", USUAL_STEPS))
    except ConfigError:
        return None
    usual = WarmupStableDecay().warmup
    return max(steps // 20, 0) if steps <= 4 * usual else usual


def _layout(tree: Mapping[str, Any]) -> dict[str, Any] | None:
    """What models of this kind have for prompts of this kind."""
    try:
        task = fields.coerce(FunctionClass, tree["task"])
        return plain.dump(ModelConfig.registry.find(tree["model"]["name"]).usual_layout(Signature.of(task)))
    except ConfigError:
        return None  # problems of the task or the model are reported with everything else


RULES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "model.layout": _layout,
    "training.learning_rate": _rate,
    "training.schedule.warmup": _warmup,
}
"""Every derived value, and what it is for a tree whose model and training are mappings."""
