"""Runs that go on: after a kill between any two files, by their path, beside a failure, and what they say meanwhile."""

import shutil
from pathlib import Path

import jax.numpy as jnp
import pytest

from function_classes import FunctionClass, Real, setting
from icl import custom
from icl.config import Config
from icl.console import evaluating, reading, training
from icl.handle import Run, load
from icl.runs import checkpoints, metrics
from icl.runs.directory import RunDirectory, State
from icl.runs.query import find
from icl.training import placing, trainer
from icl.training.session import extend, run_all, train
from tests.training.test_session import contents, tiny


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return train(tiny(), root=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def longer(tmp_path_factory) -> Run:
    """What `finished` is extended to, from its start."""
    schedule = {"training.schedule": tiny().training.schedule}
    return train(tiny().change(steps=50, **schedule), root=tmp_path_factory.mktemp("longer"))


@pytest.mark.parametrize("at", range(3))
def test_extend_killed_anywhere_and_resumed_has_all_rows(tmp_path, monkeypatch, finished, longer, at):
    """By `resume` as by the same command again."""
    save, seen = checkpoints.save, []

    def dying(*arguments, **words):
        seen.append(arguments)
        if len(seen) > at:
            raise Killed
        return save(*arguments, **words)

    monkeypatch.setattr(checkpoints, "save", dying)
    with pytest.raises(Killed):
        extend(finished, 50, root=tmp_path / "a")
    monkeypatch.setattr(checkpoints, "save", save)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    resumed = train(longer.config, root=tmp_path / "a")
    assert contents(resumed) == contents(longer)
    again = train(extend(finished, 50, root=tmp_path / "b"), root=tmp_path / "b")
    assert contents(again) == contents(longer)
    assert again.steps == longer.steps


def test_a_checkpoint_ahead_of_its_log_is_passed_over(tmp_path, longer):
    """As older versions left them: rows 12 to 16 of 20 were gone for good."""
    shutil.copytree(longer.path, tmp_path / longer.path.name)
    run = load("last", tmp_path)
    metrics.cut_back(run.directory.metrics, 20)
    for step, path in checkpoints.list_checkpoints(run.directory.checkpoints).items():
        if step > 35:
            shutil.rmtree(path)
    with run.directory.lock():
        run.directory.set_status(State.RUNNING, 35)
    assert contents(train(longer.config, root=tmp_path)) == contents(longer)


def test_extending_a_run_that_was_trained_on_changes_nothing(tmp_path, finished):
    config = extend(finished, 50, root=tmp_path)
    done = train(config, root=tmp_path)
    before = contents(done)
    assert extend(finished, 50, root=tmp_path) == config
    assert done.finished
    assert contents(done) == before


def test_a_run_named_by_its_path_goes_on_where_it_is(tmp_path, monkeypatch, finished):
    """Outside the folder of runs, under another name, and behind a link; and it is extended beside itself."""
    home = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(finished.path, home)
    shutil.rmtree(home / "checkpoints" / "step-00000020")
    (tmp_path / "link").symlink_to(home)
    with RunDirectory.open(home).lock():
        RunDirectory.open(home).set_status(State.RUNNING, 15)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "_share_cores", lambda *_: None)
    assert training.again(str(tmp_path / "link"), Path("runs"), answer=False) == 0
    assert not Path("runs").exists()
    run = Run(RunDirectory.open(home))
    assert run.finished
    assert contents(run) == contents(finished)
    assert training.longer(str(tmp_path / "link"), 24, Path("runs"), answer=False) == 0
    assert not Path("runs").exists()
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


def test_the_clock_keeps_a_state_that_no_cadence_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHUNK_SECONDS", 0.0)
    config = tiny(checkpoint_every="none", save_minutes=1e-6, steps=12)
    seen = []

    def watch(progress):
        run = load("last", tmp_path)
        seen.append((progress.step, run.steps, checkpoints.list_names(run.directory.rolling)))
        if progress.step == 9:
            raise Killed

    with pytest.raises(Killed):
        train(config, root=tmp_path, watch=watch)
    assert seen[-1] == (9, (0, 3), (9,))  # 3 is the last step that all longer runs share
    stopped = load("last", tmp_path)
    assert (stopped.state, stopped.directory.status.step) == (State.INTERRUPTED, 9)
    steps = []
    run = train(config, root=tmp_path, watch=lambda progress: steps.append(progress.step))
    assert min(steps[1:]) == 10
    assert not run.directory.rolling.exists()
    assert contents(run) == contents(train(config, root=tmp_path / "whole"))
    assert config.identity == tiny(checkpoint_every="none", save_minutes=None, steps=12).identity


def test_a_status_says_how_far_training_is(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "STATUS_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "STATUS_SHARE", 1e9)
    said = []
    train(tiny(), root=tmp_path, watch=lambda progress: said.append(reading.listing(tmp_path, False)))
    assert "planned" in said[0]
    assert any("running" in text and " 7" in text.splitlines()[1] for text in said)


class Broken(FunctionClass):
    """A class with a mistake."""

    points: int = setting(3, "positions", at_least=1)
    x_space = Real((1,))
    y_space = Real()

    def sample_latent(self, key):
        return jnp.zeros(())

    def sample_inputs(self, latent, key):
        return jnp.zeros((self.points, 1))

    def evaluate(self, latent, xs):
        return xs[:, 0, 0]


def test_a_command_that_fails_before_its_first_step_leaves_no_run(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / finished.path.name)
    custom.register(Broken)
    with pytest.raises(Exception, match="indices"):
        run_all([Config.create(Broken(), depth=1, width=8, heads=2)], root=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [finished.path.name]


def test_a_failure_on_the_way_is_a_state(tmp_path):
    def watch(progress):
        if progress.step == 10:
            raise RuntimeError("the display broke")

    with pytest.raises(RuntimeError):
        train(tiny(), root=tmp_path, watch=watch)
    status = load("last", tmp_path).directory.status
    assert status.state is State.FAILED
    assert "the display broke" in status.detail
    assert train(tiny(), root=tmp_path).finished


def test_last_is_the_last_run_that_began(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / finished.path.name)
    ((planned,), _) = placing.find([tiny(seed=9)], tmp_path, None, False)
    assert planned.status.state is State.PLANNED
    assert find(tmp_path, "last").path.name == finished.path.name
    assert find(tmp_path, planned.path.name) == planned


def test_answers_about_unfinished_runs_say_so(tmp_path, finished):
    shutil.copytree(finished.path, tmp_path / finished.path.name)
    run = load("last", tmp_path)
    assert run.caveat is None
    assert "step 10 of 20" in run.at(10).caveat
    with run.directory.lock():
        run.directory.set_status(State.DIVERGED, 20, "worst in head")
    assert "diverged at step 20" in run.caveat
    said = evaluating.evaluate("last", tmp_path, None, [], None, None, 8, None, False)
    assert said.startswith(f"warning: {run.path.name}: training diverged")
    assert reading.identify("last", tmp_path, 64, False).startswith("warning: ")
