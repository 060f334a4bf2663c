"""How far is a predictor from every reference after k examples? The squared prediction difference (SPD) of Akyurek et
al. 2022: SPD(A, B) = E (A(D_k)(x_k) - B(D_k)(x_k))^2, or the divergence KL(A || B) in nats for symbols and signs."""

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Prediction, Predictor, Prompt
from function_classes.spaces import Space
from icl import programs, references
from icl.errors import run, settle
from icl.programs import compiled
from icl.resampling import mean_intervals, resamples
from icl.scoring import categorical, divergence
from icl.tables import Table
from probes.base import Probe, ProbeResult
from probes.nearest import nearest, typical


@Probe.registry.add("distance", papers=("akyurek-2022",))
class Distance(Probe):
    """Against Bayes and every standard reference that applies, on fresh prompts of the class."""

    question = "How far are the predictor's answers from those of every reference, after k examples?"
    rule = (
        "nearest by the mean over positions of the median distance, since least squares has no finite mean near k = "
        "dim, with those that are within 1 % of the typical size of predictions from it; cannot tell where another's "
        "distance is no larger in 2.5 % of resamples of the prompts"
    )

    def measure(self, predictor: Predictor, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> ProbeResult:
        draw, calibration = jax.random.split(key)
        batch = jax.vmap(Prompt.hide)(programs.draw(task, draw, 0, prompts))
        others = {} if task.bayes_kind.kind == "none" else {"bayes": task.bayes}
        others |= references.standard(task)
        own = run(predictor, batch)
        real = not categorical(task.y_space)
        divisor = max(task.x_space.features, 1) if real else 1
        unit = "per_dim" if real else "nats"
        apart = lambda a, b: _apart(a, b, task.y_space, task.steps)  # noqa: E731
        draws, rows, arrays, said = resamples(prompts), [], {}, {}
        for name, other in others.items():
            said[name] = run(settle(other, task, calibration), batch)
            values = np.asarray(apart(own, said[name])).sum(-1) / divisor
            arrays[name] = values
            for k, interval in enumerate(mean_intervals(values, draws)):
                rows.append((name, -1, k, "distance", unit, *interval, prompts))

        def alike(a: str, b: str) -> float:
            gap = typical(np.asarray(apart(said[a], said[b])).sum(-1))
            if not real:
                return gap  # nats have a size of their own
            size = typical(np.square(np.asarray(said[a].as_mean(task.y_space), np.float64)))
            return gap / max(size, 1e-30)

        found = nearest(arrays, alike)
        order, at = found.order, found.typical
        answer = "nearest: " + ", ".join(f"{name} ({at[name]:.2g})" for name in order[:3])
        axes = {name: ("prompt", "position") for name in arrays}
        return ProbeResult(
            self.name, self.question, self.rule, answer, Table.from_rows(rows), arrays, axes, found.words
        )


@compiled
def _apart(a: Prediction, b: Prediction, space: Space, steps: int) -> Float[Array, "N P S"]:
    return jax.vmap(lambda one, other: divergence(one, other, space, steps))(a, b)
