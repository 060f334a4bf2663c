"""What a user did not set is derived anew, by every way of giving settings, and equal settings are one run."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import ConfigError
from icl.config import Config, Training
from icl.console import options
from icl.training.optimizers import SGD
from icl.training.schedules import WarmupStableDecay
from icl.training.session import expand, fork, train

RATES = {"muon": 5e-3, "adam": 1e-3, "sgd": 1e-2}
# The steps of a run, and the warmup that it has where none is named.
WARMUPS = {60: 3, 200: 10, 201: 50, 1000: 50}


def created(task="linear-regression", **settings):
    return Config.create(task, **settings)


def from_tree(task="linear-regression", **settings):
    return Config.from_tree({"task": task}, settings)


def nested(task="linear-regression", **settings):
    """As in TOML: below its section, and the rest of the sections absent."""
    place = {"optimizer": "training", "steps": "training", "learning_rate": "training", "schedule": "training"}
    tree = {"task": {"name": task}}
    for name, value in settings.items():
        tree.setdefault(place[name], {})[name] = value
    return Config.from_tree(tree)


def changed(task="linear-regression", **settings):
    return Config.create("linear-regression").change(**{"task": task, **settings})


def swept(task="linear-regression", **settings):
    (config,) = expand(Config.create("linear-regression"), {"task": [task]} | {k: [v] for k, v in settings.items()})
    return config


def loaded(task="linear-regression", **settings):
    """A configuration that comes from a run's directory."""
    stored = json.loads(json.dumps(Config.create("linear-regression").dump()))
    return Config.from_tree(stored).change(**{"task": task, **settings})


def replaced(task="linear-regression", **settings):
    """A copy of which nothing is known but its values."""
    return dataclasses.replace(Config.create("linear-regression"), seed=0).change(**{"task": task, **settings})


def typed(task="linear-regression", **settings):
    words = [(name, str(value)) for name, value in settings.items()]
    (config,) = options.configs(task, words, None, None)
    return config


WAYS = (created, from_tree, nested, changed, swept, loaded, replaced, typed)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_derives_alike(way):
    for optimizer, rate in RATES.items():
        config = way(optimizer=optimizer)
        assert config.training.learning_rate == rate
        assert config.identity == created(optimizer=optimizer).identity
    for steps, warmup in WARMUPS.items():
        config = way(steps=steps)
        assert config.training.schedule == WarmupStableDecay(warmup=warmup)
        assert config.identity == created(steps=steps).identity
    assert way(task="markov").model.layout.name == "stream"


@pytest.mark.parametrize("way", WAYS)
def test_what_was_set_stays(way):
    assert way(optimizer="adam", learning_rate=5e-3).training.learning_rate == 5e-3
    config = way(learning_rate=2e-3).change(optimizer="sgd", steps=60)
    assert config.training.learning_rate == 2e-3
    assert config.training.schedule == WarmupStableDecay(warmup=3)


def test_what_was_typed_stays_where_it_is_known():
    """The rate of Muon, typed: another optimizer keeps it, as `--learning-rate 5e-3 --optimizer muon,adam` does. On
    disk nothing says that it was typed, and it counts as derived."""
    config = Config.create("linear-regression", learning_rate=5e-3)
    assert config == Config.create("linear-regression") == Config.from_tree(config.dump())
    assert hash(config) == hash(Config.create("linear-regression"))
    for one in expand(config, {"training.optimizer": ["muon", "adam", "sgd"]}):
        assert one.training.learning_rate == 5e-3
    assert config.change(seed=3).change(optimizer="adam").training.learning_rate == 5e-3
    assert Config.from_tree(config.dump()).change(optimizer="adam").training.learning_rate == 1e-3
    kept = Config.create("linear-regression", **{"training.schedule.warmup": 50}).change(steps=100)
    assert kept.training.schedule.warmup == 50
    assert config.change(learning_rate=None, optimizer="adam").training.learning_rate == 1e-3


def test_a_part_that_was_typed_leaves_the_rest_derived():
    """A decay without a warmup, a momentum without a name, a layout's option without its layout."""
    config = Config.create("linear-regression", steps=60, **{"training.schedule.decay": 0.25})
    assert config.training.schedule == WarmupStableDecay(warmup=3, decay=0.25)
    assert config.change(steps=1000).training.schedule == WarmupStableDecay(warmup=50, decay=0.25)
    named = Config.create("linear-regression", steps=60, schedule="warmup-stable-decay")
    assert named.identity == Config.create("linear-regression", steps=60).identity
    same = Config.create("linear-regression", **{"training.optimizer.momentum": 0.95})
    assert same.identity == Config.create("linear-regression").identity
    assert same.training.learning_rate == RATES["muon"]
    garg = Config.create(preset="garg-2022").change(optimizer="muon", steps=60)
    assert (garg.rate, garg.training.schedule.name, garg.model.layout.name) == (1e-4, "constant", "interleaved")


HUNDRED = [100, 100.0, 1e2, np.int64(100), np.float32(100), jnp.asarray(100)]


@pytest.mark.parametrize("way", [created, from_tree, nested, changed, swept, loaded, replaced])
def test_a_number_is_one_number_however_it_is_typed(way):
    assert len({way(steps=steps).identity for steps in HUNDRED}) == 1
    assert {way(steps=steps).training.schedule.warmup for steps in HUNDRED} == {5}
    assert {way(steps=steps).identity for steps in HUNDRED} == {
        typed(steps="1e2").identity,
        typed(steps="100").identity,
    }
    assert (
        len({c.identity for c in options.configs("linear-regression", [("steps", "1e2,100,100.0")], None, None)}) == 1
    )


def test_a_rate_is_one_rate_however_it_is_typed():
    """Single precision is a way of typing a number, and 0 has one sign."""
    rates = [0.1, np.float32(0.1), jnp.float32(0.1), np.float64(0.1), np.float16(0.1)]
    assert len({Config.create("linear-regression", learning_rate=rate).identity for rate in rates}) == 1
    noiseless = [0, 0.0, -0.0, np.float32(-0.0)]
    assert len({Config.create("linear-regression", noise_std=noise).identity for noise in noiseless}) == 1


def test_settings_given_are_left_as_they_were():
    layout = {"name": "joint"}
    Config.create("linear-regression", **{"model.layout": layout, "model.layout.query": "last"})
    assert layout == {"name": "joint"}
    base = Config.create("linear-regression", **{"model.layout": layout})
    base.change(**{"model.layout.query": "last"})
    assert base.change(seed=1).model.layout.query == "every"


def test_a_configuration_made_of_its_parts_is_the_same():
    config = Config(fc.get("linear-regression"))
    assert config.identity == Config.create("linear-regression").identity
    assert Config.from_tree(config.dump()) == config
    config = Config(fc.get("linear-regression"), training=Training(optimizer=SGD()))
    assert config.training.learning_rate == RATES["sgd"]


def test_a_bad_number_of_steps_is_reported_and_nothing_else():
    for steps in ("many", 2.5, -1, True, [3]):
        with pytest.raises(ConfigError) as caught:
            Config.create("linear-regression", steps=steps)
        assert [p.path for p in caught.value.problems] == ["training.steps"]


def test_a_fork_keeps_the_schedule_and_layout_that_its_checkpoint_has_lived_through(tmp_path):
    """A longer run would have a longer warmup; a checkpoint past its own must not be warmed up again."""
    sizes = {"depth": 1, "width": 8, "heads": 2, "batch": 8, "points": 4, "validation_prompts": 8}
    run = train(Config.create("linear-regression", optimizer="adam", steps=20, **sizes), root=tmp_path)
    config = fork(run, 20, {"steps": 1000}, root=tmp_path)
    assert config.training.schedule == run.config.training.schedule
    assert config.model.layout == run.config.model.layout
    other = fork(run, 20, {"steps": 1000, "training.schedule.warmup": 7}, root=tmp_path)
    assert other.training.schedule.warmup == 7
