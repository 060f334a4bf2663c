"""Randomness without history: every number is a function of (seed, stream, step, prompt index), never of what was drawn
before, of the batch size, or of how often a run was interrupted."""

import jax
from jaxtyping import Array, PRNGKeyArray

IMPLEMENTATION = "threefry2x32"

# The numbers are part of what a seed means: they may be added to, never changed.
STREAMS = {
    "weights": 0,
    "training": 1,
    "validation": 2,
    "evaluation": 3,
    "calibration": 4,
    "identification": 5,
    "probes": 6,
    "bootstrap": 7,
    "teacher": 8,
    "bars": 9,
}


def stream(seed: int | Array, name: str) -> PRNGKeyArray:
    """The key of a named stream. Streams of one seed are independent, so training and evaluation share no prompt."""
    return jax.random.fold_in(jax.random.key(seed, impl=IMPLEMENTATION), STREAMS[name])
