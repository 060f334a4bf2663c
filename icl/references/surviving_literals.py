"""The elimination learner of conjunctions: the most specific hypothesis that explains the positives (Valiant 1984)."""

from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.conjunctions import Conjunction, Disjunction, SparseDisjunction
from function_classes.fields import setting
from function_classes.spaces import Signs
from icl.references.base import Reference


@Reference.registry.add("surviving-literals", papers=("bhattamishra-2023",))
class SurvivingLiterals(Reference):
    """Begins with all 2 dim literals, drops those that a positive example falsifies, and says +1 where all others hold.

    On prompts of conjunctions it errs on positives alone, at most dim + 1 times. `disjunction` is the dual: negatives
    drop the literals that they satisfy, and it says -1 where none of the others holds. Examples of the other label are
    not used.
    """

    form: Literal["conjunction", "disjunction"] = setting("conjunction", "what is learned")
    registered_for: ClassVar[tuple[type[FunctionClass], ...]] = (Conjunction, Disjunction, SparseDisjunction)

    @property
    def label(self) -> str:
        return "surviving literals" if self.form == "conjunction" else "surviving literals (disjunction)"

    @classmethod
    def example(cls, task: FunctionClass) -> Reference:
        return cls("disjunction" if isinstance(task, Disjunction | SparseDisjunction) else "conjunction")

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls.example(task),) if isinstance(task, cls.registered_for) else ()

    def applies(self, task: FunctionClass) -> str | None:
        if not isinstance(task.x_space, Signs) or len(task.x_space.shape) != 1:
            return f"{self.name} needs vectors of signs as inputs, those of {task.name} are {task.x_space}"
        if task.y_space != Signs() or task.steps > 1:
            return f"{self.name} predicts one sign per example, outputs of {task.name} are {task.y_space}"
        return None

    def __call__(self, prompt: Prompt) -> Prediction:
        return Prediction(mean=self._says(self._dropped(prompt), prompt.xs))

    def predict_at(self, prompt: Prompt, k: Int[Array, ""] | int, xs: Float[Array, "N D"]) -> Prediction:
        """Predictions at the inputs `xs` after the first k examples of the prompt."""
        dropped = self._dropped(prompt)[k]
        return Prediction(mean=self._says(jnp.broadcast_to(dropped[None], (len(xs), *dropped.shape)), xs))

    def _dropped(self, prompt: Prompt) -> Bool[Array, "P D 2"]:
        """Literals (x_i = -1, x_i = +1) that no longer stand before each position; of the negated task for the dual."""
        side = self._side
        used = (side * prompt.ys > 0)[:, None, None]
        false = jnp.stack([side * prompt.xs > 0, ~(side * prompt.xs > 0)], -1)
        ever = jnp.cumsum(used & false, 0) > 0
        return jnp.concatenate([jnp.zeros_like(ever[:1]), ever[:-1]])

    def _says(self, dropped: Bool[Array, "N D 2"], xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        false = jnp.stack([self._side * xs > 0, ~(self._side * xs > 0)], -1)
        return self._side * jnp.where(jnp.any(false & ~dropped, (-2, -1)), -1.0, 1.0)

    @property
    def _side(self) -> float:
        return 1.0 if self.form == "conjunction" else -1.0
