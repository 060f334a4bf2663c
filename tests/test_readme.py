"""The README is executed: its notebook, and every shell line it shows."""

import re
import shlex

import pytest
import typer.main

from icl import cli
from tests.readme_lines import block


def test_notebook_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for heading in ("In a notebook", "Networks whose algorithm is known"):
        exec(compile(block("python", heading), "README.md", "exec"), names)
    assert len(list((tmp_path / "runs").iterdir())) >= 4


def test_two_commands():
    lines = block("sh", "Two commands").splitlines()
    assert lines == ["pip install -e . && icl run linear-regression --depth 4", 'pip install -e ".[test]" && pytest']


@pytest.mark.parametrize("line", block("sh", "In a shell").splitlines())
def test_shell_lines_name_commands_and_flags_that_exist(line):
    words = shlex.split(line.split("#")[0])
    command = typer.main.get_command(cli.app).commands[words[1]]
    own = {option for parameter in command.params for option in parameter.opts}
    free = command.context_settings.get("ignore_unknown_options", False)
    for word in words[2:]:
        if word.startswith("--") and not free:
            assert word in own, f"{line}: no flag {word}"
    assert not re.search(r"\bTODO\b", line)
