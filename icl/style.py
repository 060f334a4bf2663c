"""How figures look: readable in print and without color vision, vector and PNG, with their origin in the file."""

import contextlib
import os
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


def line(name: str, index: int) -> dict[str, Any]:
    """Color, dash and width of a predictor's curve: the model, Bayes and null are the same in every figure."""
    if name == "model" or name.startswith("model "):
        return dict(MODEL)
    if name in ("bayes", "null"):
        return dict(BAYES if name == "bayes" else NULL)
    turn = index // len(PALETTE)
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[(index + 3 * turn) % len(DASHES)], "zorder": 2}


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
