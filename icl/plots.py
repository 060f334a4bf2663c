"""The two figures of every report: how the loss fell, and what the error is after k examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icl import style
from icl.tables import Table

UNITS = {
    "raw": "",
    "per_dim": " / dimension",
    "per_null": " / null",
    "nats": " (nats)",
    "per_character": " (nats per character)",
}

FLOOR = 1e-6

WORDS = {
    "squared_error": "squared error",
    "clipped_squared_error": "squared error (clipped)",
    "median_squared_error": "median squared error",
    "distance": "distance to Bayes",
    "nll": "negative log likelihood",
    "accuracy": "accuracy",
}


def learning_curve(
    logs: Mapping[str, Mapping[str, np.ndarray]], title: str, unit: str, floor: str = "exact Bayes"
) -> Any:
    """Training and validation loss over steps, and the excess of validation loss over `floor` where it is known.

    `logs` maps a run's label to the columns of its log; returns a matplotlib figure.
    """
    known = all("excess" in log for log in logs.values())
    # Excess over Bayes is an estimate and may fall below zero by chance: gaps on a logarithmic axis. Where all of it
    # has, the axis is linear.
    above = known and any(np.any(np.asarray(log["excess"]) > 0) for log in logs.values())
    with style.styled() as plt:
        figure, axes = plt.subplots(1, 2 if known else 1, figsize=(7.2 if known else 4.2, 3.0), squeeze=False)
        for index, (label, log) in enumerate(logs.items()):
            look = style.line(label if len(logs) > 1 else "model", index)
            look |= {"marker": "o", "markersize": 3} if len(log["step"]) < 8 else {}
            _curve(axes[0, 0], log["step"], log["loss"], look | {"alpha": 0.45, "linewidth": 1.0})
            _curve(axes[0, 0], log["step"], log["validation_loss"], look)
            if known:
                excess = np.asarray(log["excess"], float)
                _curve(axes[0, 1], log["step"], np.where(excess > 0, excess, np.nan) if above else excess, look, label)
        axes[0, 0].plot([], [], color="0.4", alpha=0.45, linewidth=1.0, label="training")
        axes[0, 0].plot([], [], color="0.0", linewidth=2.0, label="validation")
        axes[0, 0].set(xlabel="optimizer steps", ylabel=f"loss ({unit})", yscale="log")
        axes[0, 0].legend()
        if known:
            axes[0, 1].set(xlabel="optimizer steps", ylabel=f"excess over {floor}", yscale="log" if above else "linear")
        if known and len(logs) > 1:
            axes[0, 1].legend()
        style.whole(*axes[0])
        figure.suptitle(style.title(title), fontsize=10)
        return figure


def error_by_position(table: Table, title: str) -> Any:
    """Error after k examples with 95 % intervals, for every predictor of the table; beside it the distance to Bayes."""
    count = len(shown(table))
    with style.styled() as plt:
        figure, axes = plt.subplots(1, count, figsize=(3.9 * count + 1.8, 3.4), squeeze=False)
        draw_errors(list(axes[0]), table)
        legend(figure, list(axes[0]))
        figure.suptitle(style.title(title), fontsize=10)
        return figure


def legend(figure: Any, axes: Sequence[Any]) -> None:
    """One legend beside the axes, of every curve that is on any of them."""
    named = {}
    for axis in axes:
        named |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(list(named.values()), list(named), loc="outside right center")


def shown(table: Table) -> list[str]:
    """The metrics that are drawn: an error, for symbols and signs also how often they are right, since whoever is sure
    of a wrong one has an infinite error; and the distance to Bayes where it is known."""
    metrics = set(table["metric"].tolist())
    errors = ["clipped_squared_error"] if "clipped_squared_error" in metrics else ["nll", "accuracy"]
    return errors + (["distance"] if "distance" in metrics else [])


def draw_errors(axes: Sequence[Any], table: Table) -> None:
    """The metrics of `shown` on as many axes."""
    names = list(dict.fromkeys(table["predictor"].tolist()))
    for axis, metric in zip(axes, shown(table), strict=True):
        smallest = _panel(axis, table, metric, names)
        axis.set(xlabel="examples seen, k", ylabel=_label(table, metric))
        if not np.isfinite(smallest):
            _say(axis, f"nobody is further than {FLOOR:g} from Bayes" if metric == "distance" else "no finite value")
        elif metric == "distance" or (metric == "clipped_squared_error" and smallest > 0):
            axis.set_yscale("log")
        if metric == "distance" and np.isfinite(smallest):
            axis.set_ylim(bottom=max(smallest / 2, FLOOR))
        style.whole(axis)


def _panel(axis: Any, table: Table, metric: str, names: Sequence[str]) -> float:
    """Draws one metric; returns the smallest value that is shown. A distance below FLOOR is rounding: not drawn."""
    lowest = np.inf
    for name in names:
        rows = table.where(predictor=name, metric=metric, seed=-1)
        kept = rows["position"] >= 0
        if not kept.any() or (metric == "distance" and name == "bayes"):
            continue
        order = np.argsort(rows["position"][kept])
        k, value, low, high = (rows[c][kept][order] for c in ("position", "value", "low", "high"))
        if metric == "distance":
            value, low, high = (np.where(value > FLOOR, a, np.nan) for a in (value, low, high))
        if not np.isfinite(value).any():
            continue
        look = style.line(name)
        _curve(axis, k, value, look, name)
        axis.fill_between(k, low, high, color=look["color"], alpha=0.15, linewidth=0)
        lowest = min(lowest, np.nanmin(value))
    return lowest


def _curve(axis: Any, x: Any, y: Any, look: dict[str, Any], label: str | None = None) -> None:
    """A curve whose every finite value can be seen."""
    alone = style.isolated(y)
    marked = {"marker": "o", "markersize": 4, "markevery": alone} if alone and "marker" not in look else {}
    axis.plot(x, y, label=label, **look, **marked)


def _say(axis: Any, words: str) -> None:
    """In the middle of a panel where no curve is."""
    axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color="0.4", fontsize=8)


def _label(table: Table, metric: str) -> str:
    units = table.where(metric=metric)["normalization"]
    return WORDS.get(metric, metric) + UNITS.get(units[0] if len(units) else "raw", "")
