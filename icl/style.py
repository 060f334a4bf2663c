"""How figures look: readable in print and without color vision, vector and PNG, with their origin in the file."""

import contextlib
import os
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Okabe and Ito's palette without the vermilion of BAYES, and three more: distinguishable with every kind of color
# vision, and in gray by the line styles below.
PALETTE = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#6A3D9A", "#444444")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (5, 5)))

MODEL = {"color": "#000000", "linestyle": "-", "linewidth": 2.2, "zorder": 5}
BAYES = {"color": "#D55E00", "linestyle": "--", "linewidth": 2.0, "zorder": 4}
NULL = {"color": "#999999", "linestyle": ":", "linewidth": 1.5, "zorder": 1}

# A reference looks the same in every figure, whichever others are there: its place in this list is its look. What is
# not in it (a predictor of the user's) has a place behind, by its name.
KNOWN = (
    "ridge",
    "least-squares",
    "averaging",
    "gd-1 (best rate per position)",
    "3-nn",
    "gd-16",
    "gd-4",
    "gd-1 (best rate per class)",
    "sgd",
    "lasso",
    "kernel ridge",
    "kernel smoother",
    "l-infinity",
    "pool-argmin",
    "smoothed-pool",
    "logistic",
    "linear-discriminant",
    "nearest-class-mean",
    "1-nn",
    "unigram (KT)",
    "bigram (KT)",
    "trigram (KT)",
    "unigram",
    "bigram",
    "trigram",
    "context tree",
    "surviving literals (disjunction)",
    "surviving literals",
    "version-space",
    "newton",
    "gd++",
    "greedy-tree",
    "nearest",
    "teacher",
    "bayes of training",
)
BEHIND = 31
ALIAS = {"gradient-descent": "gd-4"}

SETTINGS: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "pdf.fonttype": 42,
    "savefig.bbox": "tight",
}


@contextlib.contextmanager
def styled() -> Iterator[Any]:
    """`with styled() as plt:` gives pyplot in this style and, where there is no display, a backend that needs none."""
    import matplotlib

    if not os.environ.get("MPLBACKEND") and "matplotlib.pyplot" not in __import__("sys").modules:
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(SETTINGS):
        yield plt


def place(name: str) -> int:
    """The place of a predictor among all looks: that of the longest known word its name begins with."""
    name = ALIAS.get(name, name)
    known = max((word for word in KNOWN if name.startswith(word)), key=len, default=None)
    return len(KNOWN) + zlib.crc32(name.encode()) % BEHIND if known is None else KNOWN.index(known)


def line(name: str, index: int | None = None) -> dict[str, Any]:
    """Color, dash and width of a predictor's curve: the same in every figure. `index` is for curves that are no
    predictors, and are told apart by their number."""
    index = place(name) if index is None else index
    if name == "model" or name.startswith("model "):
        return dict(MODEL)
    if name in ("bayes", "null"):
        return dict(BAYES if name == "bayes" else NULL)
    turn = index // len(PALETTE)
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[(index + 5 * turn) % len(DASHES)], "zorder": 2}


def title(text: str) -> str:
    """A title on as many lines as it needs."""
    return "\n".join(textwrap.wrap(text, 100))


def isolated(values: Any) -> list[int]:
    """Which values of a curve have no finite neighbor: a line shows nothing of them, so they need a marker."""
    import numpy as np

    finite = np.concatenate([[False], np.isfinite(np.asarray(values, float)), [False]])
    return np.flatnonzero(finite[1:-1] & ~finite[:-2] & ~finite[2:]).tolist()


def whole(*axes: Any) -> None:
    """Ticks of horizontal axes that count something: at whole numbers, which are there also where one value is."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        low, high = axis.get_xlim()
        if axis.get_xscale() == "linear" and high - low < 1:
            axis.set_xlim(round((low + high) / 2) - 0.5, round((low + high) / 2) + 0.5)
        if axis.get_xscale() == "linear":
            axis.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))


def save(figure: Any, path: str | Path, *, origin: str) -> tuple[Path, Path]:
    """Writes `path`.png and `path`.pdf; `origin` (configuration hashes) goes into the metadata of both. The figure is
    taken off pyplot's list of open ones, and can still be shown."""
    from matplotlib import pyplot

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    png, pdf = path.with_suffix(".png"), path.with_suffix(".pdf")
    figure.savefig(png, metadata={"Description": origin, "Software": "icl-workbench"})
    figure.savefig(pdf, metadata={"Subject": origin, "Creator": "icl-workbench", "CreationDate": None})
    pyplot.close(figure)
    return png, pdf
