"""What does a predictor do where its training law ends? Garg et al. 2022, section 4, with both Bayes predictors.

Every registered shift, some at a second strength, and prompts twice as long. References keep the numbers that were
settled on the training law, and `bayes of training` its prior: neither they nor the model were told of the shift.
`bayes` is exact under the shifted law.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from function_classes import shifts
from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import setting
from icl import references
from icl.errors import run, settle
from icl.evaluation import CLIP
from icl.identification import RESOLUTION
from icl.programs import draw
from icl.resampling import mean_intervals, median_limits, resamples
from icl.tables import Table
from probes.base import Probe, ProbeResult, trained_positions, vectors_to_a_number
from probes.pictures import small_multiples

SECOND = ("scale-inputs=0.5", "scale-task=0.5", "label-noise=0")
LONGER, TRAINED = "longer prompts", "training law"
LEFT, SAME = 0.1, 0.01
# Shifts of what is shown, not of the law behind it; `only` asks for them.
OUTSIDE = {"randomized-labels": "changes the labels that are shown, which is another question; ask for it by name"}


@Probe.registry.add("shift-battery", papers=("garg-2022", "zhang-2023"))
class ShiftBattery(Probe):
    """Squared errors are cut at ten null risks of their position under the shift, and divided by its mean null risk."""

    question = "Whose behaviour does the predictor have where inputs, noise, tasks or prompt lengths are shifted?"
    rule = (
        "for every shift the reference whose squared distance to the predictor, averaged over trained positions, has "
        "the least median over prompts; those as near whose paired difference from it has a 95 % interval of its "
        "median that reaches down to 1 % of the least; none where the least is above a tenth of that of predicting 0"
    )
    only: tuple[str, ...] = setting((), "shifts such as scale-inputs=2; none named: every registered one")

    def refuses(self, task: FunctionClass) -> str | None:
        return vectors_to_a_number(task, "no linear references to behave like")

    def measure(self, predictor: Any, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> ProbeResult:
        sample, calibration = jax.random.split(key)
        known: dict[str, Any] = {"model": predictor}
        if task.bayes_kind.kind != "none":
            known["bayes of training"] = task.bayes
        known |= {name: settle(r, task, calibration) for name, r in references.standard(task).items()}
        laws, skipped = self.laws(predictor, task)
        draws, rows, said, arrays, alike = resamples(prompts), [], [], {}, []
        for name, law in laws.items():
            exact = {} if law.bayes_kind.kind == "none" or law == task else {"bayes": law.bayes}
            batch = draw(law, sample, 0, prompts)
            members = known | exact
            answers = {
                who: np.asarray(run(one, batch).as_mean(law.y_space), np.float64) for who, one in members.items()
            }
            labels = np.asarray(batch.scores, np.float64)
            risk = np.mean(labels**2, 0)
            bound, unit = CLIP * risk, float(risk.mean())
            for who, answer in answers.items():
                values = np.minimum((answer - labels) ** 2, bound) / unit
                intervals = enumerate(mean_intervals(values, draws))
                rows += [(who, -1, k, name, "per_null", *interval, prompts) for k, interval in intervals]
            own = answers.pop("model")
            at = trained_positions(predictor, law.points)
            gaps = {who: np.minimum((own - o) ** 2, bound)[:, at].mean(1) / unit for who, o in answers.items()}
            arrays[name] = np.stack(list(gaps.values()), 1)
            said.append(f"{name}: {nearest(gaps)}")
            alike.append(near(gaps))
        notes = [f"without {name}: {reason}" for name, reason in skipped.items()]
        if LONGER in laws and getattr(predictor, "max_points", None) is not None:
            notes.append(f"the model's positions past k = {task.points - 1} were never trained")
        answer = "\n".join([*said, *notes])
        axes: dict[str, tuple[str, ...]] = {name: ("prompt", "reference") for name in arrays}
        # `bayes` is another predictor under every shift, so it is nobody's behaviour under all of them.
        everywhere = [who for who in alike[0] if who != "bayes" and all(who in names for names in alike)]
        decision = " or ".join(everywhere) or "no reference under all"
        table = Table.from_rows(rows, notes=notes)
        return ProbeResult(self.name, self.question, self.rule, answer, table, arrays, axes, decision)

    def laws(self, predictor: Any, task: FunctionClass) -> tuple[dict[str, FunctionClass], dict[str, str]]:
        """The class itself and every shifted one by name, and why the others are left out."""
        found, skipped = {TRAINED: task}, {}
        wanted = self.only or tuple(sorted({*(_default(name) for name in shifts.names()), *SECOND}))
        for text in wanted:
            shift = shifts.parse(text)
            if not self.only and shift.name in OUTSIDE:
                skipped[text] = OUTSIDE[shift.name]
                continue
            try:
                law = shift.apply(task)
            except NotAvailable as error:
                skipped[text] = str(error)
            else:
                found |= {} if law == task else {text: law}
        room = getattr(predictor, "max_points", None)
        if self.only:
            return found, skipped
        if room is None or room >= 2 * task.points:
            found[LONGER] = dataclasses.replace(task, points=2 * task.points)
        else:
            skipped[LONGER] = f"the model's positions hold {room} points"
        return found, skipped

    @classmethod
    def draw(cls, result: ProbeResult) -> Any:
        return small_multiples(result.table())


def _default(name: str) -> str:
    shift: Any = shifts.parse(name)
    value = getattr(shift, "value", None)
    return name if value is None else f"{name}={float(value):g}"


def near(gaps: dict[str, np.ndarray]) -> list[str]:
    """The nearest reference and those as near; empty where there is none."""
    first, typical, null = _least(gaps)
    if typical > LEFT * null:
        return []
    low, _ = median_limits(len(gaps[first]))
    same = max(SAME * typical, RESOLUTION)
    others = [who for who in gaps if who not in ("null", first)]
    return [first, *(who for who in others if np.sort(gaps[who] - gaps[first])[low] <= same)]


def nearest(gaps: dict[str, np.ndarray]) -> str:
    """The same as a sentence."""
    first, typical, _ = _least(gaps)
    found = near(gaps)
    if not found:
        return f"none of the references, least far {first} ({typical:.2g} null risks)"
    return f"{first} ({typical:.2g} null risks)" + (f", as near: {', '.join(found[1:])}" if found[1:] else "")


def _least(gaps: dict[str, np.ndarray]) -> tuple[str, float, float]:
    """The reference with the least median distance, that distance, and that of predicting 0."""
    typical = {who: float(np.median(values)) for who, values in gaps.items()}
    first = min((who for who in typical if who != "null"), key=lambda who: typical[who])
    return first, typical[first], typical["null"]
