"""An experiment and a figure in a file of one's own: listed, reproduced and drawn as those of the package are."""

from pathlib import Path

import pytest

import experiments
import figures
from function_classes import ConfigError
from icl import custom
from tests.faults.shell import icl as shell

CLAIMS = """
paper = "A note of mine"
setting = "nothing is trained"

[[claim]]
id = "two-is-two"
statement = "Two is two."
source = "the note"
basis = "control"
quantity = "two"
criterion = "between 1.9 and 2.1"
"""
FILE = """
from pathlib import Path
import experiments
import figures
from icl import style

experiments.add(experiments.Experiment(
    name="my-question",
    paper="my-note",
    question="Is two two?",
    claims=Path(__file__).parent,
    scales={"cpu": lambda: {}},
    measures={"MEASURED": experiments.Measure(lambda runs, scale: experiments.Measured(
        experiments.exact("two", [[2.0]], seeded=False)))},
))

@figures.add("my-picture", "What is two?")
def draw(runs, scale):
    with style.styled() as plt:
        figure, axis = plt.subplots()
        axis.plot([1, 2], [2, 2], label="two")
    return figure, "Two.", "nothing"
"""


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "my-note.toml").write_text(CLAIMS)
    path = tmp_path / "mine.py"
    path.write_text(FILE.replace("MEASURED", "two-is-two"))
    return path


def test_they_are_used_by_their_names(file, tmp_path):
    out = ("--out", tmp_path / "runs")
    listed = shell("--plugin", file, "list", "experiments")
    assert "my-question" in listed.out, listed
    done = shell("--plugin", file, "reproduce", "my-question", *out, "--scoreboard", tmp_path / "board.md")
    assert done.code == 0, done.err
    assert done.out.startswith("reproduced: Two is two.")
    assert "| my-note | two-is-two | control |" in (tmp_path / "board.md").read_text()
    drawn = shell("--plugin", file, "figure", "my-picture", "--save", tmp_path / "figures", *out)
    assert drawn.code == 0, drawn.err
    assert (tmp_path / "figures" / "my-picture.png").stat().st_size > 1000
    without = shell("reproduce", "my-question", *out)
    assert without.code == 2
    assert "unknown experiment 'my-question'" in without.err


def test_what_is_wrong_with_one_is_said_when_it_is_added(file, monkeypatch):
    monkeypatch.setattr(experiments, "_added", {})
    monkeypatch.setattr(figures, "_added", {})
    file.write_text(FILE.replace("MEASURED", "two-is-tow"))
    with pytest.raises(ConfigError, match="'two-is-two' has neither a measure nor a reason") as error:
        custom.load(file)
    assert "makes no claim 'two-is-tow'; did you mean 'two-is-two'" in str(error.value)
    file.write_text(FILE.replace("MEASURED", "two-is-two").replace("my-question", "loops"))
    with pytest.raises(ConfigError, match="is the name of an experiment of this package"):
        custom.load(file)
    file.write_text(FILE.replace("MEASURED", "two-is-two").replace("my-picture", "zhang"))
    with pytest.raises(ConfigError, match="is the name of a figure of this package"):
        custom.load(file)
