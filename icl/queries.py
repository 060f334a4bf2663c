"""Many queries for one context: implicit weights, sensitivity, plots of the learned function."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from function_classes.base import NotAvailable, Prediction, Prompt
from icl import doors


def predict_at(predictor: Any, prompt: Prompt, k: Int[Array, ""] | int, xs: Any) -> Prediction:
    """Predictions at each of `xs` after the first k examples of `prompt`, every leaf with leading axis N.

    A predictor that has a `predict_at` method is asked directly; for every other causal predictor x_k is replaced and
    prediction k read, which costs N passes. k may be traced. With S targets per example, prediction (k, s) still sees
    y[k, <s] of the prompt.
    """
    predictor = doors.callable_of(predictor)
    doors.arrays(prompt, "predict_at")
    if prompt.ys.ndim > 1 and prompt.xs.ndim > 2 and prompt.xs.shape[:2] == prompt.ys.shape[:2]:
        raise doors.batch("predict_at", prompt.ys.shape[0])
    xs = jnp.asarray(xs)
    if xs.shape[1:] != prompt.xs.shape[1:] or not xs.ndim:
        shape = ", ".join(map(str, ("N", *prompt.xs.shape[1:])))
        raise NotAvailable(f"xs: expected inputs of shape ({shape}), got {xs.shape}; write x[None] for one of them")
    if not isinstance(k, jax.core.Tracer) and not 0 <= int(k) < prompt.points:
        raise NotAvailable(f"k: expected a position from 0 to {prompt.points - 1}, got {k}")
    own = getattr(predictor, "predict_at", None)
    if own is not None:
        return own(prompt, k, xs)

    def one(x: Shaped[Array, "*x"]) -> Prediction:
        changed = Prompt(prompt.xs.at[k].set(x.astype(prompt.xs.dtype)), prompt.ys)
        found = predictor(changed)
        if not isinstance(found, Prediction):
            made = f"an array of shape {found.shape}" if hasattr(found, "shape") else f"a {type(found).__name__}"
            raise NotAvailable(f"predictor: returned {made}, expected a Prediction; return Prediction(mean=...)")
        return jax.tree.map(lambda leaf: leaf[k], found)

    return jax.vmap(one)(xs)
