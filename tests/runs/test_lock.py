import errno
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from icl.runs import Busy, NotARun, StorageError, lock
from icl.runs.lock import writing

ROOT = Path(__file__).parents[2]
HOLDER = (
    "import sys, time; from icl.runs.lock import writing\nwith writing(sys.argv[1]): print('held', flush=True); input()"
)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills processes the POSIX way")


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_one_writer(tmp_path, holder):
    """The loser names the winner and changes nothing; the lock is free as soon as the winner is done."""
    before = (tmp_path / "lock").read_bytes()
    with pytest.raises(Busy, match=f"process {holder.pid} on .*, started 2") as caught, writing(tmp_path):
        pytest.fail("two writers")
    assert caught.value.exit_code == 5
    assert (tmp_path / "lock").read_bytes() == before
    holder.communicate("\n")
    assert holder.returncode == 0
    with writing(tmp_path):
        pass


def test_killed_holder(tmp_path, holder):
    """What a killed process left in the file does not count."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert str(holder.pid) in (tmp_path / "lock").read_text()
    with writing(tmp_path):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b"{}", b"\xff" * 5000])
def test_unreadable_holder(tmp_path, content):
    with writing(tmp_path):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(Busy, match="another process is writing"), writing(tmp_path):
            pytest.fail("two writers")
    (tmp_path / "lock").write_bytes(content)
    with writing(tmp_path), pytest.raises(Busy, match=f"process {os.getpid()} "), writing(tmp_path):
        pytest.fail("two writers")


def test_the_lock_is_released_by_errors(tmp_path):
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError
    with writing(tmp_path):
        pass


def test_links_are_refused(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(NotARun, match="symbolic link"), writing(tmp_path):
        pytest.fail("followed a link")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that knows no locks, as some network mounts."""
    import fcntl

    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_an_owner_file_keeps_others_out(tmp_path, no_locks):
    with writing(tmp_path) as warning:
        assert "no locks" in warning
        assert str(os.getpid()) in (tmp_path / "owner").read_text()
        with pytest.raises(Busy, match=f"process {os.getpid()} on"), writing(tmp_path):
            pytest.fail("two writers")
        assert lock.living(tmp_path).pid == os.getpid()
    assert not (tmp_path / "owner").exists()


@pytest.mark.parametrize("kind", ["dead process", "silent elsewhere", "garbage, silent"])
def test_an_owner_that_is_gone_is_replaced(tmp_path, no_locks, kind):
    owner, old = tmp_path / "owner", time.time() - 2 * lock.SILENT
    who = {"dead process": (platform.node(), 2**22 + 1), "silent elsewhere": ("elsewhere", 1)}.get(kind)
    owner.write_text("?" if who is None else f'{{"host":"{who[0]}","pid":{who[1]},"started":"2026"}}\n')
    if kind != "dead process":
        os.utime(owner, (old, old))
    with writing(tmp_path):
        assert str(os.getpid()) in owner.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_an_owner_elsewhere_that_gives_signs_is_respected(tmp_path, no_locks):
    (tmp_path / "owner").write_text('{"host":"elsewhere","pid":1,"started":"2026"}\n')
    with pytest.raises(Busy, match="process 1 on elsewhere"), writing(tmp_path):
        pytest.fail("two writers")


def test_other_errors_of_the_lock_stay_errors(tmp_path, monkeypatch):
    import fcntl

    def refuse(descriptor, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="cannot lock"), writing(tmp_path):
        pytest.fail("wrote without a lock")


def test_the_heart_beats_while_a_lock_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.02)
    old = time.time() - 1000
    with writing(tmp_path):
        os.utime(tmp_path / "lock", (old, old))
        end = time.monotonic() + 5
        while (tmp_path / "lock").stat().st_mtime < old + 1:
            assert time.monotonic() < end, "no heartbeat"
            time.sleep(0.01)
    threads = threading.active_count()
    time.sleep(0.1)
    assert threading.active_count() <= threads
