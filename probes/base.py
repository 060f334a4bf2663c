"""What a probe is, and what it returns: numbers with named axes, units and intervals, a picture, a decision rule."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import Fields
from function_classes.registry import Registry
from function_classes.spaces import Real
from icl import doors, style
from icl.models import Learner
from icl.runs import atomic
from icl.tables import COLUMNS, Table

# Positive values that span more than this factor are drawn on a logarithmic axis.
WIDE = 30.0
# Prompts of a probe: fewer make no interval.
FEWEST = 8


class ProbeResult:
    """What a probe measured. `table` is in the one long schema; `arrays` hold raw values, with their `axes` by name.

    `answer` is a sentence with numbers; `decision` is what the rule came to, in a few words that programs compare: the
    error rates of `probes.controls` are of decisions. It is empty for a probe that decides nothing.
    """

    def __init__(
        self,
        name: str,
        question: str,
        rule: str,
        answer: str,
        table: Table,
        arrays: dict[str, np.ndarray],
        axes: dict[str, tuple[str, ...]],
        decision: str = "",
    ):
        for key, array in arrays.items():
            if len(axes[key]) != np.ndim(array):
                raise ValueError(f"{key} has {np.ndim(array)} axes, named are {axes[key]}")
        self.name, self.question, self.rule, self.answer = name, question, rule, answer
        self.long, self.arrays, self.axes, self.decision = table, arrays, axes, decision

    def undecided(self) -> "ProbeResult":
        """The same numbers of a probe whose rule is wrong, or cannot tell, too often to decide."""
        why = "numbers alone: on learners that are known its rule is wrong or cannot tell too often, docs/controls.md"
        answer = f"{self.answer} ({why}; it decides nothing)"
        said = self.name, self.question, self.rule, answer
        return ProbeResult(*said, self.long, self.arrays, self.axes)

    def table(self) -> Table:
        return self.long

    def summary(self) -> str:
        """Question, answer and the rule by which it was decided."""
        return f"{self.question}\n{self.answer}\n(rule: {self.rule})"

    def to_json(self) -> str:
        meta = {"name": self.name, "question": self.question, "rule": self.rule, "answer": self.answer}
        meta |= {"decision": self.decision}
        axes = {key: list(names) for key, names in self.axes.items()}
        return json.dumps(meta | {"axes": axes, "table": json.loads(self.long.to_json())})

    def plot(self) -> Any:
        """The picture of the probe that measured this: by default every metric over positions. A matplotlib figure."""
        known = self.name in Probe.registry
        return Probe.registry.find(self.name).draw(self) if known else self.over_positions()

    def over_positions(self) -> Any:
        """Every metric over positions, one panel each, with 95 % intervals. Returns a matplotlib figure."""
        metrics = list(dict.fromkeys(self.long["metric"].tolist()))
        with style.styled() as plt:
            figure, axes = plt.subplots(1, len(metrics), figsize=(3.6 * len(metrics) + 1.6, 3.2), squeeze=False)
            for axis, metric in zip(axes[0], metrics, strict=True):
                rows = self.long.where(metric=metric)
                for name in dict.fromkeys(rows["predictor"].tolist()):
                    one = rows.where(predictor=name)
                    kept = one["position"] >= 0
                    k, value, low, high = (one[c][kept] for c in ("position", "value", "low", "high"))
                    look = style.line(name)
                    axis.plot(k, value, label=name, **look)
                    axis.fill_between(k, low, high, color=look["color"], alpha=0.15, linewidth=0)
                unit = rows["normalization"][0]
                axis.set(xlabel="examples seen, k", ylabel=f"{metric.replace('_', ' ')} ({unit.replace('_', ' ')})")
                if np.nanmin(rows["value"]) > 0 and np.nanmax(rows["value"]) > WIDE * np.nanmin(rows["value"]):
                    axis.set_yscale("log")
                axis.xaxis.get_major_locator().set_params(integer=True)
            axes[0, 0].set_title(self.name)
            handles: dict[str, Any] = {}
            for axis in axes[0]:
                handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
            figure.legend(handles.values(), handles.keys(), loc="outside right center")
            return figure

    def save(self, directory: str | Path) -> Path:
        """Writes result.json, arrays.npz, table.csv and the picture; `load` reads them back without pickle."""
        directory = Path(directory)
        atomic.make_directory(directory)
        with atomic.storage(directory, "write the probe to"):
            arrays: dict[str, Any] = dict(self.arrays)
            np.savez(directory / "arrays.npz", **arrays)
            self.long.to_csv(directory / "table.csv")
            style.save(self.plot(), directory / self.name, origin=f"probe {self.name}")
        atomic.write_atomic(directory / "result.json", (self.to_json() + "\n").encode())
        return directory


def load(directory: str | Path) -> ProbeResult:
    """A saved result. Executes nothing that is in the files."""
    directory = Path(directory)
    meta = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    with np.load(directory / "arrays.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    columns = {key: [np.nan if v is None else v for v in values] for key, values in meta["table"]["columns"].items()}
    table = Table({key: columns[key] for key in COLUMNS}, meta["table"]["found"], meta["table"]["notes"])
    axes = {key: tuple(names) for key, names in meta["axes"].items()}
    # Results that were saved before there were decisions have none.
    said = meta["answer"], table, arrays, axes, meta.get("decision", "")
    return ProbeResult(meta["name"], meta["question"], meta["rule"], *said)


class Probe(Fields):
    """A measurement on a predictor. Calling it on a run uses the run's model and class; any other predictor needs
    `task`. Raises NotAvailable where the probe makes no sense, with the reason."""

    registry: ClassVar[Registry] = Registry("probe", "probes", "icl.probes")
    question: ClassVar[str] = ""
    rule: ClassVar[str] = ""
    # False where the error rates in docs/controls.md are too high: then a result has numbers and no decision.
    decides: ClassVar[bool] = True

    @classmethod
    def draw(cls, result: ProbeResult) -> Any:
        """The picture of a result, from its table and arrays alone: results that were saved are drawn too."""
        return result.over_positions()

    def refuses(self, task: FunctionClass) -> str | None:
        """None, or why this probe cannot be used on predictors of such a class."""
        return None

    def lacks(self, predictor: Any) -> str | None:
        """None, or what this probe needs that the predictor does not have."""
        return None

    def reason(self, predictor: Any, task: FunctionClass) -> str | None:
        """None, or why this probe cannot measure this predictor on this class; nothing is computed."""
        return self.refuses(task) or self.lacks(predictor)

    def measure(self, predictor: Any, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> ProbeResult:
        raise NotImplementedError

    def __call__(
        self, subject: Any, *, key: PRNGKeyArray, task: FunctionClass | None = None, prompts: int = 256
    ) -> ProbeResult:
        task = getattr(subject, "task", None) if task is None else task
        if task is None:
            raise NotAvailable(f"{self.name}: give task=..., since {type(subject).__name__} is no run")
        doors.key(key)
        prompts, task = doors.count(prompts, "prompts", FEWEST), doors.task(task)
        predictor = doors.predictor(subject, task)
        reason = self.reason(predictor, task)
        if reason is not None:
            raise NotAvailable(f"{self.name}: {reason}")
        result = self.measure(predictor, task, key, prompts)
        return result if self.decides else result.undecided()


def vectors_to_a_number(task: FunctionClass, without: str) -> str | None:
    """None where inputs are vectors and every example has one real output; else why not, ending with what such a class
    has no notion of."""
    vectors = isinstance(task.x_space, Real) and len(task.x_space.shape) == 1
    if vectors and task.y_space == Real() and task.steps == 1:
        return None
    return f"needs vectors in and a number out, and {task.name} has {without}; try it on linear-regression"


def trained_positions(predictor: Any, points: int) -> np.ndarray:
    """The positions at which a learner is trained: the last alone where its layout asks one query. All of any other."""
    trained = predictor.trained(points) if isinstance(predictor, Learner) else None
    return np.arange(points) if trained is None else np.flatnonzero(trained)
