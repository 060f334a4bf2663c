"""The configuration of a run: built once, strict, frozen, and the source of the run's identity.

Paths are the same in the shell (`--set training.batch=128`), in TOML and in `Config.create(..., **{"training.batch":
128})`. Order: registry choice or preset, its defaults, TOML, then settings in the order given.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from function_classes import fields, plain
from function_classes.base import FunctionClass
from function_classes.fields import ConfigError, Fields, Problem, nearest, setting
from function_classes.origins import Origin
from function_classes.problems import NESTING, shown, too_deep
from icl import custom, deriving, identity, presets
from icl.deriving import name_of as name_of
from icl.layouts import Layout, Signature
from icl.models.base import ModelConfig
from icl.models.heads import HeadConfig
from icl.models.mixers import MixerConfig
from icl.models.transformer import Transformer
from icl.references.base import Reference
from icl.runs.cadence import Cadence
from icl.training.curriculum import Curriculum
from icl.training.optimizers import Muon, Optimizer
from icl.training.schedules import Schedule, WarmupStableDecay, check_warmup

MOST_VISIBLE = 2**31
"""Entries of a layout's mask of what tokens see."""


class Training(Fields):
    """How the weights are found."""

    steps: int = setting(deriving.USUAL_STEPS, "optimizer steps", at_least=0)
    batch: int = setting(64, "fresh prompts per step", at_least=1)
    optimizer: Optimizer = setting(Muon(), "direction of a step")
    learning_rate: float | None = setting(None, "peak learning rate; none: the optimizer's default", above=0)
    schedule: Schedule = setting(WarmupStableDecay(), "factor on the learning rate")
    clip: float | None = setting(None, "largest global norm of the gradient; none: not clipped", above=0)
    curriculum: Curriculum = setting(Curriculum(), "sizes that grow during training")
    teacher: Reference | None = setting(None, "reference to imitate in place of the labels; none: learn the labels")
    accumulate: int = setting(
        1, "parts a batch is split into, one after another, to save memory", at_least=1, science=False
    )
    remat: bool = setting(
        False, "compute every block again for its gradient, to save memory at a third more work", science=False
    )
    checkpoint_every: str = setting("log:20", "steps at which to keep a checkpoint: 500, log:40, 'none'", science=False)
    save_minutes: float | None = setting(
        10.0, "minutes between stored states that replace one another; none: no such states", above=0, science=False
    )
    log_every: int = setting(100, "steps between rows of metrics.jsonl", at_least=1, science=False)
    validation_prompts: int = setting(
        256, "fixed prompts for the excess shown while training", at_least=1, science=False
    )

    def problems(self):
        if self.batch % self.accumulate:
            yield Problem("accumulate", f"must divide training.batch = {self.batch}, got {self.accumulate}")
        try:
            Cadence.parse(self.checkpoint_every)
        except ValueError as error:
            yield Problem("checkpoint_every", str(error))
        yield from check_warmup(self.schedule, self.steps)


class Evaluation(Fields):
    """What the report measures. Never part of a run's identity."""

    prompts: int = setting(1024, "prompts of the final table", at_least=2, science=False)
    references: Literal["standard", "none"] = setting("standard", "which references the report draws", science=False)


class Config(Fields):
    """Everything that determines a run."""

    # What it was made from, before anything was derived. Beside the fields: equality and identity know nothing of it.
    __slots__ = ("_typed",)

    task: FunctionClass
    model: ModelConfig = setting(Transformer(), "the learner")
    training: Training = setting(Training(), "how it is trained")
    evaluation: Evaluation = setting(Evaluation(), "what is measured at the end", science=False)
    seed: int = setting(0, "of weights and prompts", at_least=0, at_most=2**32 - 1)
    origin: str | None = setting(None, "parent run and step of a fork, IDENTITY@STEP")

    def __check_init__(self):
        if isinstance(self.training, Training) and self.training.learning_rate is None:
            object.__setattr__(self, "training", dataclasses.replace(self.training, learning_rate=self.rate))

    def problems(self):
        too_long = self._mask()
        if too_long:
            yield Problem("task.points", too_long)
            return
        for path, message in self.model.refuses(self.task):
            yield Problem(f"model.{path}", message)
        if self.training.remat and not self.model.rematerializes:
            yield Problem("training.remat", f"{self.model.name} has no blocks to compute again; leave remat out")
        teacher = self.training.teacher
        reason = None if teacher is None else teacher.applies(self.task)
        if reason:
            yield Problem("training.teacher", reason)
        for problem in self.training.curriculum.refuses(self.task):
            yield Problem(f"training.curriculum.{problem.path}", problem.message)
        layout, signature = self.model.layout, Signature.of(self.task)
        if self.training.curriculum.points_start is not None and layout.predicted(1, signature) is not None:
            message = f"layout {layout.name!r} predicts the last position alone, so points cannot grow; "
            yield Problem("training.curriculum.points_start", message + "use --set model.layout.query=every")

    def _mask(self) -> str | None:
        """Why a layout's mask is too large: asked first, since it is made before anything else is refused."""
        points, layout = self.task.points, self.model.layout
        if type(layout).visible is Layout.visible:
            return None
        length = layout.length(points, Signature.of(self.task))
        if length**2 <= MOST_VISIBLE:
            return None
        words = f"{points} points in layout {layout.name!r} need a mask of {length} x {length} tokens, and at most "
        return f"{words}{MOST_VISIBLE} entries are made; take layout paired, shifted or interleaved"

    @classmethod
    def create(cls, task: Any = None, /, *, preset: str | None = None, **settings: Any) -> "Config":
        """A configuration from a class name (or instance) and settings, by path or by the bare name of a field.

        `Config.create("linear-regression", depth=4, noise_std=0.1, **{"training.optimizer": "adam"})`.
        Raises ConfigError with all problems at once.
        """
        tree: dict[str, Any] = presets.find(preset) if preset else {}
        if task is not None:
            value = plain.dump(custom.named(task)) if isinstance(task, FunctionClass) else task
            given = {"name": value} if isinstance(value, str) else dict(value)
            if tree.get("task", {}).get("name") != given["name"]:
                tree["task"] = given
            else:
                tree["task"] = tree["task"] | given
        return cls.from_tree(tree, settings)

    @classmethod
    def from_tree(
        cls, tree: Mapping[str, Any], settings: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()
    ) -> "Config":
        """A configuration from nested plain values (as in TOML) and settings applied on top, in order."""
        if too_deep(tree):
            raise ConfigError([Problem("", "settings are nested too deep, or in themselves")])
        values: dict[str, Any] = _plain(tree)
        # Only what was dumped names an origin: there nobody can tell which values were typed.
        return cls._build(deriving.stated(values) if "origin" in values else values, settings)

    @classmethod
    def _build(cls, values: dict[str, Any], settings: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> "Config":
        if name_of(values.get("task")) is None:
            raise ConfigError([Problem("task.name", "missing: which function class? (icl list function-classes)")])
        pairs = list(settings.items()) if isinstance(settings, Mapping) else list(settings)
        problems: list[Problem] = []
        for path, value in pairs:
            try:
                if too_deep(value) or path.count(".") > NESTING:
                    raise ConfigError([Problem(shown(path), "is nested too deep, or in itself")])
                _place(values, resolve(path, values), _plain(value))
            except ConfigError as error:
                problems += error.problems
        try:
            config = fields.build(cls, deriving.complete(values))
        except ConfigError as error:
            raise ConfigError([*problems, *error.problems]) from None
        if problems:
            raise ConfigError(problems)
        object.__setattr__(config, "_typed", values)
        return config

    def dump(self) -> dict[str, Any]:
        """Plain JSON values from which `Config.from_tree` makes an equal configuration."""
        return plain.dump(self)

    @property
    def identity(self) -> str:
        """Hash of the scientific fields, the seed, the component versions and, where it is not the device's own, the
        precision of matrix products that JAX is set to: 16 hexadecimal digits."""
        return identity.of(self)

    def identity_as(self, recorded: Mapping[str, Any]) -> str:
        """The identity of a run that was written down as this tree says, by an earlier version perhaps."""
        return identity.of(self, recorded)

    @property
    def origins(self) -> dict[str, Origin]:
        """Name -> where it came from, of everything in the configuration that is no part of this package."""
        return dict(identity.origins(self))

    def change(self, **settings: Any) -> "Config":
        """The same configuration with some settings changed, by path or bare name. What was derived from others is
        derived anew (`icl.deriving`)."""
        typed = getattr(self, "_typed", None)
        return self.from_tree(self.dump(), settings) if typed is None else self._build(_plain(typed), settings)

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        rate = self.training.learning_rate
        return type(self.training.optimizer).default_rate if rate is None else rate


SECTIONS = ("task", "model", "training", "training.curriculum", "evaluation")


def sections(tree: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Dataclass fields by section, for the choices of task and model made in the tree."""
    chosen = {"task": name_of(tree.get("task")), "model": name_of(tree.get("model")) or "transformer"}
    found = []
    for section, family in (("task", FunctionClass), ("model", ModelConfig)):
        try:
            found.append(family.registry.find(chosen[section]))
        except ConfigError as error:
            raise error.under(section) from None
    classes = (*found, Training, Curriculum, Evaluation)
    return {s: {f.name: f for f in fields.settings(c)} for s, c in zip(SECTIONS, classes, strict=True)}


def resolve(word: str, tree: Mapping[str, Any]) -> str:
    """The path of a setting: a path as it is, or one that begins with the bare name of a field of the task, the model
    or the training (`teacher.penalty`). A name that several of them have must be written as a path."""
    word = word.replace("-", "_")
    name, dot, below = word.partition(".")
    if name in ("seed", "origin", "task", "model", "training", "evaluation"):
        return word
    known = sections(tree)
    paths = [f"{section}.{name}" for section, names in known.items() if name in names]
    if len(paths) == 1:
        return paths[0] + dot + below
    if paths:
        raise ConfigError([Problem(word, f"is a field of several parts; write {' or '.join(paths)}")])
    everything = ["seed", *(name for names in known.values() for name in names)]
    raise ConfigError([Problem(word, f"unknown setting{_elsewhere(name) or nearest(word, everything)}")])


def _elsewhere(name: str) -> str:
    """Which other choice has a field of this name, and what to write; empty where none has."""
    below = "; write it as a path, --set {}.{}=..."
    homes = (
        (ModelConfig, "model", "; choose one, say --model {0}"),
        (MixerConfig, "mixer", below.format("model.mixer", name)),
        (HeadConfig, "head", below.format("model.head", name)),
        (Optimizer, "optimizer", below.format("training.optimizer", name)),
        (Schedule, "schedule", below.format("training.schedule", name)),
    )
    for family, kind, instead in homes:
        members = family.registry.names()
        having = [n for n in members if name in {f.name for f in fields.settings(family.registry.find(n))}]
        if having:
            return f"; it belongs to {kind} {' or '.join(having)}{instead.format(having[0])}"
    return ""


def _plain(value: Any) -> Any:
    """A copy, down to the values; configuration objects as what they are dumped to."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return plain.dump(value) if isinstance(value, Fields) else value


def _place(tree: dict[str, Any], path: str, value: Any) -> None:
    """Sets a nested value. Naming another member of a family replaces it; its own fields then start from defaults."""
    *parents, last = path.split(".")
    for parent in parents:
        below = tree.setdefault(parent, {})
        if isinstance(below, str):
            below = tree[parent] = {"name": below}
        if not isinstance(below, dict):
            raise ConfigError([Problem(path, f"{parent} has no settings below it")])
        tree = below
    known = tree.get("name")
    # A dumped name of code from elsewhere has its hash, which nobody types.
    if last == "name" and value != known and not (isinstance(known, str) and known.startswith(f"{value}@")):
        tree.clear()
    tree[last] = value
