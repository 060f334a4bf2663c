"""Gradient boosting of regression trees (Friedman 2001) for squared error, on every prefix.

f_0 = mean of y,   f_t = f_{t-1} + rate tree_t,   tree_t fitted greedily to y - f_{t-1}
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from function_classes.fields import setting
from icl.references.base import Reference
from icl.references.fitting import FittedReference
from icl.references.greedy_tree import grow, sort


@Reference.registry.add("gradient-boosted-trees", papers=("friedman-2001", "garg-2022"))
class GradientBoostedTrees(FittedReference):
    """`trees` trees of `depth`, the numbers of Garg et al.'s XGBoost (50, 4, rate 0.1), which also penalizes leaves and
    uses second derivatives; for squared error without penalties they are the same. 0 at k = 0.

    scikit-learn's GradientBoostingRegressor(n_estimators=trees, max_depth=depth, learning_rate=rate): alike at the
    examples to rounding, elsewhere in one dimension alone. In a small node several coordinates part the examples alike,
    always so where two are left; there scikit-learn draws, and here the first counts. Fits of scikit-learn with other
    `random_state` differ from each other as much. (Its criterion `friedman_mse` chooses as the sum of squares does.)
    """

    trees: int = setting(50, "number of trees", at_least=1)
    depth: int = setting(4, "splits from the root to a leaf of a tree", at_least=1, at_most=10)
    rate: float = setting(0.1, "share of every tree that is added", above=0, at_most=1)
    leaf: int = setting(1, "least number of examples in a leaf", at_least=1)

    @property
    def label(self) -> str:
        return f"{self.trees} boosted trees (depth {self.depth}{self.refits})"

    def fit(self, xs: Float[Array, "P D"], ys: Float[Array, "P"], seen: Int[Array, ""]) -> Float[Array, "P"]:
        rows = sort(xs, seen)
        shown = rows[1]
        mean = jnp.sum(jnp.where(shown, ys, 0.0)) / jnp.maximum(seen, 1).astype(jnp.float32)

        def add(_: Array | int, sums: Float[Array, "P"]) -> Float[Array, "P"]:
            return sums + self.rate * grow(rows, jnp.where(shown, ys - sums, 0.0), self.depth, self.leaf)

        return jax.lax.fori_loop(0, self.trees, add, jnp.full(ys.shape, mean))
