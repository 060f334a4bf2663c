"""Runs a small training's worth of file operations and makes every single one of them fail. Started by test_faults.

Written without JAX: the process forks once per fault, and starts in a fraction of a second.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from icl.runs import AlreadyARun, MetricsLog, NotARun, RunDirectory, State, StorageError, atomic, checkpoints, metrics
from icl.runs.checkpoints import load_newest, verify

CONFIG = {"task": {"name": "linear-regression", "dim": 2}, "seed": 0}
IDENTITY = "0123456789abcdef"
STEPS = (2, 4, 6)


def tree(step):
    return {"weights": np.full((3, 2), step, np.float32), "count": np.array(step), "empty": np.zeros((0, 4))}


def train(root):
    """Creates or resumes; the file operations are those of an engine."""
    try:
        run = RunDirectory.create(root, CONFIG, IDENTITY, {"created": "2026"}, name="tiny")
    except AlreadyARun as error:
        run = RunDirectory.open(error.path)
    with run.lock():
        checkpoints.clean(run.checkpoints)
        newest = load_newest(run.checkpoints, tree(0))
        start = newest.step if newest else 0
        metrics.cut_back(run.metrics, start)
        with MetricsLog(run.metrics) as log:
            for stop in (s for s in STEPS if s > start):
                log.append({"step": s, "loss": 1 / s} for s in range(stop - 1, stop + 1))
                log.sync()
                checkpoints.save(run.checkpoints, stop, tree(stop), {"rows": stop})
                checkpoints.prune(run.checkpoints, lambda step: step == 2)
                run.set_status(State.RUNNING, stop)
        checkpoints.prune(run.checkpoints, lambda step: step == 2)
        run.set_status(State.FINISHED, STEPS[-1])


def check_intact(root, reached):
    """What must hold at every instant. `reached` is the newest step known to be stored before the fault."""
    path = RunDirectory.place(root, CONFIG, IDENTITY)
    newest = load_newest(path / "checkpoints", tree(0))
    step = newest.step if newest else 0
    assert step >= reached, (step, reached)
    if newest:
        assert not newest.damaged
        assert newest.extra == {"rows": step}
        for name, array in tree(step).items():
            assert newest.tree[name].dtype == array.dtype
            assert np.array_equal(newest.tree[name], array)
        run = RunDirectory.open(path)
        assert run.status.step <= step
        assert step < 2 or 2 in checkpoints.list_checkpoints(run.checkpoints), "a checkpoint asked for was pruned"
    logged = metrics.read(path / "metrics.jsonl")["step"]
    assert list(logged) == list(range(1, len(logged) + 1))
    assert len(logged) >= step, "a checkpoint is ahead of its log"
    return step


def check_finished(root, expected):
    path = RunDirectory.place(root, CONFIG, IDENTITY)
    assert (path / "metrics.jsonl").read_bytes() == expected
    assert RunDirectory.open(path).status.state is State.FINISHED
    assert sorted(os.listdir(path / "checkpoints")) == ["step-00000002", "step-00000006"]
    for found in checkpoints.list_checkpoints(path / "checkpoints").values():
        verify(found)


def killed(root, at):
    """Whether the N-th operation exists; if so the process that reached it is dead."""
    child = os.fork()
    if child == 0:
        atomic.fault = atomic.Fault("kill", at)
        try:
            train(root)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code == -signal.SIGKILL


def refused(root, at, onwards):
    atomic.fault = atomic.Fault("enospc", at, onwards)
    try:
        train(root)
    except StorageError as error:
        raised = error
    else:
        raised = None
    reached, atomic.fault = atomic.fault.seen, None
    if raised is None:
        assert reached < at, "a full disk went unnoticed"
        return False
    assert raised.exit_code == 4
    assert "No space left" in str(raised)
    assert os.fspath(root) in str(raised)
    return True


def main(directory, kind):
    os.fsync = lambda descriptor: None
    root = Path(directory)
    train(root / "undisturbed")
    expected = (RunDirectory.place(root / "undisturbed", CONFIG, IDENTITY) / "metrics.jsonl").read_bytes()
    fail = {"kill": killed, "full": lambda r, n: refused(r, n, False), "stays-full": lambda r, n: refused(r, n, True)}
    at, reached = 1, 0
    while fail[kind](root / str(at), at):
        try:
            reached = check_intact(root / str(at), reached)
        except NotARun as error:
            raise AssertionError(f"operation {at} left {error}") from error
        train(root / str(at))
        check_finished(root / str(at), expected)
        at += 1
    assert reached == STEPS[-1]
    print(at - 1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
