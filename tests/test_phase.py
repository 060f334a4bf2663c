"""The map of a sweep on predictors whose family is known."""

from pathlib import Path

import numpy as np
import pytest

from function_classes import ConfigError
from icl import references
from icl.config import Config
from icl.handle import Run
from icl.phase import UNDECIDED, phase


class Known(Run):
    """A run that was never trained: its model is a predictor that is known."""

    config = task = model = finished = path = seed = caveat = None

    def __init__(self, model, finished=True, **settings):
        self.config = Config.create("linear-regression", dim=2, points=6, **settings)
        self.task, self.model, self.finished, self.seed = self.config.task, model, finished, 0
        self.path = Path(f"run-{settings}")
        self.caveat = None if finished else "training was interrupted"


RIDGE, STEPS = references.get("ridge", penalty=0.8), references.get("gradient-descent", steps=1, rate=0.3)


def test_cells_are_colored_by_their_family():
    runs = [
        Known(RIDGE, depth=1, noise_std=0.1, seed=0),
        Known(RIDGE, depth=1, noise_std=0.1, seed=1),
        Known(STEPS, depth=1, noise_std=0.5),
        Known(RIDGE, depth=2, noise_std=0.1, seed=0),
        Known(STEPS, depth=2, noise_std=0.1, seed=1),
        Known(STEPS, finished=False, depth=4, noise_std=0.5),
    ]
    found = phase(runs, "depth", "noise_std", prompts=64)
    cells = {(cell.x, cell.y): cell for cell in found.cells}
    assert cells[1, 0.1].family == "ridge"
    np.testing.assert_allclose(cells[1, 0.1].parameter, 0.8, rtol=0.05)
    assert cells[1, 0.5].family != "ridge"
    assert cells[2, 0.1].family == UNDECIDED
    assert len(cells[2, 0.1].runs) == 2
    assert f"ridge {cells[1, 0.1].parameter:.3g}" in str(found)
    assert (4, 0.5) not in cells
    assert "left out: run-{'depth': 4, 'noise_std': 0.5}: training was interrupted" in str(found)
    assert {entry["family"] for entry in found.plain()} >= {"ridge", UNDECIDED}
    axis = found.plot().axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "2"]


def test_what_cannot_be_drawn_is_refused():
    runs = [Known(RIDGE, depth=1), Known(RIDGE, depth=2)]
    with pytest.raises(ConfigError, match=r"noise_std: is 0.5 in every run"):
        phase(runs, "depth", "noise_std")
    with pytest.raises(ConfigError, match=r"did you mean 'depth'"):
        phase(runs, "dept", "noise_std")
    with pytest.raises(ConfigError, match="no such setting"):
        phase(runs, "model.depht", "depth")
    with pytest.raises(ConfigError, match=r"no run has finished: .*'depth': 4.*: training was interrupted"):
        phase([Known(RIDGE, finished=False, depth=4)], "depth", "noise_std")
