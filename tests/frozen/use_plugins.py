"""`python -m tests.frozen.use_plugins ROOT`: loads every file of `plugins/` as `--plugin` does and uses what it adds.

The last line of the output is a JSON object: file -> "" or what went wrong. In a process of its own, because a registry
keeps what was registered.
"""

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import function_classes as fc
import icl
import probes
from function_classes.plain import dump
from icl import custom
from icl.models.constructions import Construction

PLUGINS = Path(__file__).parent / "plugins"
TASK = {"dim": 2, "points": 5}
SIZES: dict[str, Any] = {"depth": 1, "width": 8, "heads": 2, "batch": 4, "steps": 2, "validation_prompts": 4}
# What only a stack of blocks has.
NETWORK = ("depth", "width", "heads")


def answers(learner: Any, task: Any) -> np.ndarray:
    """Predictions on a prompt, which must be numbers, one for every position."""
    mean = np.asarray(learner(task.sample(jax.random.key(1)).hide()).mean)
    assert mean.shape == (task.points,)
    assert np.isfinite(mean).all()
    return mean


def configured(task: str = "linear-regression", **settings: Any) -> icl.Config:
    """A tiny configuration, written down and read again; its learner answers."""
    sizes = {name: SIZES[name] for name in SIZES if settings.get("model") != "my-averages" or name not in NETWORK}
    config = icl.Config.create(task, **settings, points=5, **sizes)
    assert icl.Config.from_tree(json.loads(json.dumps(config.dump()))).identity == config.identity
    answers(config.model.make(config.task, key=jax.random.key(0)), config.task)
    return config


def trained(root: Path, config: icl.Config) -> icl.Run:
    """A run of two steps, opened again from its files."""
    run = icl.train(config, root=root)
    again = icl.load(str(run.path))
    assert again.identity == config.identity
    np.testing.assert_array_equal(answers(again.model, again.task), answers(run.model, run.task))
    return run


def my_class(root: Path, found: dict[str, Any]) -> None:
    assert set(found) == {"Constant", "Doubled"}
    assert found["Constant"].name == "my-constant"
    assert found["Doubled"].name.startswith("Doubled@")
    task = fc.get("my-constant", points=5)
    answers(task.bayes, task)
    trained(root, configured(custom.resolve(f"{PLUGINS / 'my_class.py'}:Doubled")))


def my_mixer(root: Path, found: dict[str, Any]) -> None:
    configured(**{"model.mixer": {"name": "my-mean", "scale": 0.5}})


def my_reference(root: Path, found: dict[str, Any]) -> None:
    task = fc.get("linear-regression", **TASK)
    reference = icl.references.get("my-last-label", share=0.5)
    assert reference.applies(fc.get("markov")) is not None
    table = icl.evaluate({"own": reference, "bayes": task.bayes}, task, key=jax.random.key(0), prompts=8)
    assert "own" in table["predictor"].tolist()


def my_probe(root: Path, found: dict[str, Any]) -> None:
    task = fc.get("linear-regression", **TASK)
    result = probes.get("my-size")(task.bayes, task=task, key=jax.random.key(0), prompts=8)
    assert "on average" in result.summary()
    assert result.arrays["squares"].shape == (8, 5)
    assert probes.my_size == probes.get("my-size")


def my_optimizer(root: Path, found: dict[str, Any]) -> None:
    assert configured(optimizer="my-lion").rate == 3e-4


def my_schedule(root: Path, found: dict[str, Any]) -> None:
    schedule = configured(**{"training.schedule": {"name": "my-root", "after": 1}}).training.schedule
    np.testing.assert_allclose(schedule.factor(jnp.asarray(3), jnp.asarray(9)), 0.5)
    assert schedule.prefix(9) == 9


def my_layout(root: Path, found: dict[str, Any]) -> None:
    configured(layout="my-label-first")


def my_head(root: Path, found: dict[str, Any]) -> None:
    config = configured(**{"model.head": {"name": "my-bounded", "bound": 0.01}})
    learner = config.model.make(config.task, key=jax.random.key(0))
    assert np.abs(answers(learner, config.task)).max() <= 0.01


def my_model(root: Path, found: dict[str, Any]) -> None:
    """Also everything that the files before this one registered, in one run."""
    config = configured(model="my-averages", optimizer="adam")
    trained(root, config)
    parts = {"model.mixer": "my-mean", "model.layout": "my-label-first", "model.head": "my-bounded"}
    parts |= {"training.optimizer": "my-lion", "training.schedule": {"name": "my-root", "after": 1}}
    run = trained(root, configured("my-constant", model="my-small-transformer", **parts))
    assert "excess" in run.metrics


def my_construction(root: Path, found: dict[str, Any]) -> None:
    task = fc.get("linear-regression", **TASK)
    made = Construction.registry.get("my-averaging")
    learner, algorithm = made.make(task), made.algorithm(task)
    # At k = 0 there is nothing to average.
    np.testing.assert_allclose(answers(learner, task)[1:], answers(algorithm, task)[1:], atol=1e-5)
    assert made.needs(task).layers == 1


def my_laws(root: Path, found: dict[str, Any]) -> None:
    task = fc.get("linear-regression", **TASK, inputs={"name": "my-signs", "size": 2})
    np.testing.assert_array_equal(np.abs(task.sample(jax.random.key(0)).xs), 2)
    shift = {"name": "my-flip", "value": 3}
    moved = fc.get("shifted-inputs", points=5, base=dump(task), shift=shift)
    np.testing.assert_array_equal(np.abs(moved.sample(jax.random.key(0)).xs), 6)
    tokens = fc.get("tokenized", points=5, tokenizer="my-pairs")
    assert tokens.sample(jax.random.key(0)).ys.shape == (5,)


def main() -> None:
    root, said = Path(sys.argv[1]), {}
    # The models last: they are trained with all the others.
    for path in sorted(PLUGINS.glob("my_*.py"), key=lambda path: (path.stem == "my_model", path.stem)):
        use: Callable[[Path, dict[str, Any]], None] = globals()[path.stem]
        try:
            use(root, custom.load(path))
            said[path.stem] = ""
        except Exception:
            said[path.stem] = traceback.format_exc()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
