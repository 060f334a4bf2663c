"""README's notebook, in a real kernel: a class and a module typed in cells train, and edited cells are other runs."""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.cells import CLASS, MODULE
from tests.compiling import FAST

ROOT = Path(__file__).parents[1]
TRAIN = """
run = icl.train(task=Slope(), model=Weight(jnp.zeros(1)), steps=2, batch=4, validation_prompts=4, optimizer="sgd")
print(run.path.name, run.finished, run.source_known)
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_class_and_a_module_typed_in_cells_train(tmp_path):
    cells = [CLASS.format(factor=2), MODULE, TRAIN, TRAIN, CLASS.format(factor=2), TRAIN, CLASS.format(factor=3), TRAIN]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": FAST})
    said = [cell["outputs"][0]["text"].split() for cell in notebook.cells if cell["source"] == TRAIN]
    first, again, typed_again, edited = said
    assert first[1:] == ["True", "True"]
    assert first == again == typed_again
    assert edited[0] != first[0]
