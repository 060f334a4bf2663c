"""How does a prediction depend on its query? Sensitivities d prediction_k / d x_k, compared with those of references.

Von Oswald et al. 2022 compare a trained net with gradient descent by three numbers: the mean absolute difference of the
predictions, the mean norm of the difference of the sensitivities ("model diff"), and their mean cosine ("model cos").
For a predictor that is linear in the query the sensitivity is its weight vector. Inside a network they ask of a token
which tokens it depends on: `token_sensitivities`.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Predictor, Prompt
from function_classes.fields import as_data
from icl import programs, references, taps
from icl.errors import run, settle
from icl.models.base import Learner
from icl.programs import call, compiled
from icl.references.base import LinearPredictor
from icl.resampling import mean_interval, mean_intervals, resamples
from icl.tables import Table
from probes.base import Probe, ProbeResult, vectors_to_a_number

# Added to norms in the cosine, as in the paper's code: a prediction that ignores its query has cosine 0.
FLOOR = 1e-8
SAME, OTHER = 0.99, 0.95


@Probe.registry.add("sensitivity", papers=("von-oswald-2022",))
class Sensitivity(Probe):
    """Against Bayes where it is linear in the query, and every standard reference that has weights, for each k >= 1."""

    # Of distilled nets that imitate ridge it cannot tell in 58 of 75: their cosines lie between both bounds.
    decides = False

    question = "Does the prediction depend on the query as that of gradient descent, ridge or Bayes does?"
    rule = (
        "nearest by the mean cosine over k >= 1; the same dependence where the 95 % interval of that ends at 0.99 or "
        "above, not the same where it ends below 0.95, and cannot tell between"
    )

    def refuses(self, task: FunctionClass) -> str | None:
        reason = vectors_to_a_number(task, "no derivative by a query")
        return reason or ("needs at least 2 points" if task.points < 2 else None)

    def measure(self, predictor: Any, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> ProbeResult:
        draw, calibration = jax.random.split(key)
        batch = jax.vmap(Prompt.hide)(programs.draw(task, draw, 0, prompts))
        own, answers = sensitivities(predictor, batch), np.asarray(run(predictor, batch).as_mean(task.y_space))
        named = {name: settle(r, task, calibration) for name, r in references.standard(task).items()}
        known = {name: r for name, r in named.items() if isinstance(r, LinearPredictor)}
        draws, rows = resamples(prompts), []
        cosines: dict[str, np.ndarray] = {}
        for name, reference in known.items():
            other = np.asarray(call(reference.weights, batch))
            said = np.asarray(run(reference, batch).as_mean(task.y_space))
            cosines[name] = _cosine(own, other)
            values = {
                "cosine": cosines[name],
                "sensitivity_difference": np.linalg.norm(own - other, axis=-1),
                "prediction_difference": np.abs(answers - said),
            }
            for metric, value in values.items():
                for k, interval in enumerate(mean_intervals(value[:, 1:], draws), 1):
                    rows.append((name, -1, k, metric, "raw", *interval, prompts))
        typical = {name: float(np.mean(cosine[:, 1:])) for name, cosine in cosines.items()}
        order = sorted(typical, key=lambda name: -typical[name])
        _, _, most = mean_interval(cosines[order[0]][:, 1:].mean(1), draws)
        words = {True: "the same dependence", False: "not the same dependence"}
        same = words[most >= SAME] if most >= SAME or most < OTHER else "cannot tell whether it is the same dependence"
        answer = f"{same}; nearest: " + ", ".join(f"{name} (cosine {typical[name]:.4f})" for name in order[:3])
        arrays = {"sensitivity": own}
        axes = {"sensitivity": ("prompt", "position", "dim")}
        decision = f"same, {order[0]}" if most >= SAME else "not the same" if most < OTHER else "cannot tell"
        return ProbeResult(self.name, self.question, self.rule, answer, Table.from_rows(rows), arrays, axes, decision)


def sensitivities(predictor: Predictor, batch: Prompt) -> Float[np.ndarray, "B P D"]:
    """d prediction_k / d x_k for every prompt and k, by reverse differentiation."""
    return np.asarray(_sensitivities(as_data(predictor), batch))


@compiled
def _sensitivities(predictor: Predictor, batch: Prompt) -> Float[Array, "B P D"]:
    points = batch.ys.shape[1]

    def one(prompt: Prompt) -> Float[Array, "P D"]:
        def at(k: Array) -> Float[Array, "D"]:
            def predict(x: Float[Array, "D"]) -> Array:
                changed = Prompt(prompt.xs.at[k].set(x), prompt.ys, None, prompt.targets, prompt.scored)
                mean = predictor(changed).mean
                assert mean is not None
                return mean[k]

            return jax.grad(predict)(prompt.xs[k])

        return jax.lax.map(at, jnp.arange(points))

    return jax.lax.map(one, batch, batch_size=64)


def token_sensitivities(learner: Learner, batch: Prompt, site: str) -> Float[np.ndarray, "B T T"]:
    """|d s_i / d e_j|, the Frobenius norm, for the tokens s at a site of the network (`blocks.0.residual`: after the
    first layer) and the layout's tokens e, in the pass that training makes. Codes of positions are no part of e."""
    points = batch.ys.shape[1]
    ids = learner.layout.position_ids(points, learner.signature)
    visible = learner.layout.visible(points, learner.signature)

    @eqx.filter_jit
    def norms(learner: Learner, batch: Prompt) -> Float[Array, "B T T"]:
        def reached(tokens: Float[Array, "T F"]) -> Float[Array, "T E"]:
            # The mask is no argument: recurrences must know it when the program is built.
            run = lambda network, tokens: network(tokens, ids, visible)  # noqa: E731
            return taps.capture(run, learner.network, tokens, at=site)[1][site]

        def one(prompt: Prompt) -> Float[Array, "T T"]:
            slopes = jax.jacfwd(reached)(learner.layout.tokens(prompt, learner.signature))
            return jnp.sqrt(jnp.sum(jnp.square(slopes), (1, 3)))

        return jax.lax.map(one, batch)

    return np.asarray(norms(learner, batch.hide()))


def dominance(norms: Float[np.ndarray, "B T T"], tokens: np.ndarray, sources: np.ndarray) -> float:
    """How much more each of `tokens` depends on its source than on any other token but itself: the mean over prompts
    and tokens of the norm for the source, over that of the largest of the others'. 1 where none stands out."""
    means = np.mean(norms, 0)[tokens]
    own, index = np.arange(len(tokens)), np.arange(norms.shape[-1])[None, :]
    others = np.where((index == tokens[:, None]) | (index == sources[:, None]), 0.0, means)
    return float(means[own, sources].sum() / np.max(others, 1).sum())


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norms = (np.linalg.norm(a, axis=-1) + FLOOR) * (np.linalg.norm(b, axis=-1) + FLOOR)
    return np.sum(a * b, -1) / norms
