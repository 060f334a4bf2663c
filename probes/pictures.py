"""Pictures that the default one, metrics over positions, does not fit: over layers, over shifts, matrices."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np

from icl import style
from icl.tables import Table

SMALLEST = 1e-4


def draw_layers(table: Table, readings: Mapping[str, str], families: Mapping[str, str]) -> Any:
    """Error after every layer, the matching number of steps, and the share that the match leaves."""
    with style.styled() as plt:
        figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.2))
        panels = [("squared_error", [""]), ("steps", families), ("left", families)]
        for axis, (metric, names) in zip(axes, panels, strict=True):
            looks = [(reading, name) for name in names for reading in readings]
            for index, (reading, name) in enumerate(looks):
                rows = table.where(metric=f"{name}_{metric}" if name else metric)
                rows = rows.where(predictor=[p for p in rows["predictor"] if p.startswith(reading)])
                layers = [int(p.rsplit(" ", 1)[-1]) for p in rows["predictor"]]
                label = ", ".join(words for words in (families.get(name), readings[reading]) if words)
                # What no family is fitted to has a look of its own, since the legend below is of fits.
                look = style.line("", index if name else 6 + index)
                axis.plot(layers, rows["value"], marker="o", markersize=3, label=label, **look)
                axis.fill_between(layers, rows["low"], rows["high"], color=look["color"], alpha=0.15, linewidth=0)
            axis.set_xlabel("layers, or loops, applied")
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0].set(ylabel="squared error (per dim)", yscale="log", title="error after every layer")
        axes[0].legend()
        axes[1].set(ylabel="nearest number of steps", title="how far every layer has come")
        axes[1].set_yscale("symlog", linthresh=1)
        low, high = axes[1].get_ylim()
        marks = [t for t in (0, *(2**n for n in range(12))) if low <= t <= high]
        axes[1].set_yticks(marks, [str(t) for t in marks])
        axes[1].minorticks_off()
        axes[2].set(ylabel="share of the mean square left", yscale="log", title="how well the nearest one fits")
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return figure


def draw_readouts(arrays: Mapping[str, np.ndarray], forms: Mapping[str, str]) -> Any:
    """Error by layer, averaged over k, beside the control; error by layer and k; where the best layer's linear read-out
    looks. `arrays`: what a read-out probe holds; `forms`: names of its forms and words for them."""
    with style.styled() as plt:
        figure, axes = plt.subplots(1, 3, figsize=(12.0, 3.2))
        for index, (form, words) in enumerate(forms.items()):
            look = {"color": style.PALETTE[index], "marker": "o", "markersize": 3}
            axes[0].plot(arrays[form].mean(1), label=words, **look)
            axes[0].plot(arrays[f"{form}_control"].mean(1), "--", label=f"{words}, shuffled network", **look)
        axes[0].set(xlabel="layer (0: read-in)", ylabel="held-out error (per null)", ylim=(0, None))
        axes[0].xaxis.get_major_locator().set_params(integer=True)
        axes[0].legend()
        form, words = list(forms.items())[-1]
        best = int(arrays["linear"].mean(1).argmin())
        maps = (
            (arrays[form], "layer", "examples seen, k", f"error, {words}", 1),
            (arrays["scores"][best], "examples seen, k", "token", f"weights of tokens, linear, layer {best}", 0),
        )
        for axis, (values, rows, columns, title, first) in zip(axes[1:], maps, strict=True):
            ends = (first - 0.5, first + values.shape[1] - 0.5, values.shape[0] - 0.5, -0.5)
            ends = ends if first else (ends[0], ends[1], values.shape[0] + 0.5, 0.5)
            image = axis.imshow(values, cmap="viridis", vmin=0, aspect="auto", extent=ends)
            axis.set(xlabel=columns, ylabel=rows, title=title)
            for direction in (axis.xaxis, axis.yaxis):
                direction.get_major_locator().set_params(integer=True)
            axis.grid(False)
            figure.colorbar(image, ax=axis)
        return figure


def small_multiples(table: Table, columns: int = 3) -> Any:
    """One panel for every metric of the table, over positions, with one legend."""
    metrics = list(dict.fromkeys(table["metric"].tolist()))
    names = list(dict.fromkeys(table["predictor"].tolist()))
    count = -(-len(metrics) // columns)
    with style.styled() as plt:
        figure, axes = plt.subplots(count, columns, figsize=(3.4 * columns + 2, 2.4 * count), squeeze=False)
        for axis, metric in zip(axes.flat, metrics, strict=False):
            rows = table.where(metric=metric)
            for name in names:
                one = rows.where(predictor=name)
                kept = one["position"] >= 0
                axis.plot(one["position"][kept], one["value"][kept], label=name, **style.line(name))
            axis.set(title=metric, yscale="log")
            # Errors of exact predictors on noiseless labels are rounding; they would flatten all the others.
            axis.set_ylim(bottom=max(axis.get_ylim()[0], SMALLEST))
            axis.xaxis.get_major_locator().set_params(integer=True)
        for axis in axes.flat[len(metrics) :]:
            axis.set_axis_off()
        unit = table["normalization"][0].replace("_", " ")
        figure.supxlabel("examples seen, k")
        figure.supylabel(f"squared error ({unit})")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper")
        return figure


def matrices(named: Mapping[str, np.ndarray]) -> Any:
    """Matrices side by side, each on a color scale of its own that is white at 0."""
    with style.styled() as plt:
        figure, axes = plt.subplots(1, len(named), figsize=(2.9 * len(named), 2.9), squeeze=False)
        for axis, (title, matrix) in zip(axes[0], named.items(), strict=True):
            bound = float(np.max(np.abs(matrix))) or 1.0
            shown = axis.imshow(matrix, cmap=matplotlib.colormaps["RdBu_r"], vmin=-bound, vmax=bound)
            axis.set(title=title, xticks=[], yticks=[])
            axis.grid(False)
            figure.colorbar(shown, ax=axis, shrink=0.75)
        return figure
