"""The value of every claim's measure on learners that were set by hand, at scale smoke. Nothing is trained.

Keys are EXPERIMENT/CLAIM, followed by @N for a measure that declares `version` N above 1; an entry has the values
(seed, condition) of every part, and its conditions. The learners are constructions, references, Bayes made timid by a
factor, and, where a measure reads layers, weights drawn from a fixed key. A measure whose value is nothing but rounding
has an upper bound instead: `ROUNDING`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import experiments
from experiments import akyurek, loops, mixers, papers, von_oswald, zhang
from function_classes import Prediction, Prompt, Real, get
from function_classes.inputs import Diagonal
from icl import references
from icl.config import Config
from icl.models.constructions import Construction
from icl.training.engine import Program

TABLE = "measures"
TOLERANCE = 1e-4
# Values that are the rounding of a computation: no two machines have the same. The bound is the claim's own.
ROUNDING = {"akyurek-2022/ridge-by-construction": 1e-5, "von-oswald-2022/construction-k-steps": 1e-10}


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """What measures read of a run."""

    model: Any
    task: Any = None
    config: Any = None
    path: Path = Path("set-by-hand")
    identity: str = "0123456789abcdef"
    step: int = 0

    @property
    def parameters(self) -> int:
        return Program(self.config).parameters


class Timid(eqx.Module):
    """Bayes whose means are multiplied by a factor, or whose log probabilities are: never quite right."""

    task: Any
    factor: float

    def __call__(self, prompt: Prompt) -> Prediction:
        bayes = self.task.bayes(prompt)
        if isinstance(self.task.y_space, Real):
            return Prediction(mean=self.factor * bayes.mean)
        logs = jnp.maximum(bayes.as_log_probs(self.task.y_space), -20.0)
        return Prediction(log_probs=jax.nn.log_softmax(self.factor * logs))


class Batched(eqx.Module):
    """Any predictor, asked as measures ask a learner."""

    predictor: Any

    def __call__(self, prompt: Prompt) -> Prediction:
        return self.predictor(prompt)

    def batched(self, prompts: Prompt) -> Prediction:
        return jax.vmap(lambda prompt: self.predictor(prompt))(prompts.hide())


def timid(task: Any, *factors: float) -> list[Known]:
    """One learner a seed."""
    return [Known(Timid(task, factor), task) for factor in factors]


def drawn(config: Config, path: Path, seeds: Sequence[int]) -> list[Known]:
    """Networks with weights from fixed keys."""
    found = []
    for seed in seeds:
        model = config.model.make(config.task, key=jax.random.key(seed))
        found.append(Known(model, config.task, config, path / "run", f"{seed:016x}"))
    return found


def made(name: str, law: Any, *fields: dict[str, Any]) -> list[Known]:
    """A construction, with other numbers for every seed."""
    return [Known(Construction.registry.get(name, **some).make(law), law) for some in fields]


def moved(runs: Sequence[Known], size: float) -> list[Known]:
    """The same learners with weights a little off, by numbers from a fixed key."""

    def off(seed: int, model: Any) -> Any:
        leaves, structure = jax.tree.flatten(eqx.filter(model, eqx.is_inexact_array))
        keys = jax.random.split(jax.random.key(seed), len(leaves))
        noise = [size * jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        return eqx.apply_updates(model, jax.tree.unflatten(structure, noise))

    return [dataclasses.replace(run, model=off(seed, run.model)) for seed, run in enumerate(runs)]


def _akyurek(path: Path) -> dict[str, Sequence[Known]]:
    law = akyurek.task()
    factors = {1: 0.7, 2: 0.8, 4: 0.9, 8: 0.95}
    runs: dict[str, Any] = {f"depth {depth}": timid(law, f, f - 0.02) for depth, f in factors.items()}
    laws = {name: akyurek.task(noise_std=s, weight_std=t) for name, s, t in akyurek.DIAGONAL.values()}
    runs |= {name: timid(one, 0.9, 0.85) for name, one in laws.items()}
    runs |= {"one head": timid(law, 0.75, 0.8), "noiseless": timid(akyurek.task(noise_std=0.0), 0.8, 0.75)}
    wide = akyurek.task(dim=8)
    return runs | {"width 16": timid(wide, 0.5, 0.6), "width 64": timid(wide, 0.9, 0.8)}


def _layers(path: Path) -> dict[str, Sequence[Known]]:
    """A network that computes X'y in its first layer, and networks that compute nothing."""
    configs, law = akyurek.EXPERIMENT.scales["smoke"](), akyurek.task()
    (moment,) = (dataclasses.replace(run, path=path / "run") for run in made("explicit-moment", law, {}))
    blank = drawn(configs["depth 8"][0], path, (0,))
    return {"depth 8": [moment, *blank], "control": drawn(configs["control"][0], path, (2, 3))}


def _von_oswald(path: Path) -> dict[str, Sequence[Known]]:
    law, best = von_oswald._task(), von_oswald.BEST_RATE
    descent = functools.partial(made, "gradient-descent-plus-plus", law)

    def steps(count: int, *shares: float) -> list[Known]:
        each = best / count
        return descent(*({"rates": (share * each,) * count, "gammas": (0.05,) * count} for share in shares))

    def step(*shares: float) -> list[Known]:
        return descent(*({"rates": (share * best,), "gammas": (0.0,)} for share in shares))

    one = moved(step(0.8, 0.9), 0.05)
    return {
        "one layer": one,
        "two loops": steps(2, 1.1, 1.3),
        "five layers": steps(5, 1.2, 1.5),
        "one softmax head": descent(
            {"rates": (0.5 * best,), "gammas": (0.0,)}, {"rates": (0.6 * best,), "gammas": (0.0,)}
        ),
        "two softmax heads": step(0.8, 0.9),
        "copy": made("copy-then-step", law, {"rate": 0.8 * best}, {"rate": 0.9 * best, "sharpness": 5.0}),
    }


def _zhang(path: Path) -> dict[str, Sequence[Known]]:
    laws = {"isotropic": zhang.task(), "anisotropic": zhang.task(inputs=Diagonal(zhang.SPECTRUM))}
    # The optimum for other lengths of prompts than those of training.
    runs: dict[str, Any] = {
        name: made("zhang-optimum", law, {"examples": 12}, {"examples": 40}) for name, law in laws.items()
    }
    runs["random covariance"] = made("zhang-optimum", laws["isotropic"], {"examples": 4}, {"examples": 9})
    ridges = {"learned positions": (4.0, 8.0), "without": (1.0, 2.0), "adapting": (0.5, 0.25)}
    return runs | {
        name: [Known(Batched(references.get("ridge", penalty=penalty))) for penalty in some]
        for name, some in ridges.items()
    }


def _loops(path: Path) -> dict[str, Sequence[Known]]:
    law = get("linear-regression", **loops.TASK)
    configs = loops.EXPERIMENT.scales["smoke"]()

    def looped(count: int, *rates: float) -> list[Any]:
        return made("looped-gradient-descent", law, *({"steps": count, "rate": rate} for rate in rates))

    sized = {name: configs[name][0] for name in ("last half", "depth 4")}
    runs = {"last half": looped(loops.LOOPS, 0.1, 0.12), "few loops": looped(loops.FEW, 0.1, 0.15)}
    runs |= {"all loops": timid(law, 0.8, 0.85), "depth 4": timid(law, 0.7, 0.9)}
    return {name: [dataclasses.replace(run, config=sized.get(name)) for run in some] for name, some in runs.items()}


def _mixers(path: Path) -> dict[str, Sequence[Known]]:
    factors = {"softmax": 0.9, "identity": 0.3, "gated-linear-attention": 0.7, "deltanet": 0.8}
    laws = {task: get(task, **fields) for task, fields in mixers.TASKS.items()}
    return {
        mixers.name_of(task, mixer): timid(law, factor, factor - 0.05)
        for task, law in laws.items()
        for mixer, factor in factors.items()
    }


def _default(path: Path) -> dict[str, Sequence[Known]]:
    return {"default": timid(get("linear-regression"), 0.9, 0.95)}


LEARNERS: dict[str, Callable[[Path], dict[str, Sequence[Known]]]] = {
    "akyurek-2022": _akyurek,
    "default-run": _default,
    "loops": _loops,
    "mixers": _mixers,
    "von-oswald-2022": _von_oswald,
    "zhang-2023": _zhang,
}
# Measures of residual streams.
OF_LAYERS = ("moment-before-weights", "nonlinear-encoding", "probe-control")


def keys() -> list[str]:
    return [
        f"{name}/{claim}" + (f"@{measure.version}" if measure.version > 1 else "")
        for name, one in experiments.all_experiments().items()
        for claim, measure in one.measures.items()
    ]


@functools.lru_cache(maxsize=8)
def learners(name: str, layers: bool, path: Path) -> dict[str, Sequence[Known]]:
    return _layers(path) if layers else LEARNERS[name](path)


def value(key: str, path: Path) -> list[dict[str, Any]]:
    """What a measure returns. Arrays that it keeps go below `path`."""
    name, claim = key.partition("@")[0].split("/")
    experiment = experiments.get(name)
    runs = learners(name, claim in OF_LAYERS and name == "akyurek-2022", path)
    # Weights made in float32 and then widened would be refused by the strict promotion of the tests.
    with jax.numpy_dtype_promotion("standard"):
        measured = experiment.measures[claim].of(runs, "smoke")
    clauses = papers.read(experiment.paper)[claim].clauses
    return [
        {"conditions": list(part.conditions), "values": [[float(f"{v:.7g}") for v in row] for row in part.values]}
        for part in measured.by([clause.text for clause in clauses])
    ]


def agree(then: list[dict[str, Any]], now: list[dict[str, Any]]) -> bool:
    return [part["conditions"] for part in then] == [part["conditions"] for part in now] and all(
        np.shape(a["values"]) == np.shape(b["values"]) and np.allclose(b["values"], a["values"], rtol=TOLERANCE, atol=0)
        for a, b in zip(then, now, strict=True)
    )


def entries(table: dict[str, Any]) -> dict[str, Any]:
    """Everything that a table lacks."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        return {key: {"parts": value(key, Path(place))} for key in keys() if key not in table and key not in ROUNDING}
