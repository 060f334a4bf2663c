"""Commands as a user types them, in one process."""

import sys

import pytest

from icl import cli

TINY = [
    "--depth",
    "1",
    "--width",
    "8",
    "--heads",
    "2",
    "--steps",
    "6",
    "--batch",
    "8",
    "--points",
    "4",
    "--prompts",
    "16",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs with spaces")


def icl(capsys, monkeypatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["icl", *words])
    monkeypatch.setenv("ICL_CACHE", "none")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr()
    return stopped.value.code or 0, said.out, said.err


@pytest.fixture
def say(capsys, monkeypatch):
    return lambda *words: icl(capsys, monkeypatch, *words)
