"""`icl check FILE` says what holds of everything in a file, and of what is wrong what was found."""

import pytest

from function_classes import ConfigError
from icl.console import checking
from tests.frozen.use_plugins import PLUGINS


def said(path, capsys) -> tuple[int, list[str]]:
    code = checking.report(path)
    return code, capsys.readouterr().out.splitlines()


def test_a_class_with_the_wrong_bayes_is_found_beside_one_with_the_right_one(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text((PLUGINS / "my_class.py").read_text().replace("my-constant", "checked-constant"))
    code, lines = said(file, capsys)
    assert code == 1
    middle = next(i for i, line in enumerate(lines) if line.startswith("function class Doubled@"))
    assert lines[0] == "function class checked-constant"
    assert all(line.startswith("  holds ") for line in lines[1:middle])
    assert "  BROKEN  has the errors that it says" in lines[middle:]
    assert any("(y - mean)^2 / variance - 1 should be 0 on average" in line for line in lines[middle:])
    assert lines[-1] == "2 broken"


LEAKY = """
import jax.numpy as jnp
from function_classes import Prediction
from icl.references.base import LinearReference, Reference

@Reference.registry.add("checked-leak")
class Leak(LinearReference):
    def weights(self, prompt):
        return prompt.xs * jnp.mean(prompt.ys)
"""


def test_a_reference_that_leaks_is_found(capsys, tmp_path):
    file = tmp_path / "leaky.py"
    file.write_text(LEAKY)
    code, lines = said(file, capsys)
    assert code == 1
    assert "  BROKEN  reference reads nothing that is revealed later" in lines
    assert any("move when what is revealed later is other" in line for line in lines)


def test_a_part_of_a_learner_is_checked_in_a_small_one(capsys, tmp_path):
    file = tmp_path / "mixers.py"
    file.write_text((PLUGINS / "my_mixer.py").read_text().replace("my-mean", "checked-mean"))
    code, lines = said(file, capsys)
    assert (code, lines[0], lines[-1]) == (0, "mixer checked-mean", "all hold")
    assert len(lines) == 6
    file.write_text(file.read_text().replace("jnp.cumsum(x, 0)", "jnp.cumsum(x[::-1], 0)[::-1]"))
    code, lines = said(file, capsys)
    assert code == 1
    assert "  BROKEN  mixer is one function in both forms" in lines
    assert "  BROKEN  learner reads nothing that is revealed later" in lines


def test_a_file_without_anything_to_check(tmp_path):
    file = tmp_path / "empty.py"
    file.write_text("x = 1\n")
    with pytest.raises(ConfigError, match="registers nothing that can be checked: function class, reference, model"):
        checking.report(file)
