"""The live view of training: a bar on a terminal; elsewhere plain lines, after the first step and then one a minute."""

import sys
import time
from types import TracebackType
from typing import Any, TextIO

PLAIN_SECONDS = 60.0


def describe(progress: Any) -> str:
    """`step 1200/2400  loss 0.512  excess over Bayes 0.021  41.3 steps/s  29s left`, of what is known."""
    parts = [f"step {progress.step}/{progress.steps}"]
    if progress.loss == progress.loss:
        parts.append(f"loss {progress.loss:.4g}")
    if progress.excess is not None:
        parts.append(f"excess over {progress.floor} {progress.excess:.3g}")
    done = progress.step - progress.timed_from
    if done > 0 and progress.seconds > 0:
        rate = done / progress.seconds
        parts.append(f"{rate:.3g} steps/s" + (f" x {progress.members} runs" if progress.members > 1 else ""))
        parts.append(f"{clock((progress.steps - progress.step) / rate)} left")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """12s, 3m05s, 2h10m."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    return (
        f"{seconds // 60}m{seconds % 60:02d}s" if seconds < 3600 else f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    )


class Display:
    """A watcher for the trainer, to be used in a `with` block. Writes to standard error, so results stay clean."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        # A bar is drawn with control characters of our own; the lines beside it may quote a run's.
        self.screen = getattr(self.stream, "plain", self.stream)
        self.bar: Any = None
        self.task: Any = None
        self.last = float("-inf")

    def __enter__(self) -> "Display":
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = BarColumn(bar_width=24), TextColumn("{task.description}")
            self.bar = Progress(*columns, console=Console(file=self.screen), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("starting", total=1)
        return self

    def __call__(self, progress: Any) -> None:
        compiling = progress.phase == "compiling"
        for note in progress.notes:
            print(f"warning: {note}", file=self.stream, flush=True)
        text = "compiling" if compiling else describe(progress)
        if self.bar is not None:
            self.bar.update(self.task, total=max(progress.steps, 1), completed=progress.step, description=text)
        elif compiling:
            print(text, file=self.stream, flush=True)
        elif time.monotonic() - self.last >= PLAIN_SECONDS or progress.step == progress.steps:
            self.last = time.monotonic()
            print(text, file=self.stream, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
