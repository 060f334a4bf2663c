"""What surrounds a command: hostile texts, packages of our names, settings of JAX, damaged programs, missing locks."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from icl.config import Config
from icl.console import machine, streams
from icl.runs import provenance
from icl.runs.strict_json import seal
from tests.faults.shell import FAST, ROOT, TINY, icl, only, talk


def test_control_characters_are_shown_and_letters_are_not():
    assert streams.shown("a\x1b[31mb\x07\x9b\u202ec") == "a\\x1b[31mb\\x07\\x9b\\u202ec"
    assert streams.shown("λ\tof\ntoday → é") == "λ\tof\ntoday → é"
    below = io.StringIO()
    stream = streams.Visible(below)
    assert stream.write("\x1b") == 1
    stream.writelines(["a", "\r"])
    assert below.getvalue() == "\\x1ba\\r"


def test_an_alias_with_an_escape_sequence_is_harmless_everywhere(tmp_path):
    (made,) = talk(["run", *TINY, "--no-report", "--out", tmp_path])
    assert made.code == 0, made.err
    run = only(tmp_path)
    fields = {k: v for k, v in json.loads((run / "manifest.json").read_text()).items() if k != "checksum"}
    (run / "manifest.json").write_bytes(seal({**fields, "name": "\x1b]0;owned\x07\x1b[31mred", "command": ["\x1b[2J"]}))
    config = json.loads((run / "status.json").read_text())
    del config["checksum"]
    (run / "status.json").write_bytes(seal({**config, "warnings": ["\x1b[1mbold"]}))
    commands = [["runs"], ["runs", "--json"], ["show"], ["compare", "depth=1"], ["show", "nosuch"], ["show", "\x1b[1m"]]
    for said in talk(*([*words, "--out", tmp_path] for words in commands)):
        assert "\x1b" not in said.out + said.err, said
        assert "\x07" not in said.out + said.err, said


@pytest.mark.parametrize("shadow", ["probes.py", "experiments/__init__.py", "figures.py"])
def test_a_package_of_the_users_with_our_name_is_named(tmp_path, shadow):
    (tmp_path / shadow).parent.mkdir(exist_ok=True)
    (tmp_path / shadow).write_text("")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "icl.cli", "list", "heads"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert str(tmp_path / shadow) in done.stderr
    assert "rename it" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("JAX_ENABLE_X64", "1", "64-bit numbers"),
        ("JAX_THREEFRY_PARTITIONABLE", "0", "order of random numbers"),
        ("JAX_DEFAULT_PRNG_IMPL", "rbg", "random generator"),
        ("JAX_DISABLE_JIT", "1", "compiling is off"),
    ],
)
def test_settings_that_would_train_other_numbers_are_refused(tmp_path, variable, value, said):
    answer = icl("run", *TINY, "--out", tmp_path / "runs", **{variable: value})
    assert answer.code == 2, answer
    assert said in answer.err
    assert f"unset {variable}" in answer.err
    assert len(answer.err.splitlines()[-1]) < 200
    assert not (tmp_path / "runs").exists()


def test_the_precision_of_matrix_products_is_in_the_identity():
    config = Config.create("linear-regression")
    usual = config.identity
    with jax.default_matmul_precision("highest"):
        assert provenance.precision() == "highest"
        assert config.identity != usual
    with jax.default_matmul_precision("default"):
        assert config.identity == usual


def test_a_run_of_another_precision_is_not_resumed(tmp_path):
    (made,) = talk(["run", *TINY, "--no-report", "--out", tmp_path], JAX_DEFAULT_MATMUL_PRECISION="highest")
    assert made.code == 0, made.err
    (refused,) = talk(["resume", "last", "--no-report", "--out", tmp_path])
    assert refused.code == 2
    assert "precision highest" in refused.err


PROGRAM = """
import sys
from icl.console import machine
machine.keep_programs()
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x))(jnp.ones((3, 3)))[0, 0])
"""


def test_a_damaged_program_is_dropped_and_written_anew(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ICL_CACHE": str(tmp_path), "XLA_FLAGS": FAST}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)

    def start():
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout, done.stderr

    first, _ = start()
    entries = sorted((tmp_path / "programs").glob("jit__lambda*-cache"))
    assert entries
    good = entries[0].read_bytes()
    for damaged in (good[: len(good) // 2], good[:-9] + bytes([good[-9] ^ 1]) + good[-8:], b""):
        entries[0].write_bytes(damaged)
        assert start() == (first, "")
        assert entries[0].read_bytes() != damaged


def test_the_doctor_says_whether_runs_can_be_locked(tmp_path):
    said = json.loads(machine.doctor(tmp_path / "runs" / "of mine", True))
    assert said[f"runs in {tmp_path / 'runs' / 'of mine'}"] == "can be written and locked"
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    said = json.loads(machine.doctor(tmp_path / "file" / "below", True))
    assert said[f"runs in {tmp_path / 'file' / 'below'}"] == f"cannot be written: {tmp_path / 'file'} is a file"


def test_without_locks_runs_train_and_say_so(tmp_path):
    plugin = tmp_path / "nolocks.py"
    plugin.write_text(
        "import errno, fcntl\n"
        "def refuse(*_):\n    raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = refuse\n"
    )
    said = icl("--plugin", plugin, "run", *TINY, "--no-report", "--out", tmp_path / "runs")
    assert said.code == 0, said.err
    assert "no locks" in said.err
    assert not list(Path(only(tmp_path / "runs")).glob("owner"))
