"""How far is a predictor from every reference after k examples? The squared prediction difference (SPD) of Akyurek et
al. 2022: SPD(A, B) = E (A(D_k)(x_k) - B(D_k)(x_k))^2, or the divergence KL(A || B) in nats for symbols and signs."""

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from function_classes.base import FunctionClass, Predictor, Prompt
from icl import references
from icl.errors import run, settle
from icl.resampling import mean_intervals, resamples
from icl.scoring import categorical, divergence
from icl.tables import Table
from probes.base import Probe, ProbeResult


@Probe.registry.add("distance", papers=("akyurek-2022",))
class Distance(Probe):
    """Against Bayes and every standard reference that applies, on fresh prompts of the class."""

    question = "How far are the predictor's answers from those of every reference, after k examples?"
    rule = (
        "nearest by the mean over positions of the median distance, since least squares has no finite mean near k = dim"
    )

    def measure(self, predictor: Predictor, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> ProbeResult:
        draw, calibration = jax.random.split(key)
        batch = jax.vmap(Prompt.hide)(task.batch(draw, prompts))
        others = {} if task.bayes_kind.kind == "none" else {"bayes": task.bayes}
        others |= references.standard(task)
        own = run(predictor, batch)
        real = not categorical(task.y_space)
        divisor = max(task.x_space.features, 1) if real else 1
        unit = "per_dim" if real else "nats"
        apart = jax.jit(jax.vmap(lambda a, b: divergence(a, b, task.y_space, task.steps)))
        draws, rows, arrays = resamples(prompts), [], {}
        for name, other in others.items():
            values = np.asarray(apart(own, run(settle(other, task, calibration), batch))).sum(-1) / divisor
            arrays[name] = values
            for k, interval in enumerate(mean_intervals(values, draws)):
                rows.append((name, -1, k, "distance", unit, *interval, prompts))
        typical = {name: float(np.mean(np.median(values, 0))) for name, values in arrays.items()}
        order = sorted(typical, key=lambda name: typical[name])
        answer = "nearest: " + ", ".join(f"{name} ({typical[name]:.2g})" for name in order[:3])
        axes = {name: ("prompt", "position") for name in arrays}
        return ProbeResult(self.name, self.question, self.rule, answer, Table.from_rows(rows), arrays, axes, order[0])
