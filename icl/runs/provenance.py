"""Where a run came from: versions, source code, machine, and the global settings that change numbers."""

import datetime
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "numpy", "icl-workbench")


def manifest(
    config: Mapping[str, Any],
    identity: str,
    *,
    command: Sequence[str] | None = None,
    packing: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The manifest of a run: plain JSON. `packing` says which runs were trained as one program, which changes last
    digits; `extra` is added as it is. Starts JAX's backend, since the devices are part of the record."""
    return {
        "identity": identity,
        "task": str(config.get("task", {}).get("name", "")),
        "created": datetime.datetime.now(datetime.UTC).isoformat(),
        "command": list(sys.argv if command is None else command),
        "packing": dict(packing or {}),
        "versions": versions(),
        "git": git(Path(__file__)),
        "machine": machine(),
        **jax_settings(),
        **dict(extra or {}),
    }


def versions() -> dict[str, str | None]:
    """Python and every package that takes part in the numbers; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def git(source: Path) -> dict[str, str | None] | None:
    """Commit of the repository that tracks `source`, and a hash of what differs from it ("clean" if nothing does).

    None where there is no git, no repository, or one that merely surrounds an installed copy.
    """
    place = source.parent
    if _git(place, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(place, "rev-parse", "HEAD")
    status = _git(place, "status", "--porcelain")
    difference = _git(place, "diff", "HEAD")
    if commit is None or status is None or difference is None:
        return {"commit": None if commit is None else commit.decode().strip(), "changes": None}
    digest = hashlib.sha256(status + difference).hexdigest()[:16]
    return {"commit": commit.decode().strip(), "changes": digest if status else "clean"}


def machine() -> dict[str, Any]:
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def jax_settings() -> dict[str, Any]:
    """Devices, XLA flags, precision and the random generator."""
    import jax

    devices = jax.devices()
    return {
        "devices": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "matmul_precision": str(jax_setting("jax_default_matmul_precision")),
        "x64": bool(jax.config.read("jax_enable_x64")),
        "prng": str(jax_setting("jax_default_prng_impl")),
        "prng_partitionable": bool(jax_setting("jax_threefry_partitionable")),
    }


def refusals() -> tuple[str, ...]:
    """Settings of JAX under which the same configuration would draw or compute other numbers than it says: one sentence
    for each, with the way out; none where all is well."""
    import jax

    found = []
    if jax.config.read("jax_enable_x64"):
        found.append("64-bit numbers are on, and icl is float32 throughout: unset JAX_ENABLE_X64 (jax_enable_x64)")
    if not jax_setting("jax_threefry_partitionable"):
        found.append("an older order of random numbers is on: unset JAX_THREEFRY_PARTITIONABLE")
    if jax_setting("jax_default_prng_impl") != "threefry2x32":
        found.append("another random generator is the default: unset JAX_DEFAULT_PRNG_IMPL")
    if jax_setting("jax_disable_jit"):
        found.append("compiling is off, and nothing here runs without: unset JAX_DISABLE_JIT")
    return tuple(found)


def precision() -> str | None:
    """The precision of matrix products that the user has set for all of JAX; None for the device's own. It is part of
    what a run computes, hence of its identity."""
    found = jax_setting("jax_default_matmul_precision")
    return None if found is None or str(found) in ("None", "default") else str(found)


def changes(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs between the surroundings that a manifest records and those of this process, where it may change
    last digits: one sentence for each, none where all is as it was."""
    now: dict[str, Any] = {"versions": versions(), "machine": machine(), **jax_settings()}
    compared = [("versions", name, name) for name in ("python", *_PACKAGES)]
    compared += [
        ("machine", "processor", "processor"),
        ("devices", "platform", "platform"),
        ("devices", "kind", "device"),
    ]
    found = []
    for part, key, word in compared:
        before, after = (
            one.get(part, {}).get(key) if isinstance(one.get(part), Mapping) else None for one in (manifest, now)
        )
        if before != after and before is not None and key != "icl-workbench":
            found.append(f"{word} was {before} and is {after}: last digits may differ")
    for key in ("xla_flags", "matmul_precision"):
        if key in manifest and manifest[key] != now[key]:
            found.append(f"{key} was {manifest[key] or 'empty'} and is {now[key] or 'empty'}: last digits may differ")
    return tuple(found)


def jax_setting(name: str) -> Any:
    """A setting of JAX. `jax.config.read` refuses those that a context can change, and types know no attributes."""
    import jax

    return getattr(jax.config, name)


def _git(place: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(place), *arguments],
            capture_output=True,
            check=False,
            timeout=10,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
