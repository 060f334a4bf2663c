"""One member's way down: the state it starts from, and one step with a gradient. A step that would leave the finite
numbers is not taken, and the member stays where it is from then on."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from icl.config import Config
from icl.models.outline import Outline, begin
from icl.training.gradients import Gradient
from icl.training.state import Data, State


def start(config: Config, outline: Outline, data: Data) -> State:
    """Fresh weights, and the optimizer's state for them."""
    learner = begin(config.model, data.task, data.seed, config.training.remat)
    params, constants, _ = outline.anatomy.split(learner)
    zero = jnp.zeros((), jnp.int32)
    optimizer = data.optimizer.transform().init(params)
    return State(params, optimizer, zero, jnp.zeros(()), zero, jnp.asarray(True), zero - 1, constants)


def descend(gradient_of: Gradient, step: Array, state: State, data: Data) -> State:
    """p - rate * direction; a member whose loss or gradient is not finite, or whose loss is above its limit, is frozen
    with the leaf that was worst as its culprit."""
    loss, gradient = gradient_of(state, step, data)
    flat, _ = ravel_pytree(gradient)
    healthy = jnp.isfinite(loss) & (loss < data.limit) & jnp.all(jnp.isfinite(flat))

    def move(state: State) -> State:
        direction, optimizer = data.optimizer.transform().update(
            _clip(gradient, flat, data), state.optimizer, state.params
        )
        rate = data.rate * data.schedule.factor(step, data.steps)
        params = jax.tree.map(lambda p, d: p - (rate * d).astype(p.dtype), state.params, direction)
        moved = params, optimizer, step + 1, state.total + loss, state.count + 1
        return State(*moved, state.alive, state.culprit, state.constants)

    def freeze(state: State) -> State:
        largest = jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)])
        worst = jnp.argmax(jnp.where(jnp.isfinite(largest), largest, jnp.inf)).astype(jnp.int32)
        culprit = jnp.where(state.alive, worst, state.culprit)
        return eqx.tree_at(lambda s: (s.alive, s.culprit), state, (jnp.asarray(False), culprit))

    return jax.lax.cond(state.alive & healthy, move, freeze, state)


def _clip(gradient: PyTree, flat: Float[Array, "N"], data: Data) -> PyTree:
    """The gradient, scaled down to the largest norm allowed."""
    if data.clip is None:
        return gradient
    scale = jnp.minimum(1.0, data.clip / jnp.maximum(jnp.linalg.norm(flat), 1e-12))
    return jax.tree.map(lambda g: scale * g, gradient)
