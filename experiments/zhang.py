"""Where does gradient descent take one layer of linear attention? Zhang, Frei, Bartlett 2023, Theorems 4.1, 4.2, 5.2.

Five inputs N(0, Lambda), twenty noiseless examples and a query that is among its own keys; merged matrices from the
balanced start of the analysis. Plain gradient descent with momentum on fresh batches stands for gradient flow. Formulas
with g = N / (N + d + 1), Gamma = (1 + 1/N) Lambda + tr(Lambda) / N I.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.base import Configs, Experiment, Measure, Runs, seeds
from experiments.measured import Measured, exact, means, ratios
from function_classes import get
from function_classes.base import Prompt
from function_classes.inputs import Diagonal, Gaussian
from icl import prng
from icl.handle import Run
from icl.models.base import Learner
from icl.models.constructions.products import effective
from icl.programs import draw
from probes import closed_forms
from probes.gd_construction import relative_distance

DIM, EXAMPLES = 5, 20
SPECTRUM = (2.0, 1.0, 0.5, 0.25, 0.25)
PROMPTS = {"smoke": 2_000, "cpu": 200_000, "paper": 200_000}
# Total squared error by test examples M, anisotropic, from Theorem 4.2.
RISKS = {10: 1.4638, 20: 0.84577, 200: 0.28954}
ATTENTION = {
    "model": "attention-only",
    "mixer": "merged-linear",
    "layout": {"name": "joint", "query": "last", "marker": False},
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "schedule": "cosine",
    "batch": 1024,
}


def task(name: str = "linear-regression", examples: int = EXAMPLES, **fields: Any) -> Any:
    return get(name, dim=DIM, points=examples + 1, noise_std=0.0, **fields)


def _configs(count: int, attention: int, softmax: int) -> Configs:
    covariant = ATTENTION | {"learning_rate": 0.002}
    spike = {"depth": 4, "steps": softmax, "max_points": 2 * EXAMPLES + 1}
    return {
        "isotropic": seeds(count, task(), **ATTENTION, steps=attention),
        "anisotropic": seeds(count, task(inputs=Diagonal(SPECTRUM)), **ATTENTION, steps=attention),
        "random covariance": seeds(count, task("random-covariance"), **covariant, steps=2 * attention),
        "learned positions": seeds(count, task(), **spike),
        "without": seeds(count, task(), **spike, positions="none"),
        "adapting": seeds(count, task("random-covariance"), depth=4, steps=softmax),
    }


@jax.jit
def _error(learner: Learner, prompts: Prompt) -> jax.Array:
    mean = learner.batched(prompts).mean
    assert mean is not None
    return (mean[:, -1] - prompts.ys[:, -1]) ** 2


def errors(runs: Sequence[Run], law: Any, prompts: int, block: int = 2_000) -> np.ndarray:
    """Squared error of the query, (seed, prompt), on the same prompts for every seed."""
    found = []
    for first in range(0, prompts, block):
        some = draw(law, prng.stream(0, "evaluation"), first, min(block, prompts - first))
        found.append(np.stack([np.asarray(_error(run.model, some)) for run in runs]))
    return np.concatenate(found, 1)


def gamma(spectrum: Sequence[float]) -> np.ndarray:
    return closed_forms.gamma(closed_forms.Moments(np.asarray(spectrum), 3.0), EXAMPLES)


def _distance(run: Run, target: np.ndarray) -> float:
    return relative_distance(effective(run.model), np.diag(target))


def global_minimum(runs: Runs, scale: str) -> Measured:
    laws = {"isotropic": np.ones(DIM), "anisotropic": np.asarray(SPECTRUM)}
    found = [[_distance(run, 1 / gamma(law)) for run in runs[name]] for name, law in laws.items()]
    return Measured(exact("relative distance to 1 / Gamma", np.transpose(found), tuple(laws)))


def gamma_not_lambda(runs: Runs, scale: str) -> Measured:
    values = []
    for run in runs["anisotropic"]:
        learned = effective(run.model)
        far, near = (np.linalg.norm(learned - np.diag(1 / np.asarray(law))) for law in (SPECTRUM, gamma(SPECTRUM)))
        values.append(far / near)
    return Measured(exact("distance to 1 / Lambda over distance to 1 / Gamma", values))


def risk(runs: Runs, scale: str) -> Measured:
    law = task(inputs=Diagonal(SPECTRUM))
    found = [
        errors(runs["anisotropic"], dataclasses.replace(law, points=tests + 1), PROMPTS[scale]) / formula
        for tests, formula in RISKS.items()
    ]
    return Measured(means("risk / formula", np.stack(found, 1), [f"M {tests}" for tests in RISKS]))


def bias(runs: Runs, scale: str) -> Measured:
    tests, prompts = (5_000, 1_000) if scale != "smoke" else (200, 100)
    values = errors(runs["isotropic"], task(examples=tests), prompts, block=50)[:, None] / DIM
    return Measured(means(f"squared error per dim at M = {tests}", values))


def covariate_scale(runs: Runs, scale: str) -> Measured:
    g, factors, found = EXAMPLES / (EXAMPLES + DIM + 1), (0.5, 1.5, 2.0), []
    for c in factors:
        formula = c**2 * ((g * c**2) ** 2 * (1 + (DIM + 1) / EXAMPLES) - 2 * g * c**2 + 1)
        found.append(errors(runs["isotropic"], task(inputs=Gaussian(std=c)), PROMPTS[scale]) / DIM / formula)
    return Measured(means("error / formula", np.stack(found, 1), [f"c {c:g}" for c in factors]))


def task_shift(runs: Runs, scale: str) -> Measured:
    """Weights times three, and weights of which two are not zero: the same inputs, outputs recomputed."""
    above, below = [], []
    for run in runs["isotropic"]:
        rows = []
        for first in range(0, PROMPTS[scale], 2_000):
            prompts = draw(task(), prng.stream(0, "evaluation"), first, 2_000)
            sparse = prompts.latent * (jnp.arange(DIM) < 2)[None, :]
            laws = {"same": (prompts.latent, DIM), "times three": (3 * prompts.latent, 9 * DIM), "sparse": (sparse, 2)}
            rows.append(
                [
                    np.asarray(_error(run.model, Prompt(prompts.xs, jnp.einsum("bnd,bd->bn", prompts.xs, w)))) / moment
                    for w, moment in laws.values()
                ]
            )
        same, *shifted = np.concatenate(rows, 1)
        above.append(shifted)
        below.append([same, same])
    return Measured(
        ratios("error per second moment / that of the training law", above, below, ["times three", "sparse"])
    )


TRACE = 6 + 2 * (DIM - 1)
AVERAGE = 2 / (6 * (1 + 1 / EXAMPLES) + TRACE / EXAMPLES)


def averaging_error(c: float) -> float:
    """Error per dim on x ~ N(0, c Lambda) of the layer that training on Lambda = diag(Exp(1)) leads to. E lambda^2 = 2
    and E lambda^3 = 6, so it learns u I with u = 2 / ((1 + 1/N) 6 + (6 + 2 (d - 1)) / N) and errs by
    c - 4 u c^2 + u^2 c^3 (6 (1 + 1/M) + (6 + 2 (d - 1)) / M)."""
    return c - 4 * AVERAGE * c**2 + AVERAGE**2 * c**3 * (6 * (1 + 1 / EXAMPLES) + TRACE / EXAMPLES)


def random_covariance(runs: Runs, scale: str) -> Measured:
    trained = runs["random covariance"]
    distances = exact("relative distance", [_distance(run, np.full(DIM, AVERAGE)) for run in trained])
    found = errors(trained, shifted(4.0), PROMPTS[scale])[:, None] / DIM / averaging_error(4.0)
    return Measured(
        {"at most 0.1": distances, "between 0.8 and 1.25": means("error at covariance scale 4 / formula", found)}
    )


def shifted(c: float) -> Any:
    """Random covariances, all of them times c."""
    return task("random-covariance", inputs=Gaussian(std=c**0.5))


def spike(runs: Runs, scale: str) -> Measured:
    names, count = ("learned positions", "without"), min(PROMPTS[scale], 20_000)
    long, short = (
        np.stack([errors(runs[name], task(examples=tests), count) for name in names], 1)
        for tests in (2 * EXAMPLES, EXAMPLES)
    )
    part = ratios("error at M = 2N / error at M = N", long, short, names)
    return Measured({"at least 3 with learned positions": part, "at most half of that without": part})


def adapting(runs: Runs, scale: str) -> Measured:
    names, count = ("adapting", "random covariance"), min(PROMPTS[scale], 20_000)
    own, other = (errors(runs[name], shifted(4.0), count)[:, None] for name in names)
    return Measured(ratios("error of softmax / error of linear attention", own, other))


EXPERIMENT = Experiment(
    name="zhang-2023",
    paper="zhang-2023",
    question="Does gradient descent take one layer of linear attention to the closed-form optimum, and what follows?",
    scales={
        "smoke": lambda: _configs(2, 20, 20),
        "cpu": lambda: _configs(5, 3000, 2400),
        "paper": lambda: _configs(10, 20_000, 50_000),
    },
    measures={
        "global-minimum": Measure(global_minimum, needs=("isotropic", "anisotropic")),
        "gamma-not-lambda": Measure(gamma_not_lambda, needs=("anisotropic",)),
        "risk-formula": Measure(risk, needs=("anisotropic",)),
        "bias-vanishes": Measure(
            bias,
            needs=("isotropic",),
            remark="a control that should fail: (1 - g)^2 = .0533 stays, since the layer keeps Gamma of its N",
        ),
        "covariate-scale": Measure(covariate_scale, needs=("isotropic",)),
        "task-shift-tolerated": Measure(task_shift, needs=("isotropic",)),
        "random-covariance": Measure(random_covariance, needs=("random covariance",)),
        "length-spike": Measure(
            spike,
            needs=("learned positions", "without"),
            remark="at this scale rows past the trained length are near their small random start and the "
            "trained ones are not large, so longer prompts neither help nor hurt; without positions they help. Learned "
            "positions fail to use more examples, but do not spike; the paper trains far longer",
        ),
        "large-transformers-adapt": Measure(adapting, needs=("adapting", "random covariance")),
    },
)
