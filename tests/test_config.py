"""Configuration: strict, explicit, and with an identity that does not move when fields are added."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import function_classes as fc
from function_classes import ConfigError
from function_classes.fields import Fields, build, setting
from function_classes.plain import dump, identity
from icl import config, presets
from icl.config import Config
from icl.models import ModelConfig

# Full configurations and their identities. A failure means that old runs would be trained again: give a new field
# `absent=` its old behavior, a changed default `absent=` the old one, or raise the version of what now differs. Never
# change a hash that is here.
FROZEN = json.loads((Path(__file__).parent / "frozen_identities.json").read_text())


@pytest.mark.parametrize("entry", FROZEN, ids=lambda entry: entry["identity"])
def test_identities_are_frozen(entry):
    assert Config.from_tree(entry["config"]).identity == entry["identity"]


def test_equal_values_have_one_identity():
    a = Config.create("linear-regression", dim=4, noise_std=1, steps=300)
    b = Config.create("linear-regression", dim=4.0, noise_std=1.0, **{"training.steps": 300})
    assert a == b
    assert a.identity == b.identity


def test_science_changes_the_identity_and_nothing_else_does():
    base = Config.create("linear-regression")
    for path, value in [("seed", 3), ("task.dim", 6), ("model.depth", 2), ("training.learning_rate", 0.5)]:
        assert base.change(**{path: value}).identity != base.identity, path
    for path, value in [("training.log_every", 7), ("training.checkpoint_every", "none"), ("evaluation.prompts", 64)]:
        assert base.change(**{path: value}).identity == base.identity, path
    assert base.change(accumulate=4).identity == base.identity


def test_a_field_added_later_keeps_old_identities():
    class Before(Fields):
        a: int = setting(1)

    class After(Fields):
        a: int = setting(1)
        b: float = setting(2.0, absent=0.5)

    assert identity(Before(a=3)) == identity(After(a=3, b=0.5))
    assert identity(Before(a=3)) != identity(After(a=3))


@pytest.mark.parametrize(
    ("words", "path", "said"),
    [
        ({"dept": 3}, "dept", "depth"),
        ({"model.detph": 4}, "model.detph", "depth"),
        ({"heads": 3}, "model.heads", "does not divide"),
        ({"steps": -1}, "training.steps", "at least 0"),
        ({"learning_rate": float("nan")}, "training.learning_rate", "not finite"),
        ({"learning_rate": "fast"}, "training.learning_rate", "a number"),
        ({"batch": True}, "training.batch", "whole number"),
        ({"batch": 2.5}, "training.batch", "whole number"),
        ({"optimizer": "adamm"}, "training.optimizer", "'adam'"),
        ({"layout": "stream"}, "model.layout", "has inputs"),
        ({"max_points": 3}, "model.max_points", "16 points"),
        ({"points": 0}, "task.points", "at least 1"),
        ({"accumulate": 3}, "training.accumulate", "divide"),
        ({"dims_start": 9}, "training.curriculum.dims_start", "dim = 5"),
        (
            {"layout": {"name": "joint", "query": "last"}, "points_start": 3},
            "training.curriculum.points_start",
            "every",
        ),
        ({"checkpoint_every": "often"}, "training.checkpoint_every", "log:40"),
    ],
)
def test_bad_settings_name_path_and_remedy(words, path, said):
    with pytest.raises(ConfigError) as caught:
        Config.create("linear-regression", **words)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert said in problem.message


def test_a_name_that_two_parts_have_is_refused(monkeypatch):
    monkeypatch.setattr(config, "sections", lambda tree: {"task": {"width": None}, "model": {"width": None}})
    with pytest.raises(ConfigError, match=r"several parts; write task\.width or model\.width"):
        config.resolve("width", {})


@pytest.mark.parametrize("model", ModelConfig.registry.names())
@pytest.mark.parametrize("task", fc.names())
def test_no_registered_parts_share_a_name(task, model):
    tree = {"task": {"name": task}, "model": {"name": model}}
    for section, names in config.sections(tree).items():
        for name in names:
            assert config.resolve(name, tree) == f"{section}.{name}"


def test_all_problems_come_at_once():
    with pytest.raises(ConfigError) as caught:
        Config.create("linear-regression", steps=-1, dim=0, width="x", dept=3)
    assert {p.path for p in caught.value.problems} == {"training.steps", "task.dim", "model.width", "dept"}


def test_unknown_class_and_preset():
    with pytest.raises(ConfigError, match="linear-regression"):
        Config.create("linear-regresion")
    with pytest.raises(ConfigError, match="garg-2022"):
        Config.create(preset="garg-2023")


def test_naming_another_member_starts_from_its_defaults():
    config = Config.create("linear-regression", **{"training.optimizer.momentum": 0.5, "training.optimizer": "adam"})
    assert dump(config.training.optimizer) == {"name": "adam", "b1": 0.9, "b2": 0.999, "eps": 1e-8}
    inner = Config.create("linear-regression", **{"training.schedule.decay": 0.25}).training.schedule
    assert (inner.name, inner.decay) == ("warmup-stable-decay", 0.25)


def test_presets_build_and_say_how_they_deviate():
    for name, preset in presets.PRESETS.items():
        config = Config.create(preset=name)
        assert Config.from_tree(config.dump()) == config
        assert preset.deviations
    assert Config.create(preset="garg-2022").model.width == 256


@pytest.mark.parametrize("name", [n for n in fc.names() if n != "shifted-inputs"])
def test_every_class_has_a_default_configuration(name):
    config = Config.create(name)
    assert Config.from_tree(json.loads(json.dumps(config.dump()))) == config


@settings(max_examples=40, deadline=None)
@given(
    dim=st.integers(1, 9),
    noise=st.floats(0, 10),
    depth=st.integers(1, 6),
    rate=st.floats(1e-6, 1),
    clip=st.none() | st.floats(0.125, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(dim, noise, depth, rate, clip, seed):
    config = Config.create(
        "linear-regression", dim=dim, noise_std=noise, depth=depth, learning_rate=rate, clip=clip, seed=seed
    )
    again = Config.from_tree(json.loads(json.dumps(config.dump())))
    assert again == config
    assert again.identity == config.identity


def test_task_round_trip_for_nested_members():
    task = fc.get("linear-regression", inputs={"name": "uniform", "low": -2})
    assert build(fc.FunctionClass, dump(task)) == task
    assert task.inputs.high == 1.0
