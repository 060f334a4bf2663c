"""What a failed command says, and the code it exits with. Anything unforeseen keeps its traceback: that is a defect."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from icl.console import streams, surroundings
from icl.signals import interruptible

USAGE, STORAGE = 2, 4


def shielded(command: Callable[[], Any]) -> int:
    """Runs a command and returns its exit code, whatever happens to it or to the streams it prints to."""
    with interruptible(), streams.visible():
        try:
            surroundings.check_packages()
            code = command()
        except (Exception, KeyboardInterrupt) as error:
            code = report(error)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code if isinstance(code, int) else 0


def report(error: BaseException) -> int:
    """Prints the message of an error to standard error; returns 2 usage or configuration, 3 diverged, 4 storage, 5 not
    a usable run directory, 1 a defect of this program."""
    import typer

    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    if type(error).__name__ == "NoArgsIsHelpError":
        print(_understand(error)[1])
        return USAGE
    code, text = _understand(error)
    if text is None:
        traceback.print_exception(error)
        print(
            "\nThis is a defect of icl, not of what you typed; please report it with the lines above.", file=sys.stderr
        )
    else:
        print("\n".join(f"error: {line}" for line in text.splitlines()), file=sys.stderr)
    return code


def _understand(error: BaseException) -> tuple[int, str | None]:
    message = getattr(error, "format_message", None)
    if callable(message) and hasattr(error, "exit_code"):
        return USAGE, str(message())
    from icl.runs.errors import RunError

    if isinstance(error, RunError):
        return error.exit_code, str(error)
    from function_classes.base import NotAvailable
    from function_classes.fields import ConfigError

    if isinstance(error, ConfigError | NotAvailable):
        return USAGE, str(error)
    from icl import custom

    if place := custom.blame(error):
        return USAGE, f"{place}: {type(error).__name__}: {error}"
    if isinstance(error, ImportError):
        return USAGE, str(error)
    if _starts_backend(error):
        asked = os.environ.get("JAX_PLATFORMS", "")
        said = str(error).partition("\n")[0]
        way = f"unset JAX_PLATFORMS (or say JAX_PLATFORMS=cpu), or install JAX for {asked or 'this device'}"
        return USAGE, f"JAX finds no device for JAX_PLATFORMS={asked}{f' ({said})' if said else ''}; {way}"
    if isinstance(error, OSError):
        return STORAGE, f"{error.filename or 'storage'}: {error.strerror or error}"
    if isinstance(error, OverflowError | RecursionError):
        what = "a number is too large" if isinstance(error, OverflowError) else "something is nested too deep"
        return USAGE, f"{what}: {error}"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        advice = "make the model, the batch or the prompts smaller, raise --accumulate, or use --remat"
        return USAGE, f"out of memory: {error}\n{advice}"
    return 1, None


def _starts_backend(error: BaseException) -> bool:
    """Whether JAX failed where it looks for its devices, which is before anything of ours is computed."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return any(frame.filename.endswith("xla_bridge.py") for frame in frames)
