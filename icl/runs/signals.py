"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second leaves at once."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator


class Interruption:
    """`requested` is the number of the first signal that came, or None."""

    def __init__(self) -> None:
        self.requested: int | None = None

    @property
    def exit_code(self) -> int | None:
        """130 after Ctrl-C, 143 after SIGTERM."""
        return None if self.requested is None else 128 + self.requested


@contextlib.contextmanager
def interruptible(leave: bool = True) -> Iterator[Interruption]:
    """Inside the block SIGINT and SIGTERM only set `requested`; a second one ends the process with 130 or 143.

    Python runs signal handlers between its own instructions, hence not during a long compilation or device
    computation. A thread that the system wakes directly therefore counts the signals, and the second one is obeyed
    at once. Nothing is flushed then; every file is safe at every instant. With `leave=False` (notebooks, where the
    process is the user's session) the second one raises KeyboardInterrupt as soon as Python runs again.

    Handlers are restored afterwards. Outside the main thread, where Python allows no handlers, nothing is changed.
    """
    state = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return

    def handle(number: int, frame: object) -> None:
        if state.requested is not None and not leave:
            raise KeyboardInterrupt
        state.requested = state.requested or number

    signals = (signal.SIGINT, signal.SIGTERM)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reader, signals, leave), daemon=True)
    watcher.start()
    previous_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, handle) for number in signals}
    try:
        yield state
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(previous_descriptor)
        writer.close()
        watcher.join()
        reader.close()


def _watch(reader: socket.socket, signals: tuple[int, ...], leave: bool) -> None:
    count = 0
    while data := reader.recv(64):
        for number in data:
            count += number in signals
            if leave and count >= 2:
                os._exit(128 + number)
