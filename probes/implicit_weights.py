"""Which linear function does a predictor apply after k examples? The weights of a fit to its answers on fresh queries.

ILWD of Akyurek et al. 2022: w_k = argmin_w sum_i (A(D_k)(x'_i) - w'x'_i)^2 over fresh x'_i, no intercept; compared with
the weights of references by |w_k - w_ref|^2 / dim. The fit's R^2 says whether "weights" is a fair word.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import as_data, setting
from icl import programs, references
from icl.errors import settle
from icl.programs import call, compiled
from icl.queries import predict_at
from icl.references.base import LinearPredictor
from icl.resampling import mean_intervals, resamples
from icl.tables import Table
from probes.base import Probe, ProbeResult, vectors_to_a_number
from probes.nearest import nearest, typical

LINEAR, OTHER = 0.95, 0.9


@Probe.registry.add("implicit-weights", papers=("akyurek-2022", "panwar-2023"))
class ImplicitWeights(Probe):
    """For each k, `queries` fresh inputs per input dimension; least squares without intercept in float64."""

    question = "Which linear function of the query does the predictor apply after k examples?"
    rule = (
        "linear where the 95 % interval of R^2 ends at 0.95 or above at every k >= 1, not linear where one ends below "
        "0.9, and cannot tell between; nearest by the mean over k of median |w - w_ref|^2, with those that are within "
        "1 % of |w|^2 from it; cannot tell where another's distance is no larger in 2.5 % of resamples of the prompts"
    )
    queries: int = setting(4, "fresh queries per input dimension", at_least=2)

    def refuses(self, task: FunctionClass) -> str | None:
        return vectors_to_a_number(task, "neither weights nor a linear reading")

    def measure(self, predictor: Predictor, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> ProbeResult:
        draw, fresh, calibration = jax.random.split(key, 3)
        batch = programs.draw(task, draw, 0, prompts)
        weights, r2 = _read(predictor, task, batch, fresh, self.queries * task.x_space.shape[0])
        named = {name: settle(r, task, calibration) for name, r in references.standard(task).items()}
        known = {name: r for name, r in named.items() if isinstance(r, LinearPredictor)}
        gaps, others = {}, {}
        for name, reference in known.items():
            others[name] = np.asarray(call(reference.weights, batch.hide()), np.float64)
            gaps[name] = _gap(weights, others[name])
        draws = resamples(prompts)
        rows = []
        for name, values, metric, unit in [
            ("model", r2, "linearity_r2", "raw"),
            *((name, gap, "weight_distance", "per_dim") for name, gap in gaps.items()),
        ]:
            for k, interval in enumerate(mean_intervals(values, draws)):
                rows.append((name, -1, k, metric, unit, *interval, prompts))
        alike = lambda a, b: typical(_gap(others[a], others[b])) / max(typical(_gap(others[a], 0.0)), 1e-30)  # noqa: E731
        found = nearest(gaps, alike)
        later = mean_intervals(r2[:, 1:], draws) if r2.shape[1] > 1 else []
        linear = min((interval.value for interval in later), default=float("nan"))
        most = min((interval.high for interval in later), default=1.0)
        if most < OTHER:
            decision = "not linear"
        else:
            decision = f"linear, {found.words}" if most >= LINEAR else "cannot tell whether it is linear"
        answer = f"R^2 of a linear reading is at least {linear:.3f} for k >= 1; nearest weights: {found.order[0]}"
        arrays = {"weights": weights, "linearity_r2": r2}
        axes = {"weights": ("prompt", "position", "dim"), "linearity_r2": ("prompt", "position")}
        return ProbeResult(self.name, self.question, self.rule, answer, Table.from_rows(rows), arrays, axes, decision)


def _gap(weights: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    """Mean squared distance of weights over coordinates; infinite for descent that has diverged beyond float32."""
    gap = np.mean((weights - other) ** 2, -1)
    return np.where(np.isnan(gap), np.inf, gap)


def _read(
    predictor: Predictor, task: FunctionClass, batch: Prompt, key: PRNGKeyArray, queries: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (prompt, position, D) and R^2 (prompt, position) of linear fits to answers on fresh inputs."""
    found = _ask(as_data(predictor), as_data(task), batch, jax.random.split(key, batch.ys.shape[0]), queries)
    xs, answers = (np.asarray(a, np.float64) for a in found)
    weights = np.linalg.pinv(xs) @ answers[..., None]
    residual = np.sum((answers - (xs @ weights)[..., 0]) ** 2, -1)
    total = np.sum(answers**2, -1)
    silent = total <= 1e-12
    return weights[..., 0], np.where(silent, 1.0, 1 - residual / np.where(silent, 1.0, total))


@compiled
def _ask(
    predictor: Predictor, task: FunctionClass, batch: Prompt, keys: PRNGKeyArray, queries: int
) -> tuple[Float[Array, "B P N D"], Float[Array, "B P N"]]:
    """Fresh inputs for every prompt and k, and what the predictor says there."""
    points = batch.ys.shape[1]

    def one(prompt: Prompt, key: PRNGKeyArray) -> tuple[Float[Array, "P N D"], Float[Array, "P N"]]:
        def at(k: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
            rows = jax.vmap(lambda one: task.sample_inputs(prompt.latent, one)[0])(jax.random.split(key, queries))
            answer = predict_at(predictor, prompt.hide(), k, rows)
            return rows, answer.as_mean(task.y_space)

        return jax.lax.map(lambda a: at(*a), (jnp.arange(points), jax.random.split(key, points)))

    return jax.lax.map(lambda a: one(*a), (batch, keys), batch_size=16)
