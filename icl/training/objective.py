"""What training lowers: the loss of a learner on a batch of prompts."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from function_classes.base import Prediction, Predictor, Prompt
from icl import scoring
from icl.config import Config
from icl.models.base import Learner
from icl.models.outline import Outline
from icl.training.validation import Validation


class Objective:
    """The loss of one learner: the mean over scored positions of what its metric counts."""

    def __init__(self, config: Config, outline: Outline):
        self.config, self.outline = config, outline

    def predict(self, learner: Predictor, prompts: Prompt) -> Prediction:
        """Predictions of a batch, in the one pass that training makes."""
        return learner.batched(prompts) if isinstance(learner, Learner) else jax.vmap(learner)(prompts.hide())

    def loss(self, predictions: Prediction, prompts: Prompt, weights: Any) -> Float[Array, ""]:
        """The mean loss of a batch; `weights` are those of positions, None for all alike."""
        space, steps, metric = self.config.task.y_space, self.config.task.steps, self.config.model.metric
        losses = jax.vmap(lambda prediction, prompt: scoring.loss(prediction, prompt, space, steps, metric))
        return self._mean(losses(predictions, prompts), prompts, weights)

    def watched(self, params: PyTree, validation: Validation, constants: PyTree) -> dict[str, Float[Array, ""]]:
        """The loss on one member's validation prompts, and its excess where a floor is known."""
        prompts, learner = validation.prompts, self.outline.learner(params, constants)
        loss = self.loss(self.predict(learner, prompts), prompts, prompts.scored)
        if validation.floor is None:
            return {"validation_loss": loss}
        return {"validation_loss": loss, "excess": loss - self._mean(validation.floor, prompts, prompts.scored)}

    def _mean(self, losses: Float[Array, "B P S"], prompts: Prompt, weights: Any) -> Float[Array, ""]:
        return scoring.mean_loss(losses, scoring.only(self._trained(prompts.ys.shape[1]), weights, prompts))

    def _trained(self, points: int) -> np.ndarray | None:
        """The positions that one pass of the learner predicts: (P,) booleans, None for all."""
        learner = self.outline.static
        return learner.trained(points) if isinstance(learner, Learner) else None
