"""Files of other people, one of every kind as written today, load and work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.shell import ROOT, environment
from tests.frozen.tables import VANISHED
from tests.frozen.use_plugins import PLUGINS

FILES = sorted(path.stem for path in PLUGINS.glob("my_*.py"))


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, str]:
    place = str(tmp_path_factory.mktemp("runs"))
    cache = {
        "JAX_COMPILATION_CACHE_DIR": environment()["ICL_CACHE"],
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.frozen.use_plugins", place],
        cwd=ROOT,
        env=environment(**cache),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_an_outsider_works_as_it_did(said, name):
    assert said[name] == "", f"{name}.py {VANISHED}: mend what it uses, never the file\n{said[name]}"


def test_every_kind_has_a_file():
    """What registers in one of these files covers the kinds that can be registered."""
    texts = "".join(Path(PLUGINS / f"{name}.py").read_text() for name in FILES)
    kinds = ("FunctionClass", "InputLaw", "Shift", "Tokenizer", "MixerConfig", "ModelConfig", "HeadConfig", "Layout")
    kinds += ("Reference", "Optimizer", "Schedule", "Construction", "Probe")
    assert not [kind for kind in kinds if f"@{kind}.registry.add(" not in texts]
