"""Tiny configurations in which every model, mixer, head, layout and optimizer stands once."""

from typing import Any

from icl.config import Config
from icl.layouts import Layout
from icl.models import ModelConfig
from icl.models.heads import HeadConfig
from icl.models.mixers import MixerConfig
from icl.training.optimizers import Optimizer
from tests.frozen.members import names

SIZES = {"points": 4, "depth": 1, "width": 8, "heads": 2, "batch": 2, "validation_prompts": 3}
# A model's forms that have other weights or other sites.
FORMS: dict[str, dict[str, Any]] = {
    "transformer, two layers": {"model.depth": 2},
    "transformer, rotary, post, swiglu": {
        "model.positions": "rotary",
        "model.norm": "post",
        "model.activation": "swiglu",
    },
    "transformer, relative, bilinear": {"model.positions": "relative", "model.activation": "bilinear"},
    "transformer, bfloat16, gpt2": {"model.compute": "bfloat16", "model.init": "gpt2"},
    "transformer, tied": {"task": "markov", "model.tied": True},
    "transformer, signs": {"task": "conjunction"},
    "transformer, without MLP and norm": {"model.activation": "none", "model.norm": "none", "model.positions": "none"},
    "transformer, mixers": {"model.depth": 2, "model.mixers": ["softmax", "gru"]},
    "looped, timesteps": {"model": "looped", "model.loops": 3, "model.timesteps": True},
    "looped, halting": {"model": "looped", "model.loops": 3, "model.halting": True},
    "attention-only, recurrent": {"model": "attention-only", "model.depth": 3, "model.recurrent": True},
    "attention-only, codes": {
        "model": "attention-only",
        "model.positions": "sinusoidal",
        "model.layout": {"name": "interleaved", "channels": "separate", "query": "last"},
    },
}


def settings() -> dict[str, dict[str, Any]]:
    """Key -> settings of `Config.create`, beside the sizes."""
    found: dict[str, dict[str, Any]] = {}
    found |= {f"model/{name}": {"model": name} for name in names(ModelConfig) if name != "given"}
    found |= {f"mixer/{name}": {"model.mixer": name} for name in names(MixerConfig)}
    found |= {f"head/{name}": {"model.head": name} for name in names(HeadConfig)}
    found |= {f"layout/{name}": {"model.layout": name} for name in names(Layout)}
    found |= {f"optimizer/{name}": {"training.optimizer": name} for name in names(Optimizer)}
    found["layout/stream"] |= {"task": "markov"}
    found["mixer/merged-linear"] |= {"model": "attention-only"}
    return found | {f"form/{name}": words for name, words in FORMS.items()}


def config(words: dict[str, Any]) -> Config:
    """A tiny configuration; `attention-only` has the width of its tokens, and one head."""
    alone = words.get("model") == "attention-only"
    sizes = {name: size for name, size in SIZES.items() if not (alone and name in ("width", "heads", "depth"))}
    first = {"model": words["model"]} if "model" in words else {}
    rest = {name: value for name, value in words.items() if name not in ("model", "task")}
    return Config.create(words.get("task", "linear-regression"), **first, **sizes, **rest)
