"""A module of the user's own, trained from Python. Old runs know it by a hash of its source: it never changes."""

import equinox as eqx
import jax
import jax.numpy as jnp

import icl
from function_classes import Prediction, get


class Own(eqx.Module):
    """Predicts w'x_k plus a share of the mean of the labels so far."""

    weights: jax.Array
    share: jax.Array

    def __call__(self, prompt):
        before = jnp.concatenate([jnp.zeros(1), jnp.cumsum(prompt.ys)[:-1]])
        means = before / jnp.maximum(jnp.arange(prompt.ys.shape[0]), 1).astype(jnp.float32)
        return Prediction(mean=prompt.xs @ self.weights + self.share * means)


def module():
    return Own(jnp.array([0.25, -0.5]), jnp.array(0.125))


def train(root):
    sizes = {"steps": 12, "batch": 4, "log_every": 3, "validation_prompts": 8, "optimizer": "adam", "seed": 1}
    sizes |= {"training.checkpoint_every": "none", "evaluation.prompts": 16}
    return icl.train(task=get("linear-regression", dim=2, points=4), model=module(), root=root, name="own", **sizes)
