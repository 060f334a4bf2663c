"""Every layout and head at the smallest legal value of every field, and the share of models and mixers: one
position, one coordinate, the narrowest network. Shapes of a loss and its gradient for all, numbers of the share."""

import functools

import jax
import numpy as np

import function_classes as fc
from function_classes import ConfigError
from icl.config import Config
from icl.layouts import Layout
from icl.models import ModelConfig
from icl.models.heads import HeadConfig
from icl.models.mixers import MixerConfig
from icl.training.engine import Program
from tests.conftest import rotate
from tests.least import variants

TASKS = (
    fc.get("linear-regression", dim=1, points=1, noise_std=0.0),
    fc.get("linear-regression", dim=3, points=4),
    fc.get("linear-classification", dim=1, points=1),
    fc.get("letter-digit", points=1),
    fc.get("chain-of-thought", dim=1, points=1),
)
TINY = {"model.depth": 1, "model.width": 1, "model.heads": 1, "batch": 1, "steps": 1}
FAMILIES = {"layout": Layout, "head": HeadConfig, "mixer": MixerConfig, "model": ModelConfig}


@functools.cache
def settings(kind):
    """Settings of a configuration for every variant of every member."""
    found = []
    for name in (n for n in FAMILIES[kind].registry.names() if n != "given"):
        for one in [{}, *variants(FAMILIES[kind].registry.find(name))]:
            chosen = {"name": name, **one}
            found.append({"model": chosen, "steps": 1} if kind == "model" else TINY | {f"model.{kind}": chosen})
    return tuple(found)


def trained(task, chosen):
    """The loss of a batch and its gradient, and predictions one prompt at a time; None where it is refused."""
    try:
        config = Config.create(task, **chosen)
    except ConfigError:
        return None
    objective = Program(config).objective

    def run(key):
        learner = config.model.make(task, key=key)
        params = jax.tree.map(lambda leaf: leaf if hasattr(leaf, "dtype") else None, learner)
        prompts = task.batch(key, 2)
        loss = lambda p: objective.loss(objective.predict(p, prompts), prompts, prompts.scored)  # noqa: E731
        one = jax.tree.map(lambda leaf: leaf[0], prompts).hide()
        return jax.value_and_grad(loss)(params), learner(one)

    return run


def name_of(kind, index):
    """The registered name of the member that a setting is about."""
    chosen = settings(kind)[index]
    return chosen["model"]["name"] if kind == "model" else chosen[f"model.{kind}"]["name"]


def pytest_generate_tests(metafunc):
    for kind in FAMILIES:
        if kind in metafunc.fixturenames:
            every = tuple(range(len(settings(kind))))
            few = kind in ("model", "mixer")
            names = lambda index, kind=kind: {name_of(kind, index)}  # noqa: E731
            metafunc.parametrize(kind, rotate(metafunc.config, every, 8, names) if few else every)
    if "numbers" in metafunc.fixturenames:
        every = tuple((kind, index) for kind in FAMILIES for index in range(len(settings(kind))))
        names = lambda one: {name_of(*one)}  # noqa: E731
        metafunc.parametrize("numbers", rotate(metafunc.config, every, 6, names), ids=str)


def shaped(kind, index, tasks=TASKS):
    for task in tasks:
        run = trained(task, settings(kind)[index])
        if run is not None:
            (loss, _), said = jax.eval_shape(run, jax.random.key(0))
            assert loss.shape == ()
            assert all(leaf.shape[0] == task.points for leaf in jax.tree.leaves(said))


def test_layouts(layout):
    shaped("layout", layout)


def test_heads(head):
    shaped("head", head)


def test_mixers(mixer):
    shaped("mixer", mixer, TASKS[:2])


def test_models(model):
    shaped("model", model, TASKS[:1])


def test_numbers(numbers):
    kind, index = numbers
    run = trained(TASKS[0], settings(kind)[index])
    for leaf in jax.tree.leaves(jax.jit(run)(jax.random.key(0)) if run else ()):
        assert np.isfinite(np.asarray(leaf, float)).all(), settings(kind)[index]
