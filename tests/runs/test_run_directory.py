import dataclasses
import os

import pytest

from icl.runs import (
    AlreadyARun,
    Incompatible,
    NotARun,
    NotFound,
    RunDirectory,
    State,
    StorageError,
    atomic,
    find,
    find_all,
    list_runs,
)
from icl.runs.strict_json import loads, seal


def config(**changes):
    fields = {"seed": 0, "depth": 2, "mixer": "softmax", "rate": 0.001, "shape": [2, 3], "path": None, **changes}
    return {
        "task": {"name": "linear-regression", "dim": 5, "noise": {"name": "gaussian", "scale": 0.5}},
        "model": {"depth": fields["depth"], "mixer": fields["mixer"], "shape": fields["shape"]},
        "training": {"learning_rate": fields["rate"], "steps": 100, "compile": True},
        "path": fields["path"],
        "seed": fields["seed"],
    }


def create(root, identity="0123456789abcdef", name=None, created="2026-01-01", **changes):
    return RunDirectory.create(root, config(**changes), identity, {"created": created, "git": None}, name=name)


def snapshot(path):
    return {p: (p.read_bytes() if p.is_file() else None, p.stat().st_mtime_ns) for p in sorted(path.rglob("*"))}


def test_create_and_open(tmp_path):
    run = create(tmp_path / "deep" / "ünï runs", name="first")
    assert run.path == tmp_path / "deep" / "ünï runs" / "linear-regression-0123456789"
    before = snapshot(tmp_path)
    again = RunDirectory.open(run.path)
    assert again == run
    assert (again.identity, again.name, again.config) == ("0123456789abcdef", "first", config())
    assert again.status.state is State.PLANNED
    assert again.status.step == 0
    assert snapshot(tmp_path) == before


def test_status(tmp_path):
    run = create(tmp_path)
    run.set_status(State.INTERRUPTED, 40, "Ctrl-C", warnings=("checkpoint 60 was damaged",))
    run.set_status(State.DIVERGED, 50, "loss is nan", warnings=("checkpoint 60 was damaged", "another"))
    status = RunDirectory.open(run.path).status
    assert (status.state, status.step, status.detail) == (State.DIVERGED, 50, "loss is nan")
    assert status.warnings == ("checkpoint 60 was damaged", "another")
    assert str(status) == "step 50: training left the finite numbers (loss is nan)"


def test_existing_runs_are_not_replaced(tmp_path):
    run = create(tmp_path)
    run.set_status(State.FINISHED, 100)
    before = snapshot(tmp_path)
    with pytest.raises(AlreadyARun, match="step 100: training reached its last step"):
        create(tmp_path)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", "metrics.jsonl", "checkpoints/step-00000001", ".git"])
def test_foreign_directories_are_refused_and_left_alone(tmp_path, name):
    path = RunDirectory.place(tmp_path, config(), "0123456789abcdef")
    (path / name).parent.mkdir(parents=True)
    (path / name).write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(NotARun, match="choose another place"):
        create(tmp_path)
    assert snapshot(tmp_path) == before
    with pytest.raises(NotARun, match=r"config\.json, manifest\.json, status\.json missing"):
        RunDirectory.open(path)


def test_a_file_in_the_way(tmp_path):
    path = RunDirectory.place(tmp_path, config(), "0123456789abcdef")
    path.write_text("mine")
    with pytest.raises(NotARun, match="in the way"):
        create(tmp_path)
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        create(path)
    for place, reason in ((path, "not a directory"), (tmp_path / "nowhere", "does not exist")):
        with pytest.raises(NotARun, match=reason):
            RunDirectory.open(place)


@pytest.mark.parametrize("number", [1, 2, 4, 9])
def test_unwritable_place_is_noticed_at_creation(tmp_path, monkeypatch, number):
    monkeypatch.setattr(atomic, "fault", atomic.Fault("enospc", number, onwards=True))
    with pytest.raises(StorageError):
        create(tmp_path)


def test_reading_works_where_writing_does_not(tmp_path, monkeypatch):
    run = create(tmp_path)
    monkeypatch.setattr(atomic, "fault", atomic.Fault("enospc", 1, onwards=True))
    assert RunDirectory.open(run.path).status.step == 0
    assert find(tmp_path, "last") == run
    with pytest.raises(StorageError), run.lock():
        pass


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "status.json"])
def test_damaged_files(tmp_path, name):
    """Every truncation and every flipped bit is a NotARun that names the file."""
    run = create(tmp_path)
    file = run.path / name
    whole = file.read_bytes()
    damaged = [whole[:length] for length in (0, 5, 60, len(whole) // 2, len(whole) - 1)]
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        damaged.append(bytes(flipped))
    for data in (*damaged, b"[" * 10**5, b"null", b"{}", whole + b"\0"):
        file.write_bytes(data)
        with pytest.raises(NotARun, match=name):
            RunDirectory.open(run.path)
    file.unlink()
    with pytest.raises(NotARun, match=f"{name} missing"):
        RunDirectory.open(run.path)
    file.symlink_to("/etc/passwd")
    with pytest.raises(NotARun, match="symbolic link"):
        RunDirectory.open(run.path)


def reseal(path, **changes):
    fields = loads(path.read_bytes(), path)
    del fields["checksum"]
    path.write_bytes(seal({**fields, **changes}))


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("manifest.json", {"identity": "../../x"}),
        ("manifest.json", {"identity": None}),
        ("manifest.json", {"name": 3}),
        ("manifest.json", {"config_sha256": None}),
        ("manifest.json", {"identity": "f" * 16}),
        ("status.json", {"state": "exploded"}),
        ("status.json", {"state": []}),
        ("status.json", {"step": "many"}),
        ("status.json", {"warnings": 3}),
    ],
)
def test_well_sealed_nonsense(tmp_path, file, changes):
    run = create(tmp_path)
    reseal(run.path / file, **changes)
    with pytest.raises(NotARun):
        RunDirectory.open(run.path)


def test_schemas(tmp_path):
    run = create(tmp_path)
    reseal(run.path / "manifest.json", schema=RunDirectory.schema + 1)
    with pytest.raises(Incompatible, match="upgrade icl"):
        RunDirectory.open(run.path)
    reseal(run.path / "manifest.json", schema=0)
    with pytest.raises(Incompatible, match="no longer"):
        RunDirectory.open(run.path)


def test_checkpoints_elsewhere_are_refused(tmp_path):
    run = create(tmp_path)
    run.checkpoints.rename(tmp_path / "elsewhere")
    run.checkpoints.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotARun, match="symbolic link"):
        RunDirectory.open(run.path)


def test_directories_may_be_renamed(tmp_path):
    run = create(tmp_path)
    moved = run.path.rename(tmp_path / "favorite")
    assert RunDirectory.open(moved) == dataclasses.replace(run, path=moved)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    create(root, "aaaa000000", "depths", "2026-01-03", depth=2)
    create(root, "aaab000000", "depths", "2026-01-02", depth=4)
    create(root, "bbbb000000", "best", "2026-01-05", depth=4, seed=1, mixer="linear-attention", shape=[4], path="x")
    create(root, "cccc000000", None, "2026-01-04", depth=8, seed=1)
    (root / "photos").mkdir()
    (root / "readme.txt").write_text("")
    return root


def short(run):
    return run.path.name[-10:-6]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("last", "bbbb"),
        ("best", "bbbb"),
        ("linear-regression-b", "bbbb"),
        ("linear-regression-aaab000000", "aaab"),
        ("depth=8", "cccc"),
        ("model.depth=2", "aaaa"),
        ("depth=4,seed=0", "aaab"),
        ("depth=4.0, seed=1", "bbbb"),
        ("mixer=linear_attention", "bbbb"),
        ("path=x", "bbbb"),
        ("shape=[4]", "bbbb"),
        ("shape=[2,3],depth=8", "cccc"),
        ("path=none,depth=8", "cccc"),
        ("learning-rate=1e-3,compile=true,seed=1,depth=8", "cccc"),
    ],
)
def test_find(root, query, expected):
    assert short(find(root, query)) == expected


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("linear", ("names 4 runs", "aaaa000000 (depths)", "say more")),
        ("depths", ("names 2 runs",)),
        ("depth=4", ("names 2 runs", "aaab", "bbbb")),
        ("bset", ("nearest", "best")),
        ("linear-regression-x", ("no run", "nearest: linear-regression-")),
        ("", ("no run",)),
        ("detph=4", ("no run has a field 'detph'", "nearest", "depth")),
        ("depth=5", ("no run has model.depth=5; there are 2, 4, 8",)),
        ("compile=1", ("no run has training.compile=1",)),
        ("name=gaussian", ("'name' could be task.name or task.noise.name",)),
        ("depth=2,seed=1", ("no run fits all",)),
    ],
)
def test_not_found(root, query, words):
    with pytest.raises(NotFound) as caught:
        find(root, query)
    assert caught.value.exit_code == 2
    for word in words:
        assert word in str(caught.value)


def test_find_several(root):
    assert [short(run) for run in find_all(root, "depths")] == ["aaab", "aaaa"]
    assert [short(run) for run in find_all(root, "seed=1")] == ["cccc", "bbbb"]
    assert short(find(root, os.fspath(root / "linear-regression-cccc000000"))) == "cccc"


def test_damaged_runs_are_listed_with_their_reason(tmp_path):
    run, other = create(tmp_path, "aaaa000000"), create(tmp_path, "bbbb000000")
    (other.path / "status.json").write_text("{")
    listing = list_runs(tmp_path)
    assert listing.runs == (run,)
    assert "status.json" in str(listing.damaged[0])
    with pytest.raises(NotARun, match=r"status\.json"):
        find(tmp_path, "linear-regression-bbbb")
    with pytest.raises(NotFound, match="there are no runs"):
        find(tmp_path / "none", "last")
