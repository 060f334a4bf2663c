import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from icl.runs import interruptible
from icl.signals import ONE

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends signals the POSIX way")
# A long call that never returns to Python, such as a compilation: sorting inside one C call.
BUSY = """
import hashlib, icl.runs
with icl.runs.interruptible() as state:
    state.unsaved(True)
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""
POLITE = """
import sys, time, icl.runs
with icl.runs.interruptible() as state:
    state.unsaved(True)
    print("ready", flush=True)
    while state.requested is None: time.sleep(0.01)
print("orderly", flush=True)
sys.exit(state.exit_code)
"""


def start(program, **streams):
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        **streams,
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
    time.sleep(ONE + 0.3)
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(timeout=20) == code
    process.stdout.close()


def test_signals_at_the_same_time_are_one():
    """As a wrapper sends them, to a process and to its group."""
    process = start(POLITE)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("orderly\n", 143)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_unsaved_leaves_at_once_even_from_a_call_that_does_not_return(number, code):
    process = start(BUSY.replace("state.unsaved(True)", "state.farewell = lambda: 'as it was'"), stderr=subprocess.PIPE)
    began = time.monotonic()
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert (error, process.returncode) == ("as it was\n", code)
    assert time.monotonic() - began < 2


def test_restored_afterwards():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    threads = threading.active_count()
    for _ in range(3):
        with interruptible() as state, interruptible() as inner:
            assert inner is state
            assert (state.requested, state.exit_code) == (None, None)
            state.unsaved(True)
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
        state.unsaved(True)
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            assert state.requested == signal.SIGINT
        time.sleep(ONE + 0.1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with interruptible(leave=False), pytest.raises(KeyboardInterrupt):
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_work_is_done_changes_nothing(number):
    """While Python takes itself down: the command has printed its answer, and its exit code is the answer's."""
    code = (
        f"import atexit, os, sys, icl.cli; atexit.register(lambda: os.kill(os.getpid(), {int(number)})); "
        "sys.argv = ['icl', '--version']; icl.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
