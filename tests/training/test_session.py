"""Runs on disk: bitwise resume across processes, extend, fork, ensembles, interrupts, divergence."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

from function_classes.fields import ConfigError
from icl.config import Config
from icl.handle import Run, load, load_all
from icl.runs import checkpoints, provenance
from icl.runs.directory import RunDirectory, State
from icl.runs.errors import Diverged, NotFound
from icl.training.session import expand, extend, fork, run_all, sweep, train
from tests.compiling import FAST

TINY = {"depth": 1, "width": 8, "heads": 2, "batch": 8, "log_every": 5, "validation_prompts": 8}
TINY |= {"checkpoint_every": "5", "optimizer": "adam"}
ROOT = Path(__file__).parents[2]
PROGRAMS = Path(tempfile.gettempdir()) / "icl-tests-compilation-cache" / "sessions"


def tiny(task: str = "linear-regression", **settings) -> Config:
    return Config.create(task, **{**TINY, "points": 4, "steps": 20, **settings})


def contents(run: Run) -> dict[str, bytes]:
    """The bytes that resuming must not change: the log and the last checkpoint."""
    last = checkpoints.directory_of(run.directory.checkpoints, run.steps[-1])
    files = {path.name: path.read_bytes() for path in sorted(last.iterdir())}
    return files | {"metrics": run.directory.metrics.read_bytes()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return train(tiny(), root=tmp_path_factory.mktemp("runs"))


def test_a_run_is_what_its_configuration_says(finished):
    assert finished.finished
    assert finished.config == tiny()
    assert finished.metrics["step"].tolist() == [5, 10, 15, 20]
    assert finished.steps[0] == 0
    assert finished.steps[-1] == 20
    assert {"loss", "validation_loss", "excess"} <= set(finished.metrics)
    prompt = finished.task.sample(jax.random.key(0))
    assert finished.model(prompt).mean.shape == (4,)
    assert not np.array_equal(finished.at(0).model(prompt).mean, finished.model(prompt).mean)
    assert [run.step for run in finished.trajectory()] == list(finished.steps)
    with pytest.raises(NotFound, match="nearest is at step 5"):
        finished.at(3)


def test_the_same_configuration_is_not_trained_twice(finished):
    before = contents(finished)
    again = train(tiny(), root=finished.path.parent)
    assert again.path == finished.path
    assert contents(again) == before


def test_fresh_moves_the_old_run_aside(tmp_path):
    first = train(tiny(steps=4), root=tmp_path)
    session = run_all([tiny(steps=4)], root=tmp_path, fresh=True)
    assert session.runs[0].finished
    assert Run(type(first.directory).open(tmp_path / "replaced" / f"{first.path.name}-1")).finished


PROCESS = """
import os, sys
from icl.config import Config
from icl.training.session import run_all
import icl.training.trainer as trainer
trainer.CHUNK_SECONDS = 0.0
configs = [Config.create({task!r}, **dict({settings!r}, seed=s)) for s in range({seeds})]
def watch(progress):
    if progress.phase == "training" and progress.step == {stop}:
        os.kill(os.getpid(), {signal})
sys.exit(run_all(configs, root=sys.argv[1], watch=watch).outcome.exit_code)
"""


def process(root: Path, task: str, settings: dict, stop: int = -1, number: int = 0, seeds: int = 1) -> int:
    code = PROCESS.format(task=task, settings=settings, stop=stop, signal=number, seeds=seeds)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": FAST}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(PROGRAMS), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}
    return subprocess.run([sys.executable, "-c", code, str(root)], timeout=240, env=environment).returncode


@pytest.mark.parametrize(
    ("task", "stop", "number", "code"),
    [
        ("linear-regression", 7, signal.SIGINT, 130),
        ("markov", 12, signal.SIGTERM, 143),
        ("linear-regression", 11, signal.SIGKILL, -9),
    ],
)
def test_resume_is_bitwise_across_processes(tmp_path, task, stop, number, code):
    """The interrupted run and the one that was not end with the same bytes, whatever the signal and the step."""
    settings = {**TINY, "points": 6, "steps": 20, "checkpoint_every": "3"}
    assert process(tmp_path / "whole", task, settings) == 0
    assert process(tmp_path / "parts", task, settings, stop, number) == code
    stopped = load("last", tmp_path / "parts")
    assert stopped.state in (State.INTERRUPTED, State.RUNNING)
    assert 0 < stopped.step < 20
    assert process(tmp_path / "parts", task, settings) == 0
    whole, parts = load("last", tmp_path / "whole"), load("last", tmp_path / "parts")
    assert contents(whole) == contents(parts)
    assert whole.steps == parts.steps


def test_extend_equals_the_long_run_from_the_start(tmp_path, finished):
    longer = extend(finished, 50, root=tmp_path / "a")
    assert load("last", tmp_path / "a").state is State.INTERRUPTED
    a, b = train(longer, root=tmp_path / "a"), train(longer, root=tmp_path / "b")
    assert contents(a) == contents(b)
    assert a.identity != finished.identity


def test_fork_continues_with_other_settings_and_remembers_its_parent(tmp_path, finished):
    config = fork(finished, 10, {"learning_rate": 1e-5}, root=tmp_path)
    child = train(config, root=tmp_path)
    assert child.config.origin.startswith(finished.identity)
    assert child.identity != finished.identity
    assert child.finished
    with pytest.raises(Exception, match="shape"):
        fork(finished, 0, {"width": 16}, root=tmp_path)


def test_sweep_packs_and_names(tmp_path):
    runs = sweep(tiny(steps=6), {"model.depth": [1, 2], "seed": range(2)}, root=tmp_path, name="depths")
    assert [(r.config.model.depth, r.seed) for r in runs] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert all(run.finished for run in runs)
    assert len(load_all("depths", tmp_path)) == 4
    (one,) = sweep(tiny(steps=6), {"model.depth": [2], "seed": [1]}, root=tmp_path, name="deep")
    assert load("deep", tmp_path).identity == one.identity == runs[3].identity
    assert len(load_all("depths", tmp_path)) == 3
    assert load("depth=2,seed=1", tmp_path).identity == runs[3].identity


def test_expand_reports_every_invalid_member():
    with pytest.raises(Exception, match="does not divide"):
        expand(tiny(), {"heads": [1, 3]})


def test_divergence_is_named_and_the_others_go_on(tmp_path):
    session = run_all([tiny(), tiny(learning_rate=1e6)], root=tmp_path)
    good, bad = session.runs
    assert session.outcome.exit_code == 3
    assert good.finished
    assert bad.state is State.DIVERGED
    assert "learning rate 1e+06" in str(bad.directory.status)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(bad.model) if hasattr(leaf, "shape"))
    with pytest.raises(Diverged):
        train(tiny(learning_rate=1e6), root=tmp_path)


def test_zero_steps_one_point_one_dim_one_prompt(tmp_path):
    assert train(tiny(steps=0), root=tmp_path).steps == (0,)
    assert train(tiny(steps=2, points=1, dim=1, batch=1), root=tmp_path).finished


def test_damaged_newest_checkpoint_falls_back_with_a_warning(tmp_path):
    settings = {**TINY, "points": 4, "steps": 20, "checkpoint_every": "4"}
    config = Config.create("linear-regression", **settings)
    assert process(tmp_path / "r", "linear-regression", settings, 10, signal.SIGINT) == 130
    run = load("last", tmp_path / "r")
    newest = checkpoints.directory_of(run.directory.checkpoints, run.steps[-1])
    data = max(newest.iterdir(), key=lambda p: p.stat().st_size)
    data.write_bytes(data.read_bytes()[:-7])
    again = train(config, root=tmp_path / "r")
    assert again.finished
    assert any("leaves" in w or "bytes" in w or str(newest.name) in w for w in again.directory.status.warnings)


def test_second_process_on_one_run_is_refused(tmp_path):
    run = train(tiny(steps=2), root=tmp_path)
    with run.directory.lock():
        code = (
            "import sys\nfrom icl.runs.directory import RunDirectory\nfrom icl.runs.errors import Busy\n"
            "try:\n    RunDirectory.open(sys.argv[1]).lock().__enter__()\n"
            "except Busy as e:\n    print(e); sys.exit(5)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert str(os.getpid()) in done.stdout


def test_a_run_that_states_no_rate_goes_on_under_its_old_identity(tmp_path, finished):
    """As `Config(task)` was once written down. Under an identity that its settings never had, it does not."""
    config = tiny()
    tree = config.dump()
    tree["training"]["learning_rate"] = None
    old, wrong = (
        RunDirectory.create(tmp_path / name, tree, identity, provenance.manifest(tree, identity))
        for name, identity in (
            ("old", config.identity_as({"training": {"learning_rate": None}})),
            ("wrong", config.identity),
        )
    )
    (run,) = run_all([Run(old).config], directories=[old], leave=False).runs
    assert (run.finished, run.identity) == (True, config.identity_as({"training": {"learning_rate": None}}))
    assert contents(run)["metrics"] == contents(finished)["metrics"]
    with pytest.raises(ConfigError, match="in which the same settings mean something else"):
        run_all([Run(wrong).config], directories=[wrong], leave=False)
