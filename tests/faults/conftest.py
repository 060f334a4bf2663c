"""One run that nothing happened to, with which the others are compared."""

from pathlib import Path

import pytest

from tests.faults.shell import TINY, icl, only


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Path:
    """The directory of a finished run, trained but not reported on. Not to be changed: copy it."""
    root = tmp_path_factory.mktemp("undisturbed")
    said = icl("run", *TINY, "--no-report", "--out", root)
    assert said.code == 0, said.err
    return only(root)
