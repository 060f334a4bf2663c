"""The version space of a class: its prior restricted to the functions that explain the labels (Mitchell 1982)."""

from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from icl.references.base import Reference
from icl.references.bayes_of import BayesOf


@Reference.registry.add("version-space", papers=("bhattamishra-2023",))
class VersionSpace(Reference):
    """Bayes of someone to whom inputs say nothing: labels alone count. Where inputs depend on the function, because
    their labels are balanced or they teach it, Bayes is better."""

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        informed = type(task).log_input_density is not FunctionClass.log_input_density
        return (cls(),) if informed else ()

    def applies(self, task: FunctionClass) -> str | None:
        if not hasattr(task, "version_space"):
            return f"{task.name} has no version space of its own"
        return BayesOf(task).applies(task)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        return VersionSpaceOf(task)

    def __call__(self, prompt: Prompt) -> Prediction:
        raise NotAvailable("version-space does not know of which class: call .calibrate(task, key) first")


class VersionSpaceOf(eqx.Module):
    """The version space of a known class."""

    task: FunctionClass

    @property
    def found(self) -> dict[str, Any]:
        return {}

    def __call__(self, prompt: Prompt) -> Prediction:
        predict: Any = self.task
        return predict.version_space(prompt)
