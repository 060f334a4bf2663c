"""`icl phase`: a map over two settings of a sweep, colored by the algorithm that each run has become.

A cell's family is the one whose best member is nearest to the run (`icl.identify`), by majority over the runs in the
cell; its text is the median parameter of that family and the median distance.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from function_classes.fields import ConfigError, Problem, nearest
from icl import prng, style
from icl.config import resolve
from icl.handle import Run
from icl.identification import Fit, Identification, identify

UNDECIDED = "no majority"


class Cell(NamedTuple):
    """All runs with one pair of settings: the family of most of them, and its best member in each run."""

    x: Any
    y: Any
    family: str
    fits: tuple[Fit, ...]
    runs: tuple[str, ...]

    @property
    def parameter(self) -> float:
        return float(np.median([fit.parameter.value for fit in self.fits]))

    @property
    def distance(self) -> float:
        return float(np.median([fit.distance.value for fit in self.fits]))

    def __str__(self) -> str:
        return f"{self.family} {self.parameter:.3g}" if self.fits else self.family


class Phase(NamedTuple):
    """Cells of the map, with the settings on its axes and the unit of distances."""

    x: str
    y: str
    cells: tuple[Cell, ...]
    normalization: str
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [(self.x, self.y, "nearest family", f"distance ({self.normalization})", "runs")]
        rows += [
            (f"{c.x}", f"{c.y}", str(c), f"{c.distance:.3g}" if c.fits else "", f"{len(c.runs)}") for c in self.cells
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(w.ljust(n) for w, n in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *(f"left out: {reason}" for reason in self.left_out)])

    def plain(self) -> list[dict[str, Any]]:
        """JSON values: one entry a cell."""
        return [
            {"x": c.x, "y": c.y, "family": c.family, "runs": list(c.runs)}
            | ({"parameter": c.parameter, "distance": c.distance} if c.fits else {})
            for c in self.cells
        ]

    def plot(self) -> Any:
        """The map. Returns a matplotlib figure."""
        columns, rows = len({c.x for c in self.cells}), len({c.y for c in self.cells})
        with style.styled() as plt:
            figure, axis = plt.subplots(figsize=(1.3 * columns + 2.6, 0.8 * rows + 1.4))
            self.draw(axis)
            axis.set_title(f"nearest family: its parameter (distance, {self.normalization.replace('_', ' ')})")
            figure.legend(loc="outside right center")
            return figure

    def draw(self, axis: Any) -> None:
        """The map on axes of a figure, with one labelled handle for every family."""
        xs, ys = (_ordered(values) for values in ({c.x for c in self.cells}, {c.y for c in self.cells}))
        families = sorted({c.family for c in self.cells})
        colors = {family: style.line(family)["color"] for family in families} | {UNDECIDED: "#DDDDDD"}
        for cell in self.cells:
            column, row = xs.index(cell.x), ys.index(cell.y)
            sides = np.array([column - 0.5, column + 0.5]), np.array([row - 0.5, row + 0.5])
            axis.fill_between(sides[0], *sides[1], color=colors[cell.family], alpha=0.45, edgecolor="white")
            words = f"{cell.parameter:.3g}\n({cell.distance:.2g})" if cell.fits else "?"
            axis.text(column, row, words, ha="center", va="center", fontsize=8)
        for family in families:
            axis.plot([], [], "s", color=colors[family], alpha=0.45, label=family)
        axis.set(xlabel=self.x, ylabel=self.y, xlim=(-0.5, len(xs) - 0.5), ylim=(-0.5, len(ys) - 0.5))
        axis.set_xticks(range(len(xs)), [str(x) for x in xs])
        axis.set_yticks(range(len(ys)), [str(y) for y in ys])
        axis.grid(False)


def phase(runs: Sequence[Run], x: str, y: str, prompts: int = 512) -> Phase:
    """The map over settings `x` and `y`, by path or bare name. Runs that have not finished (training may go on, or has
    diverged) are left out, and named. Raises ConfigError for a setting the runs do not have, or one that says the same
    of all of them."""
    left_out = tuple(f"{run.path.name}: {run.caveat}" for run in runs if not run.finished)
    runs = [run for run in runs if run.finished]
    if not runs:
        raise ConfigError([Problem("phase", f"no run has finished: {'; '.join(left_out)}")])
    trees = [run.config.dump() for run in runs]
    axes = [[_value(tree, resolve(word, tree)) for tree in trees] for word in (x, y)]
    for word, values in zip((x, y), axes, strict=True):
        if len(set(values)) < 2:
            raise ConfigError([Problem(word, f"is {values[0]!r} in every run; choose a setting that the sweep varies")])
    groups: dict[tuple[Any, Any], list[int]] = {}
    for index, place in enumerate(zip(*axes, strict=True)):
        groups.setdefault(place, []).append(index)
    found = [
        identify(run.model, run.task, key=prng.stream(run.seed, "identification"), prompts=prompts) for run in runs
    ]
    cells = [_cell(place, [runs[i] for i in group], [found[i] for i in group]) for place, group in groups.items()]
    return Phase(x, y, tuple(cells), found[0].normalization, left_out)


def _value(tree: Any, path: str) -> Any:
    for word in path.split("."):
        if not isinstance(tree, dict) or word not in tree:
            known = list(tree) if isinstance(tree, dict) else []
            raise ConfigError([Problem(path, f"the runs have no such setting{nearest(word, known)}")])
        tree = tree[word]
    return (
        tree["name"] if isinstance(tree, dict) and "name" in tree else tuple(tree) if isinstance(tree, list) else tree
    )


def _cell(place: tuple[Any, Any], runs: Sequence[Run], found: Sequence[Identification]) -> Cell:
    names = tuple(run.path.name for run in runs)
    nearest_fits = [min(one.families, key=lambda fit: fit.distance.value) for one in found if one.families]
    counts = Counter(fit.family for fit in nearest_fits).most_common(1)
    if not counts or 2 * counts[0][1] <= len(runs):
        return Cell(*place, UNDECIDED, (), names)
    family = counts[0][0]
    return Cell(*place, family, tuple(fit for fit in nearest_fits if fit.family == family), names)


def _ordered(values: set[Any]) -> list[Any]:
    return sorted(values, key=lambda value: (isinstance(value, str), value))
