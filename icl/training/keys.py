"""Which configurations train as one program: those that differ in numbers only, which are data of the program."""

from typing import Any

from function_classes import plain
from icl.config import Config


def program_key(config: Config) -> str:
    """Configurations with equal keys train as one program: they differ in seeds, rates and other float
    fields of task and training only."""
    training = {
        name: value
        for name, value in plain.dump(config.training).items()
        if name not in ("steps", "checkpoint_every", "log_every", "learning_rate", "save_minutes")
    }
    model = {"model": plain.dump(config.model)}
    # Floats of the model shape the compiled network: they are no data.
    return plain.canonical(_without_floats({"task": plain.dump(config.task), "training": training}) | model)


def _without_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_floats(v) for k, v in value.items()}
    if isinstance(value, list):
        return value  # tuples are static, whatever they hold
    return "float" if isinstance(value, float) else value
