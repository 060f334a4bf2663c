"""The doors as users meet them: without the annotations that tests execute, which would answer first."""

import os
import subprocess
import sys
from pathlib import Path

from tests.compiling import FAST

ROOT = Path(__file__).parents[1]


def test_every_door(tmp_path):
    words = ["-m", "pytest", "--noconftest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "tests/at_the_door.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": FAST, "ICL_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:]
