"""Annotations that are texts are read, a registry answers whole or not at all, and numbers have their types."""

import importlib.metadata
import textwrap

import jax
import pytest

import function_classes as fc
from function_classes import ConfigError
from function_classes.fields import Fields, as_data, build, setting
from function_classes.registry import Registry
from icl import custom
from tests.function_classes.postponed import Heir, Postponed

WRONG = [
    ("size", 2.5, "a whole number"),
    ("size", 0, "at least 1"),
    ("rate", "fast", "a number"),
    ("clip", -1.0, "above 0"),
    ("flag", 1, "true or false"),
    ("word", 3, "a text"),
    ("form", "three", "one of one, two"),
    ("sizes", [1, "x"], "a whole number"),
    ("part", {"share": 2}, "at most 1"),
    ("law", "gausian", "'gaussian'"),
    ("quoted", [3], "a table of settings"),
]


@pytest.mark.parametrize("cls", [Postponed, Heir])
@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_annotations_that_are_texts_are_checked(cls, name, value, said):
    with pytest.raises(ConfigError, match=said) as caught:
        build(cls, {name: value})
    assert caught.value.problems[0].path.startswith(name)


def test_floats_stay_data_and_the_rest_static_where_annotations_are_texts():
    one, other = Heir(rate=0.5, size=2, more=3), Heir(rate=0.75, size=2, more=4)
    assert jax.tree.structure(one) == jax.tree.structure(other) != jax.tree.structure(Heir(size=4))
    assert sorted(jax.tree.leaves(one)) == [0.5, 0.5, 1.0, 3.0]
    traced = jax.jit(lambda task: task.rate * task.size + task.more)
    traced(as_data(one)), traced(as_data(other))
    assert traced._cache_size() == 1
    assert Heir(twin={"more": 7}).twin == Heir(more=7)


def test_an_annotation_that_means_nothing_is_refused_where_the_class_is_made():
    with pytest.raises(TypeError, match=r"Broken.*Unheard"):

        class Broken(Fields):
            a: "Unheard" = setting(1)


def test_a_class_of_your_own_may_postpone_its_annotations(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        textwrap.dedent(
            """
            from __future__ import annotations
            from function_classes.linear import LinearRegression
            from function_classes.fields import setting

            class Mine(LinearRegression):
                slope: float = setting(2.0, "of nothing", above=0)
            """
        )
    )
    name = custom.resolve(f"{file}:Mine")
    assert 2.0 in jax.tree.leaves(fc.get(name))
    with pytest.raises(ConfigError, match=r"slope: expected a number"):
        fc.get(name, slope="steep")


class Point:
    """An entry point of a distribution that is broken, or not."""

    group, value, dist = "icl.heads", "somewhere:Thing", None

    def __init__(self, name, load):
        self.name, self.load = name, load


def broken():
    raise ModuleNotFoundError("No module named 'absent'")


def test_a_broken_entry_point_is_named_every_time(monkeypatch):
    """Not once, with half of the members from then on; and once it is mended, all members are there."""
    registry = Registry("head", "icl.models.heads", "icl.heads")
    points = [Point("first", broken), Point("second", lambda: registry.add("added")(type("Added", (), {})))]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    said = r"entry point 'first' .*ModuleNotFoundError: No module named 'absent'"
    for _ in range(3):
        for ask in (registry.names, lambda: registry.find("added"), lambda: "added" in registry):
            with pytest.raises(ConfigError, match=said):
                ask()
    points[0].load = lambda: None
    assert registry.names() == ("added",)


def test_a_package_that_does_not_import_is_said_every_time():
    registry = Registry("thing", "function_classes.absent")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="absent"):
            registry.names()


def mixed(*points, of):
    classes = tuple(fc.get("linear-regression", dim=3, **({} if p is None else {"points": p})) for p in points)
    return fc.get("mixture", points=of, classes=classes)


@pytest.mark.parametrize(
    ("points", "of"), [((17, 16), 20), ((16, 17), 20), ((17, 16), 16), ((17, 18), 20), ((17, 20), 20)]
)
def test_a_mixture_of_classes_with_other_points_is_refused(points, of):
    with pytest.raises(ConfigError, match=f"classes: .*{max(points)}.* of {of}"):
        mixed(*points, of=of)


@pytest.mark.parametrize("points", [(None, None), (20, None), (None, 20), (20, 20), (17, 17)])
def test_classes_that_agree_or_say_nothing_follow_the_mixture(points):
    task = mixed(*points, of=20)
    assert [one.points for one in task.classes] == [20, 20]
    prompt = jax.eval_shape(task.sample, jax.random.key(0))
    assert prompt.ys.shape == (20,)
