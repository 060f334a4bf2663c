"""Which algorithm is a predictor? An estimate with an interval, not a name.

For each continuous family of references (ridge by penalty, gradient descent by steps, ...) the member at the least mean
distance |predictor - member|^2 (numbers) or KL(predictor || member) (symbols and signs), over prompts and positions.
Families overlap: with enough steps early-stopped gradient descent is almost ridge. So a family is always named with its
complexity and its distance, and everything that cannot be told apart at this number of prompts is listed.

Distances are cut at ten null risks of their position, as in `icl.evaluation`, for all references alike.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from function_classes.spaces import Space, Symbols
from icl import better, doors
from icl.errors import CALIBRATION, chunks, is_oracle, run, settle
from icl.evaluation import CLIP, normalize
from icl.programs import compiled, draw
from icl.references import Reference, explain, names, standard
from icl.resampling import Interval, apply, limits, mean_interval, resamples, weighted
from icl.scoring import categorical, divergence, null_error, score, weights
from icl.tables import Table

RESOLUTION = 1e-6
"""Distances that differ by less than this share of the null risk are float32 rounding, not evidence."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """The best member of one family. `edge` is low or high where the grid ends before the distance rises again;
    `bayes` is the parameter of the Bayes predictor where it belongs to the family."""

    family: str
    parameter: Interval
    distance: Interval
    edge: str | None
    bayes: float | None
    words: str
    whole: bool

    @property
    def label(self) -> str:
        return self.words.format(self._text(self.parameter.value))

    def sentence(self) -> str:
        """The member with the interval of its parameter, and where Bayes is."""
        if self.edge:
            more = f"the {'most' if self.edge == 'high' else 'least'} that was tried"
        else:
            more = f"95% {self._text(self.parameter.low)}-{self._text(self.parameter.high)}"
        bayes = "" if self.bayes is None else f"; Bayes is {self._text(self.bayes)}"
        return f"{self.label} ({more}{bayes})"

    def _text(self, value: float) -> str:
        return f"{round(value)}" if self.whole else f"{value:.3g}"


@dataclasses.dataclass(frozen=True)
class Identification:
    """What `identify` found. Distances are divided as `normalization` says; `distances` has every standard reference,
    Bayes where the class has it, and the best member of every family. `finding` says that the predictor is better than
    exact Bayes, which nobody is (`icl.better`)."""

    families: tuple[Fit, ...]
    distances: dict[str, Interval]
    nearest: str
    alike: tuple[str, ...]
    normalization: str
    prompts: int
    not_applicable: dict[str, str]
    finding: str | None = None

    def sentence(self) -> str:
        """One plain sentence: what is closest, what the families say, what cannot be told apart."""
        units = {
            "per_dim": " per dim",
            "per_null": " null risks",
            "nats": " nats",
            "per_character": " nats a character",
        }
        unit = units.get(self.normalization, "")
        fits = {fit.label: fit for fit in self.families}
        first = fits[self.nearest].sentence() if self.nearest in fits else self.nearest
        parts = [f"closest to {first}, distance {self.distances[self.nearest].value:.2g}{unit}"]
        others = sorted((f for f in self.families if f.label != self.nearest), key=lambda f: f.distance.value)
        parts += [f"as {fit.sentence()}, distance {fit.distance.value:.2g}" for fit in others]
        if not self.families:
            reasons = "; ".join(sorted(set(self.not_applicable.values())))
            parts.append(f"no continuous family of references applies here ({reasons})")
        parts.append(f"cannot be told apart from: {', '.join(self.alike) if self.alike else 'nothing else'}")
        parts += [] if self.finding is None else [self.finding]
        return "; ".join(parts) + f" ({self.prompts} prompts)."

    __str__ = sentence

    def to_json(self) -> str:
        """Everything as JSON text."""
        content = dataclasses.asdict(self) | {"sentence": self.sentence()}
        return json.dumps(content, allow_nan=False)

    def table(self) -> Table:
        """Rows `distance` for everything compared and `parameter` for the best member of every family."""
        rows = [(name, -1, -1, "distance", self.normalization, *d, self.prompts) for name, d in self.distances.items()]
        rows += [(fit.label, -1, -1, "parameter", "raw", *fit.parameter, self.prompts) for fit in self.families]
        return Table.from_rows(rows, notes=(self.sentence(),))


def identify(
    predictor: Any, task: FunctionClass | None = None, *, key: PRNGKeyArray, prompts: int = 1024
) -> Identification:
    """Fits every family that applies on the prompts of `task.batch(key, prompts)` and compares all references. Of a
    `Run` the model is identified, without `task` on its own class.

    Parameters: a grid, a finer grid around its best, then a parabola in the logarithm; intervals refit on every
    bootstrap resample of prompts. A reference cannot be told apart from the predictor's nearest when the paired
    bootstrap interval of the difference of their distances reaches 0; there, a member of a family is fitted on one half
    of the prompts and compared on the other, so that having been fitted is no advantage.
    """
    doors.key(key)
    prompts, task = doors.count(prompts, "prompts", doors.FEWEST), doors.of_run(predictor, task)
    subject = settle(predictor, task, key)
    compare = _Comparison(task, key, prompts, subject)
    distances = {name: compare.to(settle(r, task, key)) for name, r in standard(task).items()}
    has_bayes = task.bayes_kind.kind != "none"
    bayes = compare.predictions(task.bayes) if has_bayes else None
    if bayes is not None:
        distances["bayes"] = compare.gap(compare.subject, bayes)
    fits, reasons = [], {name: reason for name, reason in explain(task).items() if reason}
    calibration = jax.random.fold_in(key, CALIBRATION)
    compared = dict(distances)
    for name in names():
        for family in Reference.registry.find(name).families(task):
            if family.applies(task) is None:
                fitted = _fit(family, task, calibration, compare, bayes)
                fits.append(fitted.fit)
                distances[fitted.fit.label], compared[fitted.fit.label] = fitted.distance, fitted.halves
    means = {name: float(values.mean()) for name, values in compared.items()}
    nearest = min(means, key=means.__getitem__)
    alike = [name for name in compared if name != nearest and compare.alike(compared[name], compared[nearest])]
    unit, divisors = normalize(task, compare.null)
    divisor = float(divisors[-1])
    intervals = {name: _divide(mean_interval(values, compare.draws), divisor) for name, values in distances.items()}
    fits = [dataclasses.replace(fit, distance=_divide(fit.distance, divisor)) for fit in fits]
    finding = None
    if bayes is not None and task.bayes_kind.exact and not is_oracle(subject):
        losses = score(compare.subject, compare.batch, bayes, task.y_space, task.steps)
        finding = better.of_losses(losses, compare.weight, np.asarray(compare.clip) / CLIP, task.y_space)
    return Identification(tuple(fits), intervals, nearest, tuple(alike), unit, prompts, reasons, finding)


class Fitted(NamedTuple):
    """The best member of a family with what its interval comes from: the parameter on every resample of the prompts,
    the distance (prompt,), and that distance where each half of the prompts is compared with the other half's fit."""

    fit: Fit
    drawn: Float[np.ndarray, "R"]
    distance: Float[np.ndarray, "N"]
    halves: Float[np.ndarray, "N"]


def best_member(
    predictor: Predictor, task: FunctionClass, family: Reference, *, key: PRNGKeyArray, prompts: int = 1024
) -> Fitted:
    """The best member of one family, as `identify` fits it. Raises NotAvailable where the family does not apply.

    Two predictors with the same key, class and number of prompts share prompts and resamples.
    """
    reason = family.applies(task)
    if reason:
        raise NotAvailable(reason)
    compare = _Comparison(task, key, prompts, settle(predictor, task, key))
    bayes = compare.predictions(task.bayes) if task.bayes_kind.kind != "none" else None
    return _fit(family, task, jax.random.fold_in(key, CALIBRATION), compare, bayes)


class _Comparison:
    """Distances per prompt on one set of prompts: sums over positions of weighted, clipped distances, divided by the
    mean weight of a prompt."""

    def __init__(self, task: FunctionClass, key: PRNGKeyArray, prompts: int, subject: Predictor):
        self.task, self.key, self.prompts = task, key, prompts
        self.batch = draw(task, key, 0, prompts).hide()
        self.draws = resamples(prompts)
        self.weight, null = (np.asarray(a) for a in _weigh(self.batch, task.y_space, task.steps))
        total = self.weight.sum(0)
        risk = (self.weight * null).sum(0) / np.where(total > 0, total, 1)
        self.null = float((total * risk).sum() / total.sum())
        self.clip = jax.numpy.asarray(CLIP * risk, jax.numpy.float32)
        self.subject = self.predictions(subject)

    def predictions(self, predictor: Predictor) -> Prediction:
        parts = [run(predictor, batch) for batch in chunks(self.task, self.key, self.prompts)]
        return jax.tree.map(lambda *leaves: jax.numpy.concatenate(leaves)[: self.prompts], *parts)

    def to(self, predictor: Predictor) -> np.ndarray:
        return self.gap(self.subject, self.predictions(predictor))

    def gap(self, a: Prediction, b: Prediction) -> np.ndarray:
        cut = np.asarray(_gap(a, b, self.clip, self.task.y_space, self.task.steps))
        return weighted(self.weight, cut).sum((1, 2)) / self.weight.sum((1, 2)).mean()

    def alike(self, distance: np.ndarray, nearest: np.ndarray) -> bool:
        low, _ = limits(apply(self.draws, distance - nearest))
        return bool(low <= RESOLUTION * self.null)


@compiled
def _gap(a: Prediction, b: Prediction, clip: Float[Array, "P S"], space: Space, steps: int) -> Float[Array, "B P S"]:
    return jax.vmap(lambda p, q: jax.numpy.minimum(divergence(p, q, space, steps), clip))(a, b)


@compiled
def _weigh(batch: Prompt, space: Space, steps: int) -> tuple[Float[Array, "B P S"], Float[Array, "B P S"]]:
    def one(prompt: Prompt) -> tuple[Array, Array]:
        weight = weights(prompt, steps)
        if not categorical(space):
            return weight, null_error(prompt, steps)
        choices = math.log(space.n if isinstance(space, Symbols) else 2) * math.prod(space.shape)
        return weight, jax.numpy.full(weight.shape, choices)

    return jax.vmap(one)(batch)


def _fit(
    family: Reference, task: FunctionClass, key: PRNGKeyArray, compare: _Comparison, bayes: Prediction | None
) -> Fitted:
    path = family.family_path(task, key, compare.batch)
    values = family.family_values(task)
    whole = all(isinstance(value, int) for value in values)
    coarse = path(values)

    def best(target: Prediction, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = np.stack([compare.gap(target, member) for member in coarse], 1)
        lowest = np.argmin(apply(draws, first), 1)
        fine = _between(values, int(lowest.min()), int(lowest.max()), whole)
        second = np.stack([compare.gap(target, member) for member in path(fine)], 1)
        return _valley(np.log(np.asarray(fine, float)), apply(draws, second)), lowest

    def settled(place: float) -> float:
        return round(float(np.exp(place))) if whole else float(np.exp(place))

    every = np.full((1, compare.prompts), 1 / compare.prompts, np.float32)
    first_half = np.arange(compare.prompts) < compare.prompts // 2
    splits = np.stack([~first_half, first_half]).astype(np.float32)
    drawn, lowest = best(compare.subject, np.concatenate([every, splits, compare.draws]))
    parameter = Interval(*(float(np.exp(v)) for v in (drawn[0], *limits(drawn[3:]))))
    members = path([settled(place) for place in drawn[:3]])
    distance, *others = (compare.gap(compare.subject, member) for member in members)
    halves = np.where(first_half, *others)
    edge = {0: "low", len(values) - 1: "high"}.get(int(lowest[0]))
    at_edge = edge and not values[0] * 1.001 < parameter.value < values[-1] * 0.999
    of_bayes = None
    if bayes is not None:
        candidate = settled(best(bayes, every)[0][0])
        if compare.gap(bayes, path([candidate])[0]).mean() < RESOLUTION * compare.null:
            of_bayes = float(candidate)
    fit = Fit(
        family.name,
        parameter,
        mean_interval(distance, compare.draws),
        edge if at_edge else None,
        of_bayes,
        family.family_words,
        whole,
    )
    return Fitted(fit, np.exp(drawn[3:]), distance, halves)


def _between(values: Sequence[float], first: int, last: int, whole: bool) -> list[float]:
    """A finer grid from the neighbor below `first` to the one above `last`."""
    low, high = values[max(first - 1, 0)], values[min(last + 1, len(values) - 1)]
    fine = np.geomspace(low, high, 13)
    return sorted({round(v) for v in fine}) if whole else [float(v) for v in fine]


def _valley(places: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The place of the minimum of each row of losses (R, G), by the parabola through the lowest and its neighbors."""
    if len(places) < 3:
        return places[np.argmin(losses, 1)]
    middle = np.clip(np.argmin(losses, 1), 1, len(places) - 2)
    rows = np.arange(len(losses))
    x0, x1, x2 = (places[middle + shift] for shift in (-1, 0, 1))
    y0, y1, y2 = (losses[rows, middle + shift].astype(float) for shift in (-1, 0, 1))
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    curved = right - left > 0
    vertex = (x0 + x1) / 2 - left * (x2 - x0) / 2 / np.where(curved, right - left, 1)
    return np.clip(np.where(curved, vertex, places[np.argmin(losses, 1)]), x0, x2)


def _divide(interval: Interval, divisor: float) -> Interval:
    return Interval(*(number / divisor for number in interval))
