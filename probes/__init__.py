"""Probes: one file each. A probe takes any predictor: a trained run, a reference, the exact posterior.

import jax, probes
probes.get("implicit-weights")(run, key=jax.random.key(3)).plot()
probes.implicit_weights(run, key=jax.random.key(3))            # the same

How often each is wrong on learners whose algorithm is known: `icl probe --controls`, docs/controls.md.
"""

from typing import Any

from probes.base import Probe as Probe
from probes.base import ProbeResult as ProbeResult
from probes.base import load as load


def names() -> tuple[str, ...]:
    """The registered probes."""
    found = Probe.registry.names()
    # Importing a file of this package binds its name to the module; here the name means the probe.
    globals().update({name.replace("-", "_"): Probe.registry.get(name) for name in found})
    return found


def get(name: str, /, **fields: Any) -> Any:
    """A probe with the given fields. Raises ConfigError with the nearest name."""
    names()
    return Probe.registry.get(name, **fields)


def describe() -> dict[str, str]:
    """Name -> the question it answers."""
    return {name: Probe.registry.find(name).question for name in names()}


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name.replace("_", "-") not in names():
        raise AttributeError(f"module 'probes' has no attribute {name!r}")
    return get(name)
