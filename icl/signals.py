"""Ctrl-C and SIGTERM: the first asks for an orderly end, a later one leaves at once.

An orderly end waits for nothing but work that would be lost: while steps have been computed and not stored, the first
signal only sets `requested`; at any other time (reading, importing, a compilation of a minute) it ends the process.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

ONE = 1.0
"""Seconds in which further signals count as the first: wrappers signal a process and its group at the same time."""


class Interruption:
    """`requested` is the number of the first signal that came, or None. `farewell` is called before an end without
    unsaved work; what it returns is printed."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self.farewell: Callable[[], str] | None = None
        self._unsaved = False
        self._leaving = threading.Lock()

    @property
    def exit_code(self) -> int | None:
        """130 after Ctrl-C, 143 after SIGTERM."""
        return None if self.requested is None else 128 + self.requested

    def unsaved(self, work: bool) -> None:
        """Says whether there is work that leaving now would lose. Waits where the process is about to leave."""
        with self._leaving:
            self._unsaved = work

    @property
    def free(self) -> bool:
        """Whether leaving now loses nothing."""
        return not self._unsaved


_active: Interruption | None = None


def over() -> None:
    """From here on the process only ends: its work is done and printed, and a signal that comes while Python takes
    itself down must not turn that into a death by it. Outside the main thread nothing is changed."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def interruptible(leave: bool = True) -> Iterator[Interruption]:
    """Inside the block SIGINT and SIGTERM only set `requested` while work is unsaved, and otherwise end the process
    with 130 or 143; a second one, more than `ONE` seconds later, does so in any case.

    Python runs signal handlers between its own instructions, hence not during a long compilation or device
    computation. A thread that the system wakes directly therefore decides. Nothing is flushed then; every file is safe
    at every instant. With `leave=False` (notebooks, where the process is the user's session) KeyboardInterrupt is
    raised as soon as Python runs again, in place of every end of the process.

    A block inside another one is the same block. Handlers are restored afterwards. Outside the main thread, where
    Python allows no handlers, nothing is changed.
    """
    global _active
    if _active is not None or threading.current_thread() is not threading.main_thread():
        yield _active or Interruption()
        return
    state, first = Interruption(), [0.0]

    def handle(number: int, frame: object) -> None:
        again = state.requested is not None and time.monotonic() - first[0] > ONE
        if state.requested is None:
            state.requested, first[0] = number, time.monotonic()
        if not leave and (again or state.free):
            raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reader, signals, state if leave else None), daemon=True)
    watcher.start()
    previous_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, handle) for number in signals}
    _active = state
    try:
        yield state
    finally:
        _active = None
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(previous_descriptor)
        writer.close()
        watcher.join()
        reader.close()


def _watch(reader: socket.socket, signals: tuple[int, ...], state: Interruption | None) -> None:
    first: float | None = None
    while data := reader.recv(64):
        for number in data:
            if number not in signals or state is None:
                continue
            if first is None:
                first = time.monotonic()
            elif time.monotonic() - first > ONE:
                os._exit(128 + number)
            if state.free:
                _leave(state, number)


def _leave(state: Interruption, number: int) -> None:
    with state._leaving:
        if not state.free:
            return
        text = "interrupted"
        # Whatever goes wrong while leaving, the process leaves.
        with contextlib.suppress(Exception):
            if state.farewell is not None:
                text = state.farewell()
        with contextlib.suppress(OSError, ValueError):
            shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar may have hidden the cursor
            os.write(2, f"{shown}{text}\n".encode(errors="backslashreplace"))
        os._exit(128 + number)
