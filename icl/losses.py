"""How a prediction is scored where it is trained and where it is measured: squared error, or cross-entropy in nats."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.base import Prediction, Prompt
from function_classes.spaces import Signs, Space, Symbols


def position_loss(prediction: Prediction, prompt: Prompt, space: Space, steps: int = 1) -> Float[Array, "P *s"]:
    """Loss at every position, (P,) or (P, S): the squared error summed over y's shape for real outputs, minus the log
    probability of the target for symbols and signs. `Prompt.scored` is not applied here; see `mean_loss`."""
    targets = prompt.scores
    axes = tuple(range(1 if steps == 1 else 2, targets.ndim))
    if isinstance(space, Symbols | Signs):
        log_probs = prediction.as_log_probs(space)
        index = targets if isinstance(space, Symbols) else (targets > 0).astype(jnp.int32)
        return -jnp.sum(jnp.take_along_axis(log_probs, index[..., None], -1)[..., 0], axes)
    return jnp.sum(jnp.square(prediction.as_mean(space) - targets), axes)


def mean_loss(losses: Float[Array, "B P *s"], scored: Float[Array, "B P *s"] | None) -> Float[Array, ""]:
    """The mean over prompts and positions, weighted by `scored` where the prompts have it."""
    if scored is None:
        return jnp.mean(losses)
    return jnp.sum(losses * scored) / jnp.maximum(jnp.sum(scored), 1)
