import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from icl.runs import interruptible

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends signals the POSIX way")
# A long call that never returns to Python, such as a compilation: sorting inside one C call.
BUSY = """
import hashlib, icl.runs
with icl.runs.interruptible() as state:
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""
POLITE = """
import sys, time, icl.runs
with icl.runs.interruptible() as state:
    print("ready", flush=True)
    while state.requested is None: time.sleep(0.01)
print("orderly", flush=True)
sys.exit(state.exit_code)
"""


def start(program):
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_first_asks(number, code):
    process = start(POLITE)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("orderly\n", code)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_second_leaves_even_from_a_call_that_does_not_return(number, code):
    process = start(BUSY)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(timeout=20) == code
    process.stdout.close()


def test_restored_afterwards():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    threads = threading.active_count()
    for _ in range(3):
        with interruptible() as state:
            assert (state.requested, state.exit_code) == (None, None)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)
            assert (state.requested, state.exit_code) == (signal.SIGTERM, 143)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_notebooks_keep_their_process():
    with interruptible(leave=False) as state:
        signal.raise_signal(signal.SIGINT)
        assert state.requested == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_other_threads_change_nothing():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with interruptible() as state:
            seen.append((signal.getsignal(signal.SIGINT), state.requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]
