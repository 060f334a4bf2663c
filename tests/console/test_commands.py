"""The command line as a user types it, in one process: what is printed, and the exit code."""

import importlib.metadata
import json
from pathlib import Path

import pytest

from tests.console.conftest import TINY


@pytest.mark.parametrize("task", ["markov", "letter-digit", "gaussian-process", "chain-of-thought"])
def test_every_class_trains_with_its_own_table_and_figures(say, root, task):
    out = ["--out", str(root)]
    head = ["--head", "bars"] if task == "gaussian-process" else []
    code, answer, error = say("run", task, *TINY, *head, *out)
    assert code == 0, error
    assert ("nll" in answer) == (task in ("markov", "letter-digit") or bool(head))
    assert "bayes" in answer
    if task == "markov":
        code, text, error = say("probe", "last", "--all", "--prompts", "8", "--save", str(root / "all"), *out)
        assert code == 0, error
        assert text.strip().endswith("probes.html")
        assert "early-exit\n    does not apply: needs vectors in" in text
        assert (root / "all" / "distance" / "distance.png").is_file()


def test_sweep_compare_extend_fork(say, root):
    out = ["--no-report", "--out", str(root)]
    code, text, _ = say("run", "linear-regression", *TINY, "--depth", "1,2", "--seeds", "2", "--name", "pair", *out)
    assert code == 0
    assert text.count("finished") == 4
    code, text, _ = say("compare", "pair", *out[1:])
    assert text.count("finished") == 4
    assert "depth" in text
    code, _, error = say("extend", "name=none", "--steps", "9", *out)
    assert code == 2
    code, text, error = say("extend", "depth=2,seed=1", "--steps", "9", *out)
    assert code == 0, error
    code, text, error = say("fork", "last", "--at", "0", "--set", "training.learning_rate=1e-4", *out)
    assert code == 0, error


def test_a_loop_is_evaluated_at_other_numbers_of_loops(say, tmp_path):
    """As many as it was trained with change nothing."""
    here = ["--out", str(tmp_path)]
    assert say("run", "linear-regression", *TINY, "--model", "looped", "--loops", "2", "--no-report", *here)[0] == 0
    chosen = ([], ["--loops", "2"], ["--loops", "5"])
    said = [say("evaluate", "last", *loops, "--prompts", "8", *here, "--json") for loops in chosen]
    assert [code for code, _, _ in said] == [0, 0, 0]
    assert said[0][1] == said[1][1] != said[2][1]


def test_dry_run_starts_nothing(say, tmp_path):
    code, text, _ = say("run", "linear-regression", "--depth", "2", "--dry-run", "--out", str(tmp_path / "none"))
    assert code == 0
    assert "parameters" in text
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "linear-regresion"], 2, "did you mean 'linear-regression'"),
        (["run"], 2, "which function class"),
        (["run", "linear-regression", "--depht", "3"], 2, "did you mean 'depth'"),
        (["run", "linear-regression", "--heads", "3"], 2, "does not divide"),
        (["run", "linear-regression", "--steps", "-1"], 2, "at least 0"),
        (["run", "linear-regression", "--preset", "garg"], 2, "garg-2022"),
        (["run", "./none.py:Cubic"], 2, "no such file"),
        (["show", "last", "--out", "nowhere"], 2, "no runs"),
        (["list", "function-clases"], 2, "function-classes"),
        (["list", "references", "--for", "linear-regresion"], 2, "did you mean 'linear-regression'"),
        (["list", "references", "--for", "linear-regression", "--dmi", "3"], 2, "did you mean 'dim'"),
        (["list", "mixers", "--for", "linear-regression"], 2, "which references apply"),
        (["list", "references", "--dim", "3"], 2, "--for"),
        (["figure", "distance"], 2, "distance-to-bayes"),
        (["probe", "last", "early-exits", "--out", "nowhere"], 2, "did you mean 'early-exit'"),
        (["probe", "last", "distance", "--all", "--out", "nowhere"], 2, "not both"),
        (["probe", "last", "distance", "--out", "nowhere"], 2, "no runs"),
        (["reproduce", "nothing"], 2, "default-run"),
        (["reproduce", "default-run", "--scale", "smok"], 2, "did you mean 'smoke'"),
        (["reproduce", "default-run", "--only", "nearer"], 2, "nearer-than-sixteen-steps"),
        (["evaluate", "--nonsense"], 2, "there are no runs"),  # which flags there are depends on the class of the run
        (["plot", "majority", "--references", "particle-filtr"], 2, "did you mean 'particle-filter'"),
        (["plot", "majority", "--references", "ridge,pool-argmin"], 2, "needs a finite pool"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_mistakes_get_a_sentence_and_no_traceback(say, words, code, said):
    found, _, error = say(*words)
    assert found == code, error
    assert said in error
    assert "Traceback" not in error


def test_divergence_is_exit_code_3(say, tmp_path):
    code, _, error = say("run", "linear-regression", *TINY, "--learning-rate", "1e6", "--out", str(tmp_path))
    assert code == 3
    assert "try --learning-rate 0.0" in error


def test_a_place_that_cannot_be_written_is_exit_code_4(say, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, error = say("run", "linear-regression", *TINY, "--out", str(tmp_path / "file" / "below"))
    assert code == 4
    assert "below" in error


def test_a_foreign_directory_is_exit_code_5(say, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    code, _, error = say("show", str(tmp_path) + "/")
    assert code == 5
    assert "missing" in error or "not" in error


def test_own_class_from_a_file(say, tmp_path, monkeypatch):
    source = (Path(__file__).parents[2] / "README.md").read_text()
    code = source.split("```python\n# my_task.py\n")[1].split("```")[0]
    file = tmp_path / "my_task.py"
    file.write_text(code)
    words = [w for w in TINY]
    found, answer, error = say("run", f"{file}:Cubic", *words, "--out", str(tmp_path / "runs"))
    assert found == 0, error
    assert "Cubic" in answer
    found, _, error = say("--plugin", str(file), "show", "last", "--out", str(tmp_path / "runs"))
    assert found == 0, error


def test_lists(say):
    for kind in json.loads(say("list", "--json")[1]):
        code, text, error = say("list", kind)
        assert code == 0, error
        assert text.strip()


def test_version(say):
    code, text, error = say("--version")
    assert code == 0, error
    assert text == f"icl {importlib.metadata.version('icl-workbench')}\n"


def test_references_for_a_class(say):
    code, text, error = say("list", "references", "--for", "markov", "--symbols", "4")
    assert code == 0, error
    applies, rest = text.split("those that do not:")
    assert "context-tree-weighting" in applies
    assert "bigram (KT)" in applies
    assert "markov is a stream" in rest
    code, text, error = say("list", "references", "--for", "linear-regression", "--dim", "3", "--json")
    assert code == 0, error
    found = {entry["name"]: entry for entry in json.loads(text)}
    assert found["ridge"] == {
        "name": "ridge",
        "reason": None,
        "cost": "cheap",
        "standard": ["ridge (best penalty)"],
        "family": "penalty",
    }
    assert found["greedy-tree"]["cost"] == "slow"
    assert "stream" in found["k-gram"]["reason"]


def test_doctor(say):
    code, text, _ = say("doctor")
    assert code == 0
    assert "GFLOP/s" in text


def test_the_printed_catalog_is_that_of_the_registries():
    """Where it differs: python -m icl.console.catalog > docs/catalog.md."""
    from icl.console import catalog

    printed = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")
    found = catalog.markdown().splitlines(keepends=True)
    assert printed == "".join(line for line in found if "@" not in line), "classes of a user's own are not in it"
