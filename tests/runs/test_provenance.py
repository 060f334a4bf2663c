import json
import subprocess

import jax
import numpy as np
import pytest

from icl.runs import RunDirectory, provenance


def run_git(place, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(place), *identity, *arguments], check=True, capture_output=True)


def test_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_example")
    config = {"task": {"name": "linear-regression"}}
    with jax.default_matmul_precision("highest"):
        found = provenance.manifest(config, "a" * 16, command=["icl", "run"], packing={"members": 3}, extra={"x": 1})
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert found["devices"]["count"] == jax.device_count()
    assert found["prng"] == jax.config.jax_default_prng_impl
    assert (found["matmul_precision"], found["xla_flags"]) == ("highest", "--xla_example")
    assert (found["command"], found["packing"], found["x"]) == (["icl", "run"], {"members": 3}, 1)
    run = RunDirectory.create(tmp_path, config, "a" * 16, found)
    assert found.items() <= run.manifest.items()


def test_git(tmp_path):
    """Clean, changed and differently changed sources are told apart; a copy that git does not track has no commit."""
    if provenance._git(tmp_path, "--version") is None:
        pytest.skip("git is not installed")
    source = tmp_path / "package" / "module.py"
    source.parent.mkdir()
    source.write_text("one")
    assert provenance.git(source) is None
    run_git(tmp_path, "init")
    assert provenance.git(source) is None
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "-m", "first")
    clean = provenance.git(source)
    assert len(clean["commit"]) == 40
    assert clean["changes"] == "clean"
    seen = []
    for text in ("two", "three"):
        source.write_text(text)
        seen.append(provenance.git(source))
    assert {found["commit"] for found in seen} == {clean["commit"]}
    assert len({found["changes"] for found in seen} | {"clean"}) == 3


def test_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git(tmp_path / "module.py") is None
