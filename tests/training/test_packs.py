"""Which runs are one program, and that a run goes on in the place where it began, whoever is still there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from function_classes import ConfigError
from icl.handle import Run, load_all
from icl.runs import checkpoints
from icl.runs.atomic import write_atomic
from icl.runs.directory import RunDirectory, State
from icl.runs.errors import Busy
from icl.runs.strict_json import seal
from icl.training import packs, placing
from icl.training.session import extend, run_all, sweep
from tests.compiling import FAST
from tests.training.test_session import contents, tiny

ROOT = Path(__file__).parents[2]
SEEDS = [tiny(seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Run, ...]:
    """Three seeds that train as one program on two devices, undisturbed."""
    return run_all(SEEDS, root=tmp_path_factory.mktemp("whole"), name="seeds").runs


def killed(whole: tuple[Run, ...], root: Path, left: tuple[int, ...]) -> list[Run]:
    """What a kill leaves: every run at its own step, still `running`, with rows of the log beyond its checkpoint."""
    runs = []
    for run, step in zip(whole, left, strict=True):
        path = root / run.path.name
        shutil.copytree(run.path, path)
        for stored, folder in checkpoints.list_checkpoints(path / "checkpoints").items():
            if stored > step:
                shutil.rmtree(folder)
        directory = RunDirectory.open(path)
        with directory.lock():
            directory.set_status(State.RUNNING, step)
        runs.append(Run(RunDirectory.open(path)))
    return runs


def test_the_manifest_says_which_program_and_which_place(whole):
    found = [run.directory.packing for run in whole]
    assert [one["place"] for one in found] == [0, 1, 2]
    assert len({one["pack"] for one in found}) == 1
    assert {(one["members"], one["devices"], one["mode"], one["split"]) for one in found} == {(3, 2, "map", 1)}


@pytest.mark.parametrize("left", [(15, 10, 10), (0, 5, 15), (20, 15, 20)])
def test_members_killed_at_different_steps_go_on_with_the_same_bits(tmp_path, whole, left):
    stopped = killed(whole, tmp_path, left)
    assert [run.state for run in stopped] == [State.INTERRUPTED] * 3
    again = run_all(SEEDS, root=tmp_path).runs
    assert [contents(run) for run in again] == [contents(run) for run in whole]
    assert not any(run.directory.status.warnings for run in again)


def test_one_member_goes_on_alone_in_its_place(tmp_path, whole):
    killed(whole, tmp_path, (10, 10, 10))
    (run,) = run_all(SEEDS[1:2], root=tmp_path).runs
    assert contents(run) == contents(whole[1])
    (alone,) = run_all(SEEDS[1:2], root=tmp_path / "alone").runs
    assert alone.directory.packing["members"] == 1


@pytest.mark.parametrize("missing", [(1,), (0, 2)])
def test_runs_whose_pack_was_being_made_when_a_kill_came_join_it(tmp_path, whole, missing):
    """A sweep of five: the first and the last exist already, and of the three others some have no directory yet."""
    wider = [tiny(seed=9), *SEEDS, tiny(seed=8)]
    made = placing.find([wider[0], wider[4]], tmp_path, None, False)[0]
    wanted = [run.directory.packing for run in whole]
    for index in {0, 1, 2} - set(missing):
        placing.create(SEEDS[index], tmp_path, None, wanted[index])
    found, created = placing.find(wider, tmp_path, None, False)
    assert [directory.packing for directory in found] == [made[0].packing, *wanted, made[1].packing]
    assert created == [found[1 + index] for index in missing]
    (only,), _ = placing.find([tiny(seed=7)], tmp_path, None, False)
    assert only.packing["members"] == 1


def test_extended_members_stay_one_program(tmp_path, whole):
    """As long runs from the start, in the same packing."""
    longer = [extend(run, 26, root=tmp_path / "a") for run in whole]
    assert len({run.directory.packing["pack"] for run in load_all("steps=26", tmp_path / "a")}) == 1
    a = run_all(longer, root=tmp_path / "a").runs
    b = run_all([tiny(seed=seed, steps=26) for seed in range(3)], root=tmp_path / "b").runs
    assert [contents(run) for run in a] == [contents(run) for run in b]


def test_runs_without_a_record_say_so(tmp_path, whole):
    (run, *_) = killed(whole, tmp_path, (10, 10, 10))
    write_atomic(run.path / "manifest.json", seal({**run.directory.manifest, "packing": {}}))
    (again,) = run_all(SEEDS[:1], root=tmp_path).runs
    assert again.finished
    assert any("packing unknown" in warning for warning in again.directory.status.warnings)


def test_other_versions_and_devices_are_said_before_a_run_goes_on(tmp_path, whole):
    (run, *_) = killed(whole, tmp_path, (10, 10, 10))
    manifest = run.directory.manifest
    changed = {"packing": manifest["packing"] | {"devices": 7}, "versions": manifest["versions"] | {"jax": "0.9.9"}}
    write_atomic(run.path / "manifest.json", seal({**manifest, **changed}))
    said = []
    (again,) = run_all(SEEDS[:1], root=tmp_path, watch=lambda progress: said.extend(progress.notes)).runs
    assert any("trained on 7 devices, now on 2" in note for note in said)
    assert any("jax was 0.9.9" in note for note in said)
    assert set(said) <= set(again.directory.status.warnings)


def test_busy_members_are_left_out_and_named(tmp_path, whole):
    killed(whole, tmp_path, (10, 10, 10))
    held = RunDirectory.open(tmp_path / whole[1].path.name)
    with held.lock():
        session = run_all(SEEDS, root=tmp_path)
        assert [run.finished for run in session.runs] == [True, False, True]
        assert session.outcome.exit_code == 5
        (error,) = session.outcome.busy
        assert held.path.name in str(error)
        with pytest.raises(Busy, match=held.path.name):
            run_all(SEEDS[1:2], root=tmp_path)
    assert [contents(run) for run in run_all(SEEDS, root=tmp_path).runs] == [contents(run) for run in whole]


def test_busy_members_are_left_out_of_a_sweep_of_another_name_and_of_a_fresh_one(tmp_path, whole):
    """Neither can their alias be changed, nor can they be moved aside; the others are trained."""
    killed(whole, tmp_path, (10, 10, 10))
    held = RunDirectory.open(tmp_path / whole[1].path.name)
    with held.lock():
        for ways in ({"name": "again"}, {"fresh": True}):
            session = run_all(SEEDS, root=tmp_path, **ways)
            assert [run.finished for run in session.runs] == [True, False, True]
            assert [held.path.name in str(error) for error in session.outcome.busy] == [True]
        assert RunDirectory.open(held.path).name == held.name
    assert (tmp_path / "replaced").is_dir()


def test_a_sweep_in_a_notebook_warns_of_runs_it_left_out(tmp_path, whole):
    killed(whole, tmp_path, (10, 10, 10))
    with (
        RunDirectory.open(tmp_path / whole[1].path.name).lock(),
        pytest.warns(UserWarning, match="left out: .*writing"),
    ):
        runs = sweep(tiny(), {"seed": range(3)}, root=tmp_path)
    assert [run.finished for run in runs] == [True, False, True]


@pytest.mark.parametrize(("recorded", "said"), [("highest", "precision highest"), ("None", "another version of icl")])
def test_a_run_whose_configuration_means_another_one_now_is_not_continued_and_says_why(tmp_path, whole, recorded, said):
    (run, *_) = killed(whole, tmp_path, (10, 10, 10))
    manifest = run.directory.manifest | {"identity": "0123456789abcdef", "matmul_precision": recorded}
    write_atomic(run.path / "manifest.json", seal(manifest))
    moved = run.path.rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=said):
        run_all(SEEDS[:1], root=tmp_path, directories=[RunDirectory.open(moved)])


def test_long_sweeps_are_several_programs():
    configs = [tiny(seed=seed) for seed in range(2 * packs.MOST + 1)]
    found = packs.new(configs, range(len(configs)))
    assert [pack.places for pack in found] == [packs.MOST, packs.MOST, 1]
    assert sorted(index for pack in found for index in pack.seats.values()) == list(range(len(configs)))


@pytest.mark.parametrize(
    "packing",
    [
        {},
        {"members": 2, "place": 2},
        {"members": True, "place": 0, "devices": 1, "mode": "map", "pack": "a"},
        {"members": 10**9},
    ],
)
def test_a_record_that_makes_no_sense_is_no_record(packing):
    assert packs._read(packing)[1] is None


GRID = """
import jax, sys
from icl.config import Config
from icl.handle import Run
from icl.training import packs, placing
from icl.training.session import run_all
from icl.report import make
sizes = dict(depth=1, width=8, heads=2, batch=8, points=3, steps=6, log_every=3, validation_prompts=8, optimizer="sgd")
for members, devices in {pairs}:
    count, jax.local_device_count = jax.local_device_count, lambda: devices
    configs = [Config.create("linear-regression", **sizes, seed=s) for s in range(members)]
    runs = run_all(configs, root=f"{{sys.argv[1]}}/{{members}}x{{devices}}").runs
    jax.local_device_count = count
    assert all(run.finished for run in runs), (members, devices)
    assert {{run.directory.packing["devices"] for run in runs}} == {{devices}}
    print(members, devices, float(runs[-1].metrics["loss"][-1]))
"""


def grid(root: Path, pairs: list[tuple[int, int]], devices: int = 8) -> dict[tuple[int, int], float]:
    """Trains every (members, devices) in one process that has 8 devices; the last member's last loss."""
    flags = f"{FAST} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags}
    command = [sys.executable, "-c", GRID.format(pairs=pairs), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    return {(int(m), int(d)): float(loss) for m, d, loss in lines}


def test_any_number_of_members_on_any_number_of_devices(tmp_path):
    pairs = [(1, 1), (1, 8), (3, 4), (2, 8), (5, 2), (8, 3), (8, 8)]
    found = grid(tmp_path, pairs)
    assert list(found) == pairs
    np.testing.assert_allclose(found[1, 1], found[1, 8], rtol=1e-5)
    np.testing.assert_allclose(found[8, 3], found[8, 8], rtol=1e-5)
