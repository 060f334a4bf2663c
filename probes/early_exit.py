"""How far has every layer come? Predictions read out after each layer, beside gradient descent and Newton's method.

Two read-outs of the residual stream after layer l: the network's own (its last norm and head, or the y slot of linear
attention: von Oswald et al. 2022 read every loop so), and a refitted one, the least-squares map from the stream to what
should be predicted. Each is matched with t steps of gradient descent, every t at its best rate for every position, and
with t iterations of Newton's method for the inverse (Fu et al. 2023).
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Prompt
from function_classes.fields import as_data, setting
from icl import taps
from icl.evaluation import CLIP
from icl.models import Learner
from icl.programs import compiled
from icl.references.calibration import fold
from icl.references.gradient_descent import STEPS, GradientDescent, decompose
from icl.references.newton import Newton
from icl.resampling import Interval, apply, limits, mean_interval, resamples
from icl.tables import Table
from probes import progress
from probes.base import Probe, ProbeResult, trained_positions, vectors_to_a_number
from probes.pictures import draw_layers
from probes.readout import residual_names

FAMILIES = {"gradient_descent": "steps of gradient descent", "newton": "iterations of Newton's method"}
READINGS = {"own": "the network's own read-out", "refit": "a refitted linear read-out"}


class Match(NamedTuple):
    """How one read-out of the layers 1..L compares with one family: per prompt, layer and member."""

    gaps: Float[np.ndarray, "N L M"]
    members: Float[np.ndarray, "M"]
    size: Float[np.ndarray, "L"]

    def steps(self, draws: np.ndarray) -> list[Interval]:
        """The nearest member of every layer; the ends of its interval refit it on resampled prompts."""
        best = self.members[np.argmin(self.gaps.mean(0), -1)]
        drawn = self.members[np.argmin(apply(draws, self.gaps), -1)]
        low, high = limits(drawn)
        return [Interval(*map(float, ends)) for ends in zip(best, low, high, strict=True)]

    @property
    def least(self) -> Float[np.ndarray, "N L"]:
        """The distance to that member, per prompt."""
        best = np.argmin(self.gaps.mean(0), -1)
        return np.take_along_axis(self.gaps, best[None, :, None], -1)[..., 0]


@Probe.registry.add("early-exit", papers=("akyurek-2022", "von-oswald-2022", "fu-2023"))
class EarlyExit(Probe):
    """The refitted read-out is one map for all positions, like the network's own: per position it would have as many
    numbers as a few hundred prompts can settle, and could do the work of the layers that are still to come."""

    question = "How many steps of gradient descent, or iterations of Newton's method, has every layer reached?"
    rule = (
        "a layer is on a curve where its nearest member leaves at most a tenth of the mean square of its predictions; "
        "layers progress along a curve from the first after which all are on it, if they reach at least two numbers of "
        "steps and go back nowhere, and the changes between members explain four fifths of the squared changes between "
        "layers; below one half they do not, between both it cannot be told; a curve is descent at one rate or "
        "Newton's method at one start and penalty, for all layers and positions; of two curves the one "
        "that is twice as near"
    )
    train: int = setting(512, "prompts that the refitted read-out is fitted on; others score it", at_least=64)
    steps: int = setting(128, "most steps of gradient descent that are tried", at_least=1)
    iterations: int = setting(16, "most iterations of Newton's method that are tried", at_least=1, at_most=24)

    def refuses(self, task: FunctionClass) -> str | None:
        reason = vectors_to_a_number(task, "no steps of descent on a squared error")
        return reason or ("needs at least 3 points" if task.points < 3 else None)

    def lacks(self, predictor: Any) -> str | None:
        network = predictor.network if isinstance(predictor, Learner) else None
        if callable(getattr(network, "read_out", None)):
            return None
        found = type(predictor if network is None else network).__name__
        return (
            f"needs a network that can be read out after every layer, not {found}; try a transformer or attention-only"
        )

    def measure(self, predictor: Any, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> ProbeResult:
        score, train, calibration = jax.random.split(key, 3)
        data, fitting = fold(task, score, prompts), fold(task, train, self.train)
        held, seen = streams(predictor, data.prompts), streams(predictor, fitting.prompts)
        said = {
            "own": np.asarray(predictor.network.read_out(held), np.float64)[..., 0],
            "refit": refit(seen, np.asarray(fitting.target), held),
        }
        members = {
            "gradient_descent": (GradientDescent(), [s for s in STEPS if s <= self.steps]),
            "newton": (Newton.example(task), list(range(self.iterations + 1))),
        }
        known = {
            name: _curve(family, values, task, calibration, data.prompts) for name, (family, values) in members.items()
        }
        labels = np.asarray(data.prompts.ys, np.float64)
        bound, dim = CLIP * np.mean(labels**2, 0), task.x_space.features
        at = np.setdiff1d(trained_positions(predictor, task.points), [0])
        gap = lambda a, b: np.minimum(np.square(a - b), bound)[..., at].mean(-1) / dim  # noqa: E731
        found = {
            (reading, name): Match(
                np.stack([np.stack([gap(layer, other) for other in curve], -1) for layer in layers[1:]], 1),
                np.asarray(values, float),
                np.asarray([gap(layer, 0.0).mean() for layer in layers[1:]]),
            )
            for reading, layers in said.items()
            for name, (values, curve) in known.items()
        }
        errors = {reading: np.stack([gap(layer, labels) for layer in layers], 1) for reading, layers in said.items()}
        draws, reach = resamples(prompts), np.sqrt(bound[at])
        fits = {
            reading: self._fits(progress.clipped(layers[1:][..., at], reach), task, data.prompts, at, reach)
            for reading, layers in said.items()
        }
        answer = "; ".join(f"{words}: {_verdict(fits[reading])}" for reading, words in READINGS.items())
        arrays, axes = _arrays(found, errors)
        table = Table.from_rows(_rows(found, errors, draws, prompts))
        curve = progress.along(fits["own"])
        decision = "cannot tell" if curve is None else " ".join(curve).replace("_", " ") or "neither"
        return ProbeResult(self.name, self.question, self.rule, answer, table, arrays, axes, decision)

    def _fits(
        self, layers: np.ndarray, task: FunctionClass, prompts: Prompt, at: np.ndarray, bound: np.ndarray
    ) -> dict[str, progress.Fit]:
        """The curves of both families that leave least of what the layers say at some positions."""
        modes = decompose(prompts.xs.astype(jnp.float32), prompts.ys.astype(jnp.float32))
        steps = [*range(1, 13), *(s for s in STEPS if 12 < s <= self.steps)]
        numbers: list[int] = list(range(self.iterations + 1))
        example: Any = Newton.example(task)
        starts = itertools.product({0.0, float(example.penalty)}, ("spectral", "frobenius"))

        def curves():
            for penalty, start in starts:
                path = Newton(penalty=penalty, start=start).family_path(task, jax.random.key(0), prompts)
                means = [np.asarray(p.mean, np.float64)[:, at] for p in path(numbers)]
                said = progress.clipped(np.stack([np.zeros_like(means[0]), *means]), bound)
                yield progress.Curve(np.asarray([0, *numbers]), said, f"at penalty {penalty:.2g}")

        descent = progress.descent(layers, modes, [s for s in steps if s <= self.steps], at, bound)
        return {"gradient_descent": descent, "newton": progress.best(layers, curves())}

    @classmethod
    def draw(cls, result: ProbeResult) -> Any:
        return draw_layers(result.table(), READINGS, FAMILIES)


def streams(learner: Learner, batch: Prompt) -> Float[Array, "L N P E"]:
    """The residual stream where prediction k is read, before the first layer and after every layer or loop."""
    points = batch.ys.shape[1]
    names = residual_names(learner, batch)
    # A layout that predicts one position a pass makes a pass for every k, and reads its last token.
    alone = learner.trained(points) is not None
    read = -1 if alone else tuple(map(int, learner.layout.read(points, learner.signature)))
    return jnp.swapaxes(_streams(as_data(learner), batch, tuple(names), read), 0, 1)


@compiled
def _streams(
    learner: Learner, batch: Prompt, names: tuple[str, ...], read: int | tuple[int, ...]
) -> Float[Array, "N L P E"]:
    alone, rows_read = read == -1, np.asarray(read)

    def one(prompt: Prompt) -> Float[Array, "L P E"]:
        _, seen = taps.capture(learner, prompt, at=list(names))
        rows = [seen[name][..., rows_read, :] for name in names]
        # With passes the axis of positions comes first, then that of loops.
        stacked = [jnp.moveaxis(r, 0, -2) if alone else r for r in rows]
        return jnp.concatenate([r.reshape(-1, *r.shape[-2:]) for r in stacked]).astype(jnp.float32)

    return jax.lax.map(one, batch, batch_size=64)


def refit(
    seen: Float[Array, "L N P E"], target: Float[np.ndarray, "N P"], held: Float[Array, "L M P E"]
) -> Float[np.ndarray, "L M P"]:
    """Least squares with intercept from the stream to the target, one map a layer, applied to other prompts."""
    answers = []
    for fitted, scored in zip(np.asarray(seen, np.float64), np.asarray(held, np.float64), strict=True):
        inputs = np.concatenate([fitted, np.ones((*fitted.shape[:2], 1))], -1).reshape(-1, fitted.shape[-1] + 1)
        weights = np.linalg.lstsq(inputs, np.asarray(target, np.float64).reshape(-1), rcond=1e-6)[0]
        answers.append(scored @ weights[:-1] + weights[-1])
    return np.stack(answers)


def _curve(family: Any, values: list[int], task: FunctionClass, key: PRNGKeyArray, prompts: Prompt) -> Any:
    """Numbers of steps, and the predictions of those members. No step of descent predicts 0."""
    found = [np.asarray(p.mean, np.float64) for p in family.family_path(task, key, prompts)(values)]
    return (values, found) if 0 in values else ([0, *values], [np.zeros_like(found[0]), *found])


def _verdict(fits: dict[str, progress.Fit]) -> str:
    words = {name: _path(found, FAMILIES[name]) for name, found in fits.items()}
    curve = progress.along(fits)
    if curve is None:
        return f"whether layers progress along a curve cannot be told; nearest are {' and '.join(words.values())}"
    if not curve:
        single = len(fits["newton"].steps) == 1
        said = "its one layer has nowhere to progress" if single else "layers progress along neither curve"
        return f"{said}; nearest are {' and '.join(words.values())}"
    near = words.pop(curve[0])
    both = all(found.progresses for found in fits.values())
    return f"layers progress along {near}" + (f", nearer than {' '.join(words.values())}" if both else "")


def _path(found: progress.Fit, family: str) -> str:
    """The nearest number of steps of every layer; in parentheses for those before the first that counts."""
    said = [f"{s}" if layer >= found.first else f"({s})" for layer, s in enumerate(found.steps)]
    return f"{', '.join(said)} {family}"


def _rows(found: dict[Any, Match], errors: dict[str, np.ndarray], draws: np.ndarray, prompts: int) -> list[Any]:
    rows: list[Any] = []
    for reading, values in errors.items():
        for layer in range(values.shape[1]):
            interval = mean_interval(values[:, layer], draws)
            rows.append((f"{reading} layer {layer}", -1, -1, "squared_error", "per_dim", *interval, prompts))
    for (reading, name), match in found.items():
        for layer, steps in enumerate(match.steps(draws)):
            who, distance = f"{reading} layer {layer + 1}", mean_interval(match.least[:, layer], draws)
            # A layer that says exactly 0 is at no step of descent, with nothing left.
            share = (number / match.size[layer] if match.size[layer] else 0.0 for number in distance)
            rows.append((who, -1, -1, f"{name}_steps", "raw", *steps, prompts))
            rows.append((who, -1, -1, f"{name}_distance", "per_dim", *distance, prompts))
            rows.append((who, -1, -1, f"{name}_left", "raw", *share, prompts))
    return rows


def _arrays(found: dict[Any, Match], errors: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    arrays: dict[str, Any] = {f"{reading}_error": values for reading, values in errors.items()}
    axes: dict[str, Any] = {name: ("prompt", "layer") for name in arrays}
    for (reading, name), match in found.items():
        arrays[f"{reading}_{name}_distance"] = match.gaps.mean(0)
        axes[f"{reading}_{name}_distance"] = ("layer", "member")
        arrays[f"{name}_steps"], axes[f"{name}_steps"] = match.members, ("member",)
    return arrays, axes
