"""Errors of the machine are named as such: a device that is not there, a home that nobody knows or may read."""

from pathlib import Path

import jax
import pytest

from icl.console import failures, machine
from tests.faults.shell import TINY, icl, talk


@pytest.mark.parametrize("platform", ["cuda", "nosuch"])
def test_a_device_that_is_not_there(platform, tmp_path):
    said = icl("run", *TINY, "--no-report", "--out", tmp_path, JAX_PLATFORMS=platform)
    assert said.code == 2
    assert f"JAX finds no device for JAX_PLATFORMS={platform}" in said.err
    assert "unset JAX_PLATFORMS" in said.err
    assert "defect" not in said.err
    assert "Traceback" not in said.err
    assert not list(tmp_path.iterdir())


def test_an_assertion_of_ours_is_still_a_defect(capsys):
    with pytest.raises(AssertionError) as caught:
        raise AssertionError
    assert failures.report(caught.value) == 1
    assert "defect of icl" in capsys.readouterr().err


def nowhere(*_):
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("fault", ["unknown", "unwritable"])
def test_a_home_that_cannot_be_used_costs_the_cache_alone(fault, tmp_path, monkeypatch):
    for name in ("ICL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setattr(Path, "home", nowhere if fault == "unknown" else lambda: tmp_path)
    if fault == "unwritable":
        monkeypatch.setattr(machine.os, "access", lambda *_: False)
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        machine.keep_programs()
        assert jax.config.jax_compilation_cache_dir is None
        assert ("nowhere" in machine.cache_words()) == (fault == "unknown")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


OWN = """
import jax
from function_classes import FunctionClass, Real, Signs

class Bits(FunctionClass):
    points: int = 4
    @property
    def x_space(self): return Real((2,))
    @property
    def y_space(self): return Signs()
    def sample_latent(self, key): return jax.random.normal(key, (2,))
    def sample_inputs(self, latent, key): return jax.random.normal(key, (self.points, 2))
    def evaluate(self, latent, xs): return (xs @ latent > 0).astype("float32")

class Broken(Bits):
    def evaluate(self, latent, xs): return xs @ latent[:1]
"""


def test_mistakes_in_a_file_of_the_user_are_the_users(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    sizes = [*TINY[1:], "--no-report", "--out", tmp_path / "runs"]
    bits, broken = talk(*(["run", f"{tmp_path / 'own.py'}:{name}", *sizes] for name in ("Bits", "Broken")))
    assert "Bits@" in bits.err
    assert "the values 0, 1, and signs are -1 and 1; write 2 * y - 1" in bits.err
    assert f"{tmp_path / 'own.py'}, line 16, in evaluate: TypeError" in broken.err
    for said in (bits, broken):
        assert said.code == 2
        assert "defect" not in said.err
    assert not (tmp_path / "runs").exists()
