"""The machine: where compiled programs are kept between processes, how fast one matrix product is, `icl doctor`."""

import contextlib
import functools
import glob
import json
import os
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cache_directory() -> Path:
    """Where compiled programs are kept: $ICL_CACHE, else the user's cache directory. RuntimeError where nobody knows
    the user's home."""
    if chosen := os.environ.get("ICL_CACHE"):
        return Path(chosen) / "programs"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "icl" / "programs"


def cache_words() -> str:
    """Where compiled programs are kept, or why nowhere."""
    try:
        return str(cache_directory())
    except RuntimeError as error:
        return f"nowhere: {error} Say ICL_CACHE=<folder>"


def keep_programs() -> None:
    """Lets JAX keep compiled programs on disk, unless the user has told it where already, or ICL_CACHE is `none`."""
    import jax

    from icl.runs.provenance import jax_setting

    if os.environ.get("ICL_CACHE") == "none" or jax_setting("jax_compilation_cache_dir") is not None:
        return
    try:
        place = cache_directory()
        place.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return
    _drop_damaged(place)
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _drop_damaged(place: Path) -> None:
    """Removes stored programs that cannot be read, as soon as JAX warns of one. JAX compiles such a program again and
    keeps what is stored under its name, so that it would warn and compile at every later start."""
    show = warnings.showwarning

    def look(message: Warning | str, category: type[Warning], *where: Any) -> None:
        found = _UNREADABLE.match(str(message))
        if found is None:
            return show(message, category, *where)
        for path in place.glob(f"{glob.escape(found[1])}-*"):
            path.unlink(missing_ok=True)

    warnings.showwarning = look


_UNREADABLE = re.compile("Error reading persistent compilation cache entry for '([^']+)'")


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(members: int, devices: int | None = None) -> None:
    """Makes `devices` devices of the processor, or without that number one of every core, so that the members of an
    ensemble train side by side: for small networks that is about 1.3 times faster on two cores than all cores on one
    member. Nothing changes for one member, where XLA_FLAGS say how many devices there are, or where the backend has
    started already."""
    import jax

    devices = min(members, cores()) if devices is None else devices
    if devices > 1 and "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        # A batched LAPACK call (a triangular solve, say) waits for work that it gave to the same threads it runs on.
        # With as many devices as threads all of them can wait for ever, so the pool is made larger than that.
        os.environ.setdefault("NPROC", str(2 * cores()))
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", devices)


@functools.lru_cache(maxsize=1)
def matmul_rate() -> float:
    """Floating-point operations per second of a float32 product of two 1024 x 1024 matrices."""
    import jax
    import jax.numpy as jnp

    size = 1024
    product = jax.jit(lambda a: a @ a)
    matrix = jnp.full((size, size), 0.5 / size)
    return 2 * size**3 / best(lambda: product(matrix), 3)


@functools.lru_cache(maxsize=8)
def copy_rate(numbers: int) -> float:
    """Bytes per second that are read and written where so many float32 are copied, from a cache if they fit; in a loop,
    because a program that starts anew asks for its memory anew."""
    import jax
    import jax.numpy as jnp

    times = 20
    copy = jax.jit(lambda a: jax.lax.fori_loop(0, times, lambda i, a: a + 1, a))
    array = jnp.zeros(numbers, jnp.float32)
    return times * 2 * array.nbytes / best(lambda: copy(array), 10)


def best(function: Callable[[], Any], repeat: int) -> float:
    """Least seconds of several calls after a first one."""
    function().block_until_ready()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        function().block_until_ready()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _lock_words(out: Path) -> str:
    """Whether runs can be written below a folder, by one process each. Tried in a folder that is removed again."""
    import tempfile

    from icl.runs.errors import RunError
    from icl.runs.lock import writing

    existing = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    if not existing.is_dir():
        return f"cannot be written: {existing} is a file"
    try:
        with tempfile.TemporaryDirectory(prefix=".icl-doctor-", dir=existing) as folder, writing(folder) as warning:
            return warning or "can be written and locked"
    except (OSError, RunError) as error:
        return f"cannot be written: {error}"


def doctor(out: Path, as_json: bool) -> str:
    """Versions, devices, speed and places, and what is wrong with them."""
    import jax

    from icl.runs.provenance import versions

    facts = {
        **{name: version or "not installed" for name, version in versions().items()},
        "devices": ", ".join(f"{d.device_kind} ({d.platform})" for d in jax.devices()),
        "cores": str(cores()),
        "matrix product": f"{matmul_rate() / 1e9:.0f} GFLOP/s in float32",
        "compiled programs": cache_words(),
        f"runs in {out}": _lock_words(out),
        "x64": "on: icl expects float32, switch jax_enable_x64 off" if jax.config.read("jax_enable_x64") else "off",
    }
    if as_json:
        return json.dumps(facts)
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())
