"""A small made-up repository, with commits of its own."""

import json
import os
import subprocess

import pytest

from tests.selection import changes, choose, durations

CONTRACT = "tests/references/test_contract.py"
FILES = {
    "icl/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from icl.report import draw\n",
    "icl/references/__init__.py": "",
    "icl/references/base.py": "class Reference: ...\n",
    "icl/references/fitting.py": "",
    "icl/references/lasso.py": "from icl.references import fitting\n@R.registry.add('lasso')\nclass Lasso: ...\n",
    "icl/references/ridge.py": "@Reference.registry.add('ridge', papers=('x',))\nclass Ridge: ...\n",
    "icl/scoring.py": "",
    "icl/report.py": "def draw():\n    from icl.scoring import score\n",
    "icl/page.py": "from icl import report\n",
    "icl/words.toml": "",
    "tests/conftest.py": "",
    "tests/house.py": "",
    "tests/test_house.py": "",
    CONTRACT: "from tests.conftest import rotate\nnames = rotate(config, references.names())\n",
    "tests/references/test_lasso.py": "",
    "tests/references/test_twins.py": "task = references.get('ridge')\n",
    "tests/test_all.py": "import icl.page\n",
    "tests/test_report.py": "import icl.report\n",
    "tests/test_scoring.py": "from icl import scoring\n",
    "tests/test_words.py": "(ROOT / 'icl' / 'words.toml').read_text()\n",
    "tests/test_shell.py": "run('-m', 'icl.report')\n",
    **{f"tests/far/test_{letter}.py": "" for letter in "abcd"},
}
# Files outside the core whose turn it is are no news; these tests look at the others.
CORE_HERE = ("tests/test_house.py", CONTRACT)


def git(root, *words):
    who = {f"GIT_{one}_{what}": "nobody" for one in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, env={**os.environ, **who, **alone})


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def commit(root, files):
    write(root, files)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "one")


@pytest.fixture
def repository(tmp_path):
    """One commit, which is that of the last full run, and a table in which every file takes a second."""
    root = tmp_path / "here"
    costs = {name: 1 for name in FILES if "/test_" in name}
    root.mkdir()
    git(root, "init", "-q")
    commit(root, FILES | {durations.TABLE: json.dumps(costs)})
    commit(root, {choose.LAST_FULL: changes.head(root) + "\n"})
    return root


@pytest.fixture(autouse=True)
def _one_file_a_turn(monkeypatch):
    monkeypatch.setattr(choose, "TURN", 1)
