"""A run from the shell to its answer, and every command that reads it: one road through everything."""

import json

from tests.console.conftest import TINY


def test_run_answers_and_every_reading_command_follows(say, root):
    out = ["--out", str(root)]
    code, answer, shown = say("run", "linear-regression", *TINY, *out)
    assert code == 0
    assert "The trained model is" in answer
    assert "parameters" in shown
    for name in ("error_by_position.png", "learning_curve.pdf", "table.csv"):
        assert name in answer
    again = say("run", "linear-regression", *TINY, *out)
    assert (again[0], again[1]) == (0, answer)
    code, listing, _ = say("runs", *out, "--json")
    (run,) = json.loads(listing)
    assert run["state"] == "finished"
    for words in (["show"], ["identify", "last", "--prompts", "16"], ["evaluate", "last", "--prompts", "16"]):
        code, text, error = say(*words, *out)
        assert code == 0, error
        assert len(text) > 40
    shifted = ["evaluate", "last", "--shift", "scale-inputs=2", "--prompts", "16", "--json"]
    code, text, _ = say(*shifted, *out)
    assert code == 0
    assert "bayes of training" in json.loads(text)["columns"]["predictor"]
    code, text, _ = say("evaluate", "last", "--references", "greedy-tree", "--prompts", "8", "--json", *out)
    assert code == 0
    assert any("greedy" in name for name in json.loads(text)["columns"]["predictor"])
    code, text, _ = say("probe", "last", "implicit-weights", "--prompts", "8", *out)
    assert code == 0
    assert "R^2" in text
    assert say("probe", "last", *out)[1].startswith("distance\n    How far")
