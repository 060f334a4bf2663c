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
    with style.styled() as plt:
        figure, axes = plt.subplots(1, 2 if known else 1, figsize=(7.2 if known else 4.2, 3.0), squeeze=False)
        for index, (label, log) in enumerate(logs.items()):
            look = style.line(label if len(logs) > 1 else "model", index)
            look |= {"marker": "o", "markersize": 3} if len(log["step"]) < 8 else {}
            axes[0, 0].plot(log["step"], log["loss"], **look | {"alpha": 0.45, "linewidth": 1.0})
            axes[0, 0].plot(log["step"], log["validation_loss"], **look)
            if known:
                axes[0, 1].plot(log["step"], _positive(log["excess"]), **look, label=label)
        axes[0, 0].plot([], [], color="0.4", alpha=0.45, linewidth=1.0, label="training")
        axes[0, 0].plot([], [], color="0.0", linewidth=2.0, label="validation")
        axes[0, 0].set(xlabel="optimizer steps", ylabel=f"loss ({unit})", yscale="log")
        axes[0, 0].legend()
        if known:
            axes[0, 1].set(xlabel="optimizer steps", ylabel=f"excess over {floor}", yscale="log")
        if known and len(logs) > 1:
            axes[0, 1].legend()
        figure.suptitle(title, fontsize=10)
        return figure


def error_by_position(table: Table, title: str) -> Any:
    """Error after k examples with 95 % intervals, for every predictor of the table; beside it the distance to Bayes."""
    count = len(shown(table))
    with style.styled() as plt:
        figure, axes = plt.subplots(1, count, figsize=(3.9 * count + 1.8, 3.4), squeeze=False)
        draw_errors(list(axes[0]), table)
        legend(figure, list(axes[0]))
        figure.suptitle(title, fontsize=10)
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
        if metric == "distance" or (metric == "clipped_squared_error" and smallest > 0):
            axis.set_yscale("log")
        if metric == "distance":
            axis.set_ylim(bottom=max(smallest / 2, FLOOR))


def _panel(axis: Any, table: Table, metric: str, names: Sequence[str]) -> float:
    """Draws one metric; returns the smallest value that is shown. A distance below FLOOR is rounding: not drawn."""
    others = [name for name in names if name not in ("model", "bayes", "null")]
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
        look = style.line(name, others.index(name) if name in others else 0)
        if len(k) == 1:
            look["marker"] = "o"
        axis.plot(k, value, label=name, **look)
        axis.fill_between(k, low, high, color=look["color"], alpha=0.15, linewidth=0)
        lowest = min(lowest, np.nanmin(value))
    axis.xaxis.get_major_locator().set_params(integer=True)
    return lowest


def _label(table: Table, metric: str) -> str:
    units = table.where(metric=metric)["normalization"]
    return WORDS.get(metric, metric) + UNITS.get(units[0] if len(units) else "raw", "")


def _positive(values: np.ndarray) -> np.ndarray:
    """Excess over Bayes is an estimate and may fall below zero by chance; a logarithmic axis then shows a gap."""
    return np.where(values > 0, values, np.nan)
