"""Is a layer of linear attention a step of gradient descent? Its products beside both closed forms.

One layer on tokens (x, y), or one applied repeatedly, predicts after k examples

    x' U' (1/n) sum_i y_i x_i  + what a step does not use,      U = sum_h PV_h[y, y] KQ_h[x, x]     (n: its normalizer)

Von Oswald et al. 2022: U = rate I, one step at the best rate. Zhang et al. 2023: U = 1 / Gamma, the optimum over all U,
which for inputs with covariance Lambda = diag(s), kurtosis K and noise s_0 (in units of the weights) has

    Gamma_k = (1 + (K - 2) / k) Lambda + (tr Lambda + s_0^2) / k I

and is a multiple of I where inputs are isotropic: then both are one. U does not see the scale (s, 1/s) that a head may
move between its products. With several positions in the loss, numerator and denominator are sums over them.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.optimize import minimize_scalar

from function_classes.base import FunctionClass, Prompt
from function_classes.linear import LinearRegression
from icl import programs
from icl.layouts import Joint
from icl.models import Learner
from icl.models.attention_only import AttentionOnlyNetwork
from icl.models.constructions.products import effective, from_products, products, unframed
from icl.models.mixers.linear import LinearHeads
from icl.models.mixers.merged_linear import MergedHeads
from icl.references.gradient_descent import calibration, descent_means
from icl.resampling import Interval, apply, limits, mean_interval, resamples
from icl.tables import Table
from probes.base import Probe, ProbeResult
from probes.closed_forms import best_step, moments, optimum
from probes.pictures import matrices

# The expected loss is quadratic in U: at a distance of a tenth, 1 % of the loss that the optimum removes comes back.
NEAR, UNUSED = 0.1, 0.01
NEITHER = "not a gradient step"
WORKS = "it works on one attention-only layer, or one applied repeatedly, with mixer linear or merged-linear"


@Probe.registry.add("gd-construction", papers=("von-oswald-2022", "zhang-2023"))
class GdConstruction(Probe):
    """Products are exact numbers of a run; losses and effects are means over prompts with their intervals."""

    question = "Is linear attention a step of gradient descent at the best rate, the optimum 1/Gamma, or neither?"
    rule = (
        "an optimum is reached where |U - optimum| is at most a tenth of |optimum|, so that at most 1 % of the loss it "
        "removes comes back, and what a step does not use changes predictions by at most 1 % of their mean square; the "
        "nearer of two that are reached, and both where they are within a tenth of each other"
    )

    def refuses(self, task: FunctionClass) -> str | None:
        if type(task) is not LinearRegression:
            return f"its closed forms hold on linear-regression, not on {task.name}"
        if task.points < 2:
            return "needs at least 2 points"
        return None if moments(task) else f"needs inputs of known moments around 0, not {task.inputs.name}"

    def lacks(self, predictor: Any) -> str | None:
        network = predictor.network if isinstance(predictor, Learner) else None
        if not isinstance(network, AttentionOnlyNetwork):
            found = f"not {type(predictor).__name__}" if network is None else "and this network has more to it"
            return f"needs linear attention and nothing else, {found}; {WORKS}"
        if len(network.blocks) != 1:
            return f"needs one set of weights, and this has {len(network.blocks)}; {WORKS}"
        mixer = network.blocks[0].mixer
        if not isinstance(mixer, LinearHeads | MergedHeads):
            return f"needs linear attention, whose products are its function, not {type(mixer).__name__}; {WORKS}"
        if isinstance(mixer, LinearHeads) and mixer.query.bias is not None:
            return "needs projections without biases; train with --mixer.bias false"
        if not isinstance(predictor.layout, Joint) or predictor.layout.marker or network.codes:
            return "needs tokens (x, y) and nothing else: layout joint with marker false, no codes of positions"
        return None

    def measure(self, predictor: Learner, task: Any, key: PRNGKeyArray, prompts: int) -> ProbeResult:
        predictor = unframed(predictor)
        draw, tuning = jax.random.split(key)
        batch, network = programs.draw(task, draw, 0, prompts).hide(), predictor.network
        scored, shares = positions(predictor, task)
        loops = network.loops or 1
        targets = {_words(loops): np.eye(task.dim) * _rate(task, loops, scored, shares, tuning)}
        if loops == 1:
            targets["optimum 1/Gamma"] = np.diag(optimum(task, scored, shares))
        learned = network.damping * effective(predictor)
        built = {name: from_products(predictor, *step_products(predictor, target)) for name, target in targets.items()}
        others = {"the step in it alone": step_alone(predictor)} | built
        value, key_query = products(network.blocks[0].mixer)
        if len(value) == 1:
            others[f"average with {_words(loops)}"] = averaged(predictor, targets[_words(loops)])
        answers = {name: _answers(learner, batch, scored) for name, learner in ({"model": predictor} | others).items()}
        labels = np.asarray(batch.ys, np.float64)[:, scored]
        errors = {name: np.mean((said - labels) ** 2, 1) / task.dim for name, said in answers.items()}
        draws, own = resamples(prompts), answers["model"]
        moved = np.mean((own - answers["the step in it alone"]) ** 2, 1)
        effect = _ratio(moved, np.mean(own**2, 1), draws)
        rows: list[Any] = [
            (name, -1, -1, "squared_error", "per_dim", *mean_interval(error, draws), prompts)
            for name, error in errors.items()
        ]
        rows += [("model", -1, -1, "effect_of_the_rest", "raw", *effect, prompts)]
        rows += _exact("model", "size_of_the_rest", unused(value, key_query))
        rate = targets[_words(loops)][0, 0]
        rows += _exact("model", "implied_rate_over_best", float(np.trace(learned)) / task.dim / rate)
        distances = {name: relative_distance(learned, target) for name, target in targets.items()}
        for name, target in targets.items():
            rows += _exact(name, "relative_distance", distances[name])
            rows += _exact(name, "distance_of_shape", _shape_distance(learned, target))
        for name in errors:
            if name.startswith("average"):
                smaller = min(errors["model"], errors[_words(loops)], key=np.mean)
                rows.append(
                    (name, -1, -1, "loss_over_the_smaller", "raw", *_ratio(errors[name], smaller, draws), prompts)
                )
        arrays = {
            "learned": learned,
            "value": value,
            "key_query": key_query,
            "targets": np.stack(list(targets.values())),
        }
        axes = {"learned": ("context", "query"), "value": ("head", "to", "from"), "key_query": ("head", "key", "query")}
        axes |= {"targets": ("target", "context", "query")}
        reached = _reached(distances, targets, effect)
        answer = _answer(reached, distances, effect, float(np.trace(learned)) / task.dim / rate)
        decision = " and ".join(reached) or NEITHER
        return ProbeResult(self.name, self.question, self.rule, answer, Table.from_rows(rows), arrays, axes, decision)

    @classmethod
    def draw(cls, result: ProbeResult) -> Any:
        names = list(dict.fromkeys(result.table().where(metric="relative_distance")["predictor"].tolist()))
        shown = {"U, learned": result.arrays["learned"]}
        shown |= {f"U, {name}": target for name, target in zip(names, result.arrays["targets"], strict=True)}
        value, key_query = result.arrays["value"], result.arrays["key_query"]
        for head, (pv, kq) in enumerate(zip(value, key_query, strict=True)):
            balance = np.sqrt(np.linalg.norm(kq) / max(np.linalg.norm(pv), 1e-30)) or 1.0
            shown |= {f"PV, head {head}": pv * balance, f"KQ, head {head}": kq / balance}
        return matrices(shown)


def positions(learner: Learner, task: FunctionClass) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of examples k >= 1 at which the learner is trained, and k over its normalizer there."""
    trained = learner.trained(task.points)
    scored = np.arange(1, task.points) if trained is None else np.flatnonzero(trained)
    counted = learner.network.blocks[0].mixer.normalizer == "count"
    return scored, np.ones(len(scored)) if counted else scored.astype(float)


def step_products(
    learner: Learner, target: Float[np.ndarray, "D D"]
) -> tuple[Float[np.ndarray, "1 E E"], Float[np.ndarray, "1 E E"]]:
    """PV and KQ of one head with U = target and nothing else, the mean diagonal of KQ's x block being 1."""
    network, size = learner.network, len(target) + 1
    gauge = float(np.mean(np.diag(target)))
    value, key_query = np.zeros((1, size, size)), np.zeros((1, size, size))
    value[0, -1, -1] = network.sign * gauge / network.damping
    key_query[0, :-1, :-1] = target / gauge
    return value, key_query


def averaged(learner: Learner, target: Float[np.ndarray, "D D"]) -> Learner:
    """The learner of one head whose products are the means of its own and of those with U = target, both in the gauge
    where the mean diagonal of KQ's x block is 1 (von Oswald et al. 2022)."""
    (value,), (key_query,) = products(learner.network.blocks[0].mixer)
    gauge = np.mean(np.diag(key_query)[:-1])
    other = step_products(learner, target)
    return from_products(learner, 0.5 * (value * gauge + other[0]), 0.5 * (key_query / gauge + other[1]))


def step_alone(learner: Learner) -> Learner:
    """The learner with everything set to 0 that a step does not use: PV but for [y, y], KQ but for [x, x]."""
    value, key_query = products(learner.network.blocks[0].mixer)
    kept, asked = np.zeros_like(value), key_query.copy()
    kept[:, -1, -1] = value[:, -1, -1]
    asked[:, -1, :] = asked[:, :, -1] = 0
    return from_products(learner, kept, asked)


def unused(value: Float[np.ndarray, "H E E"], key_query: Float[np.ndarray, "H E E"]) -> float:
    """The share of |sum_h PV_h (x) KQ_h| that a step does not use; no change of heads or of their scales moves it."""
    whole = np.sum(np.einsum("aij,bij->ab", value, value) * np.einsum("aij,bij->ab", key_query, key_query))
    used = np.sum(np.einsum("h,hef->ef", value[:, -1, -1], key_query[:, :-1, :-1]) ** 2)
    return float(np.sqrt(max(1 - used / whole, 0.0))) if whole > 0 else 0.0


def relative_distance(learned: Float[np.ndarray, "D D"], target: Float[np.ndarray, "D D"]) -> float:
    """|learned - target| / |target|, Frobenius."""
    return float(np.linalg.norm(learned - target) / np.linalg.norm(target))


def _shape_distance(learned: np.ndarray, target: np.ndarray) -> float:
    """The same after the best factor on the target: the sine of the angle between both."""
    cosine = np.sum(learned * target) / max(np.linalg.norm(learned) * np.linalg.norm(target), 1e-30)
    return float(np.sqrt(max(1 - cosine**2, 0.0)))


def _rate(task: Any, loops: int, scored: np.ndarray, shares: np.ndarray, key: PRNGKeyArray) -> float:
    """The best rate in the unit of U: a closed form for one step, a search on calibration prompts for several."""
    if loops == 1:
        return best_step(task, scored, shares)
    own = calibration(task, key, 2048)
    scale, kept = np.zeros(task.points), np.zeros(task.points)
    scale[scored], kept[scored] = shares, 1.0

    def loss(log_rate: float) -> float:
        means = descent_means(own.modes, jnp.float32(loops), jnp.asarray(np.exp(log_rate) * scale, jnp.float32))
        return float(np.sum(np.square(np.asarray(means - own.target, np.float64)) * kept))

    start = np.log(best_step(task, scored, shares))
    found: Any = minimize_scalar(loss, bounds=(start - 3, start + 3), method="bounded")
    return float(np.exp(found.x))


@eqx.filter_jit
def _predict(learner: Learner, batch: Prompt) -> Any:
    return learner.batched(batch).mean


def _answers(learner: Learner, batch: Prompt, scored: np.ndarray) -> np.ndarray:
    return np.asarray(_predict(learner, batch), np.float64)[:, scored]


def _ratio(above: np.ndarray, below: np.ndarray, draws: np.ndarray) -> Interval:
    """Mean over mean, prompts resampled together."""
    low, high = limits(apply(draws, above) / apply(draws, below))
    return Interval(float(above.mean() / below.mean()), float(low), float(high))


def _exact(predictor: str, metric: str, value: float) -> list[Any]:
    return [(predictor, -1, -1, metric, "raw", value, value, value, 0)]


def _words(loops: int) -> str:
    return "one step" if loops == 1 else f"{loops} steps"


def _reached(distances: dict[str, float], targets: dict[str, np.ndarray], effect: Interval) -> list[str]:
    """The nearer of the optima that are reached, and those that are alike; empty where there is none."""
    reached = [name for name, distance in distances.items() if distance <= NEAR] if effect.value <= UNUSED else []
    first, *others = sorted(reached, key=lambda name: distances[name]) or [""]
    alike = [name for name in others if relative_distance(targets[first], targets[name]) <= NEAR]
    return [first, *alike] if first else []


def _answer(reached: list[str], distances: dict[str, float], effect: Interval, rate: float) -> str:
    numbers = ", ".join(f"{name} {distance:.2g}" for name, distance in distances.items())
    said = (
        f"distances: {numbers}; implied rate {rate:.3g} of the best; the rest moves {effect.value:.2g} of predictions"
    )
    if not reached:
        return f"{NEITHER} ({said})"
    return f"{' and '.join(reached)}{', which are alike here' if len(reached) > 1 else ''} ({said})"
