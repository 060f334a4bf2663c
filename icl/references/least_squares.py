"""Min-norm least squares w = X^+ y, refitted to every prefix."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Prompt
from function_classes.posteriors import LinearPosterior, least_squares_filter
from icl.references.base import LinearReference, Reference


@Reference.registry.add("least-squares", papers=("garg-2022", "akyurek-2022"))
class LeastSquares(LinearReference):
    """w_k = X_k^+ y_{<k}, the limit of ridge as the penalty goes to 0; 0 at k = 0.

    Without noise, x and w ~ N(0, I): E(error^2)/dim = max(0, 1 - k/dim). With noise the mean error is infinite at
    k = dim - 1, dim, dim + 1: compare medians or clipped errors there.

    As exact as NumPy's `lstsq` of float32 arrays: both compute in double precision and round once.
    """

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(),)

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        return _filtered(prompt).weights

    def means(self, prompt: Prompt) -> Float[Array, "P"]:
        return _filtered(prompt).mean


def _filtered(prompt: Prompt) -> LinearPosterior:
    return least_squares_filter(prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32))
