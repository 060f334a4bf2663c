"""The notebook runs from top to bottom, at sizes that suit a test."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "is_it_gradient_descent.ipynb"


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert sum("parameters" in cell["metadata"].get("tags", ()) for cell in cells) == 1
    names: dict = {}
    for cell in cells:
        small = "steps, prompts = 20, 64" if "parameters" in cell["metadata"].get("tags", ()) else None
        exec(compile(small or "".join(cell["source"]), NOTEBOOK.name, "exec"), names)
    shown = capsys.readouterr().out
    assert "3 steps" in shown or "gradient descent" in shown
    assert names["linear"].finished
    assert names["transformer"].finished
    plt.close("all")
