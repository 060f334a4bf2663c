"""The Bayes predictor as a reference, for where one is chosen by name."""

from jaxtyping import PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from icl.references.base import Reference
from icl.references.bayes_of import BayesOf


@Reference.registry.add("bayes")
class Bayes(Reference):
    """task.bayes of the class it is used on, which `calibrate` names; `bayes-of` is that of a class named here."""

    def applies(self, task: FunctionClass) -> str | None:
        return BayesOf(task).applies(task)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        return BayesOf(task)

    def __call__(self, prompt: Prompt) -> Prediction:
        raise NotAvailable("bayes does not know of which class: call .calibrate(task, key) first, or use bayes-of")
