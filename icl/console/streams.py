"""What a command prints: control characters in texts that come from a run directory are shown, not obeyed.

A manifest is a file that anybody may have written. An escape sequence in an alias could color lines or retitle the
window; printed as `\\x1b` it does nothing.
"""

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from typing import Any

# C0 without newline and tab, DEL, C1, and the signs that reverse the direction of text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    """The text with control characters spelled out."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


class Visible:
    """A text stream that spells out control characters; `plain` is the stream below, for a display of our own."""

    def __init__(self, plain: Any):
        self.plain = plain

    def write(self, text: str) -> int:
        self.plain.write(shown(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


@contextlib.contextmanager
def visible() -> Iterator[None]:
    """Standard output and error as such streams; letters that the locale lacks are spelled out too."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale without our letters must not end a run
    sys.stdout, sys.stderr = Visible(before[0]), Visible(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
