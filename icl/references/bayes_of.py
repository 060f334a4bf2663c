"""The Bayes predictor of another function class: optimal for someone who believes in that class."""

import jax
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import setting
from icl.references.base import Reference


@Reference.registry.add("bayes-of", papers=("raventos-2023", "panwar-2023"))
class BayesOf(Reference):
    """task.bayes, used on prompts of any class with the same spaces and steps. Its length comes from the prompt."""

    task: FunctionClass
    title: str = setting("", "of the class in tables; none: its name", science=False)

    @property
    def label(self) -> str:
        return f"bayes-of {self.title or self.task.name}"

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return tuple(cls(other, title=name) for name, other in task.believers.items())

    @classmethod
    def example(cls, task: FunctionClass) -> Reference:
        return cls(task)

    def applies(self, task: FunctionClass) -> str | None:
        ours, theirs = self.task, task
        if ours.bayes_kind.kind == "none":
            return f"{ours.name} has no Bayes predictor: {ours.bayes_kind.detail}"
        for what, a, b in (
            ("inputs", ours.x_space, theirs.x_space),
            ("outputs", ours.y_space, theirs.y_space),
            ("steps", ours.steps, theirs.steps),
        ):
            if a != b:
                return f"{what} of {ours.name} are {a}, those of {theirs.name} are {b}"
        return None

    def __call__(self, prompt: Prompt) -> Prediction:
        return self.task.bayes(prompt)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P *s"]:
        """log p(y_k | x_0..x_k, y_<k) under the other class, in nats."""
        return self.task.log_predictive(prompt)

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        """Posterior means of w where the other class is linear: the gradient of its prediction in x_k."""

        def mean(x: Float[Array, "D"], k: Array) -> Float[Array, ""]:
            prediction = self.task.bayes(Prompt(prompt.xs.at[k].set(x), prompt.ys))
            if prediction.mean is None:
                raise NotAvailable(f"{self.label} predicts probabilities: it has no weights")
            return prediction.mean[k]

        return jax.vmap(jax.grad(mean))(prompt.xs, jax.numpy.arange(prompt.points))
