"""Many queries for one context: implicit weights, sensitivity, plots of the learned function."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from function_classes.base import Prediction, Predictor, Prompt


def predict_at(predictor: Predictor, prompt: Prompt, k: Int[Array, ""] | int, xs: Shaped[Array, "N *x"]) -> Prediction:
    """Predictions at each of `xs` after the first k examples of `prompt`, every leaf with leading axis N.

    A predictor that has a `predict_at` method is asked directly; for every other causal predictor x_k is replaced and
    prediction k read, which costs N passes. k may be traced. With S targets per example, prediction (k, s) still sees
    y[k, <s] of the prompt.
    """
    own = getattr(predictor, "predict_at", None)
    if own is not None:
        return own(prompt, k, xs)

    def one(x: Shaped[Array, "*x"]) -> Prediction:
        changed = Prompt(prompt.xs.at[k].set(x.astype(prompt.xs.dtype)), prompt.ys)
        return jax.tree.map(lambda leaf: leaf[k], predictor(changed))

    return jax.vmap(one)(jnp.asarray(xs))
