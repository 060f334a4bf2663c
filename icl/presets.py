"""Recipes of papers: a configuration tree each, with a sentence on every deviation from the paper."""

import copy
from typing import Any, NamedTuple

from function_classes.fields import ConfigError, Problem, nearest


class Preset(NamedTuple):
    """A recipe: where it comes from, the settings, and how it differs from what the paper did."""

    source: str
    tree: dict[str, Any]
    deviations: tuple[str, ...]


PRESETS: dict[str, Preset] = {}


def find(name: str) -> dict[str, Any]:
    """The settings of a preset as a fresh tree. Raises ConfigError with the nearest name."""
    key = name.replace("_", "-")
    if key not in PRESETS:
        raise ConfigError([Problem("preset", f"unknown preset {name!r}{nearest(name, PRESETS)}")])
    return copy.deepcopy(PRESETS[key].tree)


PRESETS["garg-2022"] = Preset(
    "Garg, Tsipras, Liang, Valiant 2022, 'What Can Transformers Learn In-Context?', standard model on linear functions",
    {
        "task": {"name": "linear-regression", "dim": 20, "points": 41, "noise_std": 0.0},
        "model": {
            "name": "transformer",
            "depth": 12,
            "width": 256,
            "heads": 8,
            "mixer": {"name": "softmax", "bias": True},
            "mlp_ratio": 4,
            "activation": "gelu",
            "positions": "learned",
            "init": "gpt2",
            "max_points": 101,
            "layout": {"name": "interleaved", "channels": "shared"},
        },
        "training": {
            "steps": 500_000,
            "batch": 64,
            "optimizer": {"name": "adam"},
            "learning_rate": 1e-4,
            "schedule": {"name": "constant"},
            "curriculum": {
                "dims_start": 5,
                "dims_by": 1,
                "dims_every": 2000,
                "points_start": 11,
                "points_by": 2,
                "points_every": 2000,
            },
        },
    },
    (
        "Prompts come from independent streams; in the public code the weights of one prompt and the inputs of the "
        "next share a generator seed.",
        "The last output of a prompt is not fed to the network: no prediction may use it.",
        "The unused token table of the public code (50,257 rows) does not exist.",
        "Short prompts of the curriculum are full prompts whose later positions carry no loss; for a causal model the "
        "two are the same function.",
    ),
)
