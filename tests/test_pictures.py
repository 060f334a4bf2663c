"""Every kind of picture at the smallest sizes there are: it is drawn, and every entry of its legend can be seen."""

import json

import jax
import numpy as np
import pytest
from matplotlib import pyplot

import function_classes as fc
from function_classes import plain
from icl import plots, references, style
from icl.console import evaluating, options, reading
from icl.evaluation import evaluate
from icl.handle import load
from icl.sheets import sheet
from icl.tables import Table
from icl.training.session import sweep, train
from probes.base import ProbeResult
from probes.pictures import small_multiples
from tests.training.test_session import tiny


def invisible(figure) -> list[str]:
    """Labels of curves that show nothing: no two finite neighbors, and no marker on a finite value."""
    found = []
    for axis in figure.axes:
        for line in axis.get_lines():
            x, y = (np.asarray(a, float) for a in line.get_data())
            if line.get_label().startswith("_") or not x.size:
                continue
            seen = np.isfinite(x) & np.isfinite(y)
            seen &= (y > 0) | (axis.get_yscale() != "log")
            segments = np.any(seen[1:] & seen[:-1]) and line.get_linestyle() not in ("None", "")
            every = line.get_markevery()
            marked = seen if every is None else seen[list(every)]
            if not segments and not (line.get_marker() not in ("None", None, "") and np.any(marked)):
                found.append(line.get_label())
    return found


def empty(figure) -> list[str]:
    """Panels in which there is nothing at all."""
    return [
        axis.get_ylabel() for axis in figure.axes if not (axis.get_lines() or axis.images or axis.texts or axis.patches)
    ]


def odd_ticks(axis) -> list[float]:
    """Ticks in the picture that are no whole numbers."""
    low, high = axis.get_xlim()
    return [float(t) for t in axis.get_xticks() if low <= t <= high and abs(t - round(t)) > 1e-9]


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


SMALLEST = [
    ("linear-regression", {"points": 1}),
    ("linear-regression", {"points": 1, "dim": 1}),
    ("linear-regression", {"points": 2, "dim": 1}),
    ("markov", {"points": 1}),
    ("autoregressive", {"points": 1}),
    ("conjunction", {"points": 1, "dim": 1}),
    ("gaussian-process", {"points": 1}),
]


@pytest.mark.parametrize(("name", "fields"), SMALLEST)
def test_sheets(name, fields):
    figure = sheet(fc.get(name, **fields), prompts=16).figure
    figure.canvas.draw()
    assert not invisible(figure)
    assert not empty(figure)
    for axis in figure.axes:
        if axis.get_xlabel() == "examples seen, k" or "position" in axis.get_xlabel():
            assert not odd_ticks(axis), axis.get_xlabel()


@pytest.mark.parametrize("excess", [[-0.1], [0.1], [-0.1, -0.2, -0.1], [0.2, -0.1, 0.1, -0.3, 0.1]])
def test_learning_curves(excess):
    steps = np.arange(1, len(excess) + 1)
    log = {"step": steps, "loss": np.ones(len(excess)), "validation_loss": np.ones(len(excess)), "excess": excess}
    figure = plots.learning_curve({"a": log, "b": log}, "title", "nats")
    figure.canvas.draw()
    assert not invisible(figure)
    assert not empty(figure)
    assert not odd_ticks(figure.axes[0])


def test_a_curve_with_one_finite_value_between_gaps_can_be_seen():
    assert style.isolated([np.nan, 1.0, np.nan, 2.0, 3.0]) == [1]
    assert style.isolated([1.0]) == [0]
    assert style.isolated([1.0, 2.0]) == []
    assert style.isolated([np.inf, np.nan]) == []


def test_a_panel_in_which_nobody_is_above_the_floor_says_so():
    task = fc.get("linear-regression", dim=2, points=3)
    table = evaluate({"model": task.bayes, "bayes": task.bayes}, task, key=jax.random.key(0), prompts=16)
    figure = plots.error_by_position(table, "title")
    figure.canvas.draw()
    assert "nobody is further" in figure.axes[1].texts[0].get_text()
    assert not invisible(figure)


def names_of(figure) -> list[str]:
    return [line.get_label() for line in figure.axes[0].get_lines()]


def test_a_reference_looks_the_same_in_every_figure():
    """Whoever else is drawn; and references that are drawn together look different."""
    tasks = [fc.get("linear-regression", dim=2, points=3), fc.get("conjunction", dim=3, points=3), fc.get("markov")]
    for task in tasks:
        names = list(references.standard(task))
        looks = [str(sorted(style.line(name).items(), key=str)) for name in names]
        assert len(set(looks)) == len(names), names
    figures = [
        plots.error_by_position(evaluate(given, tasks[0], key=jax.random.key(0), prompts=16), "title")
        for given in (
            references.standard(tasks[0]),
            {k: v for k, v in references.standard(tasks[0]).items() if k in ("ridge (best penalty)", "averaging")},
        )
    ]
    rows = [(name, -1, k, "distance", "per_dim", 1.0, 0.9, 1.1, 8) for name in names_of(figures[1]) for k in range(3)]
    found = ProbeResult("mine", "", "", "", Table.from_rows(rows), {}, {})
    figures += [found.over_positions(), small_multiples(found.table())]
    colors = [{line.get_label(): line.get_color() for line in figure.axes[0].get_lines()} for figure in figures]
    for others in colors[1:]:
        assert len(others) == 2
        assert others.items() <= colors[0].items()


def test_a_map_and_its_runs(tmp_path):
    """Runs that differ in two choices called `name` have two columns with names of their own."""
    from icl.phase import phase

    runs = sweep(tiny(steps=2), {"model.depth": [1, 2], "seed": [0, 1]}, root=tmp_path, name="map")
    found = phase(runs, "depth", "seed", prompts=16)
    figure = found.plot()
    figure.canvas.draw()
    assert not empty(figure)
    train(tiny("sparse-linear", steps=2, mixer="linear"), root=tmp_path, name="map")
    train(tiny("linear-regression", steps=2, optimizer="sgd"), root=tmp_path, name="map")
    heads = reading.compare("map", tmp_path, False).splitlines()[0].split()
    assert len(heads) == len(set(heads)), heads


def test_fields_of_the_class_that_is_evaluated_are_flags_and_named(tmp_path):
    train(tiny(steps=2), root=tmp_path)

    def say(on, **fields):
        return evaluating.evaluate("last", tmp_path, on, [], None, None, 8, None, False, None, list(fields.items()))

    assert "sparse-linear, points 4, dim 5, sparsity 1" in say("sparse-linear", sparsity="1")
    assert "noise_std 0.25" in say(None, **{"noise-std": "0.25"})
    with pytest.raises(fc.ConfigError, match="did you mean 'sparsity'"):
        say("sparse-linear", sparsty="1")
    with pytest.raises(fc.ConfigError, match="is no field of linear-regression"):
        say(None, depth="2")
    assert json.loads(json.dumps(plain.changed(load("last", tmp_path).task))) == {"points": 4}


def test_what_differs_from_the_defaults_is_named():
    assert plain.named(fc.get("linear-regression")) == "linear-regression"
    task = fc.get("linear-regression", dim=3, inputs={"name": "uniform", "low": -2.0})
    assert plain.named(task) == "linear-regression, dim 3, inputs uniform, inputs.low -2.0"
    assert options.with_fields(task, [("inputs.low", "-3")]).inputs.low == -3
