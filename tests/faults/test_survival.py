"""Killed, interrupted, out of space, damaged: the same command again ends with the bytes of an undisturbed run.

tests/runs reaches every single file operation of storage; here the whole program is struck at a few of them.
"""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.faults.shell import TINY, files, icl, only, result, start, status, talk, wait

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills and signals processes the POSIX way")
RUN = ["run", *TINY, "--no-report"]

# A plugin that strikes at a known step, from within: `AT` is compared with the first step of the next chunk.
STRIKE = """
import os, signal, time
from icl.training.engine import Program
chunk = Program.chunk
def struck(self, state, start, stop, data):
    if start >= int(os.environ["AT"]):
        for word in os.environ["SIGNALS"].split():
            time.sleep(1.3) if word == "wait" else os.kill(os.getpid(), int(word))
    return chunk(self, state, start, stop, data)
Program.chunk = struck
"""

# A plugin that trains only once a file exists.
HOLD = """
import os, time
from icl.training.engine import Program
chunk = Program.chunk
def held(self, state, start, stop, data):
    while not os.path.exists(os.environ["GO"]):
        time.sleep(0.02)
    return chunk(self, state, start, stop, data)
Program.chunk = held
"""

# A plugin that sets the clock back by decades once training begins.
BACK = """
import datetime, types
from icl.runs import lock, provenance, records
from icl.training.engine import Program
class Past(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls(1999, 12, 31, tzinfo=zone)
chunk = Program.chunk
def later(self, state, start, stop, data):
    for module in (lock, provenance, records):
        module.datetime = types.SimpleNamespace(datetime=Past, UTC=datetime.UTC)
    return chunk(self, state, start, stop, data)
Program.chunk = later
"""


def plugin(tmp_path: Path, code: str) -> list[str]:
    file = tmp_path / "plugin.py"
    file.write_text(code)
    return ["--plugin", str(file)]


def copy(run: Path, root: Path) -> Path:
    shutil.copytree(run, root / run.name)
    return root / run.name


def test_killed_three_times(tmp_path, undisturbed):
    """While the run is created, while its first checkpoint is written, and while a later one is renamed; the lock that
    the dead process left holds nobody up."""
    for at in (7, 25, 75):
        assert icl(*RUN, "--out", tmp_path, ICL_FAULT=f"kill@{at}").code == -signal.SIGKILL
    run = only(tmp_path)
    assert status(run)["state"] == "running"
    assert (run / "lock").read_text().startswith("{")
    (said,) = talk([*RUN, "--out", tmp_path])
    assert said.code == 0, said.err
    assert result(run) == result(undisturbed)
    assert not list((run / "checkpoints").glob(".tmp-*"))


def test_clock_set_back(tmp_path, undisturbed):
    said = icl(*plugin(tmp_path, BACK), *RUN, "--out", tmp_path / "runs")
    assert said.code == 0, said.err
    run = only(tmp_path / "runs")
    assert result(run) == result(undisturbed)
    assert status(run)["updated"].startswith("1999")
    assert "finished" in icl("runs", "--out", tmp_path / "runs").out


def test_disk_full_three_times(tmp_path, undisturbed):
    """Exit 4, with the path and the bytes; when there is room again the same command goes on."""
    *full, last = talk(*[[*RUN, "--out", tmp_path]] * 4, faults=("enospc@4+", "enospc@40+", "enospc@90+"))
    for said in full:
        assert said.code == 4, said
        assert str(tmp_path) in said.err
        assert "bytes free" in said.err
        assert said.err.count("error:") == 1
    assert last.code == 0, last.err
    assert result(only(tmp_path)) == result(undisturbed)


def test_signals(tmp_path, undisturbed):
    """SIGTERM while it compiles, Ctrl-C between steps (thrice at once, as wrappers send it), Ctrl-C twice: 143, 130 and
    130; then the same bytes."""
    words = [*plugin(tmp_path, STRIKE), *RUN, "--out", tmp_path / "runs"]
    going = start(*RUN, "--out", tmp_path / "runs")
    assert going.stderr is not None
    while "compiling" not in (line := going.stderr.readline()):
        assert line, "never compiled"
    going.send_signal(signal.SIGTERM)
    said = wait(going)
    assert said.code == 143, said
    run = only(tmp_path / "runs")
    assert f"icl resume {run.name} --out" in said.err
    assert status(run)["state"] in ("planned", "interrupted")
    assert status(run)["step"] == 0

    said = icl(*words, AT="12", SIGNALS="2 2 2")
    assert said.code == 130, said
    assert status(run)["state"] == "interrupted"
    assert 12 < status(run)["step"] < 30
    assert "continue with" in said.err

    said = icl(*words, AT="20", SIGNALS="2 wait 2")
    assert said.code == 130, said
    assert "continue with" not in said.err
    assert status(run)["state"] == "running"

    with (run / "metrics.jsonl").open("ab") as log:
        log.write(b'{"step":29,"loss":0.5}\n{"step":30,"lo\x00\xff')
    (said,) = talk([*RUN, "--out", tmp_path / "runs"])
    assert said.code == 0, said.err
    assert result(run) == result(undisturbed)


def test_two_processes_one_run(tmp_path, undisturbed):
    """Both start at once; the one that comes second leaves with 5 and names the other."""
    words = [*plugin(tmp_path, HOLD), *RUN, "--out", tmp_path / "runs"]
    both = [start(*words, GO=str(tmp_path / "go")) for _ in range(2)]
    while all(process.poll() is None for process in both):
        time.sleep(0.05)
    first, second = sorted(both, key=lambda process: process.poll() is None)
    said = wait(first)
    assert said.code == 5, said
    assert f"process {second.pid} on {os.uname().nodename}, started 20" in said.err
    (tmp_path / "go").touch()
    assert wait(second).code == 0
    assert result(only(tmp_path / "runs")) == result(undisturbed)


def test_damaged_checkpoints(tmp_path, undisturbed):
    """An older model never passes for the newest: reading stops and says so; resuming repairs the run, and says so."""
    cut, flipped, gone = (copy(undisturbed, tmp_path / name) for name in ("cut", "flipped", "gone"))
    last = Path("checkpoints") / "step-00000030"
    data = (undisturbed / last / "leaves.bin").read_bytes()
    (cut / last / "leaves.bin").write_bytes(data[:-7])
    (flipped / last / "leaves.bin").write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    for path in (gone / "checkpoints").glob("*/leaves.bin"):
        path.unlink()
    commands = []
    for run in (cut, flipped, gone):
        out = ["--out", run.parent]
        commands += [["evaluate", "last", "--prompts", "8", *out], [*RUN, *out], ["runs", *out, "--json"]]
    said = talk(*commands)
    for run, (read, again, _) in zip((cut, flipped), (said[:3], said[3:6]), strict=True):
        assert read.code == 5
        assert "step-00000030" in read.err
        assert f"icl resume {run.name}" in read.err
        assert again.code == 0, again.err
        assert "warning" in again.err
        assert "step-00000030" in again.err
        (warning,) = status(run)["warnings"]
        assert "truncated" in warning if run is cut else "checksum" in warning
        assert result(run) == result(undisturbed)
        assert (run / "checkpoints" / "damaged-step-00000030").is_dir()
    assert (said[6].code, said[7].code, said[8].code) == (5, 5, 0)
    assert "no checkpoint is intact" in said[7].err
    assert "--fresh" in said[7].err


def test_reading_writes_nothing(tmp_path, undisturbed):
    """On storage that refuses every write, all that can be read is read, and nothing is touched."""
    run = copy(undisturbed, tmp_path)
    before = files(tmp_path)
    commands = [["show"], ["runs"], ["compare", "depth=1"], ["evaluate", "--prompts", "8"]]
    said = talk(*([*words, "--out", tmp_path] for words in commands), faults=["enospc@1+"] * 4)
    assert [one.code for one in said] == [0, 0, 0, 0], said
    assert "there is no report, and none can be made here" in said[0].out
    assert files(tmp_path) == before
    assert run.is_dir()
