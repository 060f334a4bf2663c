"""Least largest weight: w = argmin |w|_inf subject to Xw = y, the solver of Panwar et al. 2023 for sign vectors."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Prompt
from function_classes.fields import setting
from function_classes.posteriors import new_directions
from icl.references.base import HIGHEST, LinearReference, Reference
from icl.references.least_squares import LeastSquares

# Length of a step relative to the largest weight of the min-norm solution; 0.3 to 3 were tried, 3 converges soonest.
STEP = 3.0

# Newton steps for the level at which weights are cut. They rise to it and end there, mostly after four or five.
LEVEL_STEPS = 8


@Reference.registry.add("l-infinity", papers=("panwar-2023", "mangasarian-2011"))
class LInfinity(LinearReference):
    """w_k = argmin |w|_inf over the weights of least |Xw - y|, which interpolate while examples are independent.

    Once X has rank dim that is least squares (the paper's code predicts 0 there, where its linear program is
    infeasible). For w in {-1, +1}^dim the minimum is unique and w itself from k near dim / 2 on (Mangasarian and
    Recht 2011). 0 at k = 0.

    By `iterations` of Douglas and Rachford's splitting from where the prefix before ended. Interpolation is exact; with
    w ~ N(0, I) at dim 20 the largest weight is above the least by a median of 1e-6 to 4e-4, depending on k, and at most
    1e-3 (relative). The minimum is unique but flat: predictions (y has a standard deviation of 4.5) are off by a median
    of 2e-3 at most, the worst by 2e-2.
    """

    iterations: int = setting(400, "of the splitting, for every prefix", at_least=1)

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(),) if task.name == "sign-vector" else ()

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        """z <- z + Q(2 cut(z) - z) - cut(z), Q the projection on {w: Xw = y} and cut the proximal map of t |w|_inf."""
        xs = prompt.xs.astype(jnp.float32)
        shortest = LeastSquares().weights(prompt)
        dim = xs.shape[-1]

        def outside(projector: Float[Array, "D D"], v: Float[Array, "D"]) -> Float[Array, "D"]:
            return v - jnp.matmul(projector, v, precision=HIGHEST)

        def position(carry, example):
            projector, z = carry
            direction, w = example
            step = STEP * jnp.max(jnp.abs(w))

            def split(_: Array | int, z: Float[Array, "D"]) -> Float[Array, "D"]:
                near = cut(z, step)
                return z + w + outside(projector, 2 * near - z) - near

            z = jax.lax.fori_loop(0, self.iterations, split, z)
            found = w + outside(projector, cut(z, step))
            return (projector + direction[:, None] * direction[None, :], z), found

        start = jnp.zeros((dim, dim)), jnp.zeros(dim)
        return jax.lax.scan(position, start, (new_directions(xs), shortest))[1]


def cut(v: Float[Array, "D"], step: Float[Array, ""]) -> Float[Array, "D"]:
    """argmin_w step |w|_inf + |w - v|^2 / 2: entries cut at the level whose excess sum_j (|v_j| - level)+ is `step`,
    or 0 where |v|_1 <= step."""
    sizes = jnp.abs(v)

    def rise(_: Array | int, level: Float[Array, ""]) -> Float[Array, ""]:
        above = sizes > level
        count = jnp.maximum(jnp.sum(above.astype(jnp.float32)), 1.0)
        return jnp.maximum(level, (jnp.sum(jnp.where(above, sizes, 0.0)) - step) / count)

    level = jax.lax.fori_loop(0, LEVEL_STEPS, rise, jnp.zeros(()))
    return jnp.clip(v, -level, level)
