"""A process killed, or a disk full, at every single file operation of a run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("fault_driver.py")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills and forks processes the POSIX way")


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("kind", ["kill", "full", "stays-full"])
def test_every_operation(tmp_path, kind):
    """The newest complete checkpoint loads, the log is not behind it, and a second try ends with identical bytes."""
    done = python(DRIVER, tmp_path, kind)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


def test_environment_variable(tmp_path):
    program = f"from icl.runs.atomic import write_atomic; write_atomic({str(tmp_path / 'file')!r}, b'12')"
    assert python("-c", program, ICL_FAULT="kill@2").returncode == -signal.SIGKILL
    assert not (tmp_path / "file").exists()
    full = python("-c", program, ICL_FAULT="enospc@1")
    assert "StorageError: cannot write" in full.stderr
    assert "needs 2 bytes" in full.stderr
    assert python("-c", program).returncode == 0
    assert (tmp_path / "file").read_bytes() == b"12"
    assert "expected kill@N" in python("-c", program, ICL_FAULT="explode").stderr


def test_importing_starts_nothing():
    """Storage is usable, and quick to import, without JAX."""
    done = python("-c", "import sys, icl.runs; assert 'jax' not in sys.modules")
    assert done.returncode == 0, done.stderr
