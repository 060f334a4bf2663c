"""The shell lines of README, one after another in one process, with few steps: `python -m tests.readme_lines`.

On as many devices as XLA_FLAGS ask for. Lines that take minutes and have tests of their own are named in `ELSEWHERE`.
"""

import contextlib
import io
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from icl import cli

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def block(language: str, heading: str) -> str:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return section.split(f"```{language}\n")[1].split("```")[0]


STEPS = "20"
# What a line that trains is changed to: a few steps.
RATE = "--set training.learning_rate=1e-4"
CHANGED = {
    "icl extend last --steps 4000": "icl extend last --steps 24",
    f"icl fork last --at 800 {RATE}": f"icl fork last --at 8 {RATE}",
    "icl evaluate last --loops 36": None,  # the last run is no model in a loop here
}
ELSEWHERE = (
    "icl probe last --all",
    "icl probe --controls",
    "icl phase",
    "icl gallery",
    "icl reproduce",
    "icl bench",
    "icl plot majority",
)


def lines() -> list[str]:
    """The lines to run."""
    found = []
    for line in block("sh", "In a shell").splitlines():
        command = CHANGED.get(line.partition("#")[0].strip(), line.partition("#")[0].strip())
        if command is None or command.startswith(ELSEWHERE):
            continue
        if command.startswith("icl run "):
            command += f" --steps {STEPS}"
        # The reports of twelve runs take minutes; the first line has its own.
        trains = command.startswith(("icl run ", "icl resume", "icl extend", "icl fork"))
        found.append(f"{command} --no-report" if trains and found else command)
    return found


def run(line: str) -> tuple[int, str]:
    sys.argv = shlex.split(line)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as stopped:
            return int(stopped.code or 0), said.getvalue()
    return 0, said.getvalue()


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for line in lines():
            began = time.monotonic()
            code, said = run(line)
            print(f"{time.monotonic() - began:5.1f} s  {line}", flush=True)
            if code:
                print(said, f"exit code {code}", sep="\n")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
