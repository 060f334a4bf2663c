"""Whether one training step can fit the memory at all, asked before anything is compiled or written."""

import os
from collections.abc import Sequence

import jax

from function_classes.fields import ConfigError, Problem
from icl.config import Config

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def check(configs: Sequence[Config]) -> None:
    """Raises ConfigError for configurations whose activations alone exceed the device's memory.

    The estimate counts only what a step cannot do without, so nothing that would have run is refused.
    """
    room = _room()
    problems = []
    for config in configs:
        batch = config.training.batch // config.training.accumulate
        need = batch * config.model.prompt_bytes(config.task, config.training.remat)
        if room is not None and need > room:
            message = (
                f"{batch} prompts of {config.task.points} points at a time need at least {_words(need)}, and this "
                f"machine has {_words(room)}; make the prompts, the batch or the model smaller, raise "
                "training.accumulate, or use training.remat"
            )
            problems.append(Problem("training.batch", message))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _room() -> int | None:
    """Bytes of the devices that share a batch, or None where nobody says."""
    device, *others = jax.local_devices()
    if device.platform == "cpu":
        names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
        known = all(name in getattr(os, "sysconf_names", {}) for name in names)
        return os.sysconf(names[0]) * os.sysconf(names[1]) if known else None
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return None if limit is None else limit * (1 + len(others))


def _words(size: float) -> str:
    index = 0
    while size >= 1000 and index < len(UNITS) - 1:
        size, index = size / 1000, index + 1
    return f"{size:.3g} {UNITS[index]}"
