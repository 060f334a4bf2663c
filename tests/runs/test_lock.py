import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from icl.runs import Busy, NotARun
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
