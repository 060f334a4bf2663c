"""Regression trees grown greedily (CART: Breiman et al. 1984) on every prefix."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from function_classes.fields import setting
from icl.references.base import Reference
from icl.references.fitting import FittedReference

# Gains below this share of the sum of squares are rounding.
LEAST_GAIN = 1e-6


@Reference.registry.add("greedy-tree", papers=("breiman-1984", "garg-2022"))
class GreedyTree(FittedReference):
    """A binary tree of at most `depth` splits x_j <= threshold from root to leaf, each the one that lowers the sum of
    squares most; a leaf predicts the mean of its y. 0 at k = 0.

    scikit-learn's DecisionTreeRegressor(max_depth=depth, min_samples_leaf=leaf), thresholds halfway between values;
    among equal gains the first coordinate and the least threshold count, where scikit-learn draws. Garg et al. report
    depth 2 in the paper and 4 in the code; an unbounded depth is not offered (10 separates 1,000 examples).
    """

    depth: int = setting(4, "splits from the root to a leaf", at_least=1, at_most=10)
    leaf: int = setting(1, "least number of examples in a leaf", at_least=1)

    @property
    def label(self) -> str:
        return f"greedy tree (depth {self.depth}{self.refits})"

    def fit(self, xs: Float[Array, "P D"], ys: Float[Array, "P"], seen: Int[Array, ""]) -> Float[Array, "P"]:
        return grow(sort(xs, seen), ys, self.depth, self.leaf)


Rows = tuple[Float[Array, "P D"], Bool[Array, "P"], Int[Array, "D P"]]
"""Rows of inputs, which of them are examples, and for every coordinate their order from least to largest."""


def sort(xs: Float[Array, "P D"], seen: Int[Array, ""]) -> Rows:
    """The first `seen` rows are examples; queries come last in every order."""
    shown = jnp.arange(xs.shape[0]) < seen
    return xs, shown, jnp.argsort(jnp.where(shown[:, None], xs, jnp.inf), axis=0).T


def grow(rows: Rows, ys: Float[Array, "P"], depth: int, leaf: int) -> Float[Array, "P"]:
    """What a tree fitted to the examples says of all rows. All nodes of a level are split at once.

    Splitting n examples with sum s into (n_l, s_l) and (n_r, s_r) lowers the sum of squares by
    s_l^2 / n_l + s_r^2 / n_r - s^2 / n. Cost O(depth D P 2^depth).
    """
    xs, shown, order = rows
    counted = shown.astype(jnp.float32)
    mean = jnp.sum(counted * ys) / jnp.maximum(jnp.sum(counted), 1.0)
    # Centered, squares of sums keep their digits.
    rest = jnp.where(shown, ys - mean, 0.0)
    scale = jnp.sum(rest**2)
    places = jnp.arange(xs.shape[0])
    values = jnp.take_along_axis(xs.T, order, 1)
    used = shown[order]
    values = jnp.where(used, values, jnp.inf)
    node = jnp.zeros(xs.shape[0], jnp.int32)

    for level in range(depth):
        nodes = jnp.arange(2**level)
        member = (node[:, None] == nodes[None, :]) & shown[:, None]
        count, total = _sums(member, rest)
        inside = member[order]
        left_count = jnp.cumsum(inside.astype(jnp.float32), 1)
        left_sum = jnp.cumsum(jnp.where(inside, rest[order][:, :, None], 0.0), 1)
        right_count, right_sum = count[None, None, :] - left_count, total[None, None, :] - left_sum
        gain = _square(left_sum, left_count) + _square(right_sum, right_count) - _square(total, count)[None, None, :]
        # The next value in the same node: the least of those that come later in the order.
        own = jnp.where(inside, values[:, :, None], jnp.inf)
        later = jnp.concatenate([own[:, 1:], jnp.full_like(own[:, :1], jnp.inf)], 1)
        following = jax.lax.cummin(later, axis=1, reverse=True)
        allowed = inside & (own < following) & jnp.isfinite(following)
        allowed = allowed & (left_count >= leaf) & (right_count >= leaf)
        gain = jnp.where(allowed, gain, -jnp.inf)
        best = jnp.argmax(gain.reshape(-1, len(nodes)), 0)
        feature, place = best // len(places), best % len(places)
        cut = 0.5 * (own[feature, place, nodes] + following[feature, place, nodes])
        splits = gain[feature, place, nodes] > LEAST_GAIN * scale
        right = splits[node] & ~(xs[places, feature[node]] <= cut[node])
        node = 2 * node + right.astype(jnp.int32)

    member = (node[:, None] == jnp.arange(2**depth)[None, :]) & shown[:, None]
    count, total = _sums(member, rest)
    return mean + (total / jnp.maximum(count, 1.0))[node]


def _sums(member: Bool[Array, "P N"], rest: Float[Array, "P"]) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
    """Examples and sum of y in every node."""
    return jnp.sum(member.astype(jnp.float32), 0), jnp.sum(jnp.where(member, rest[:, None], 0.0), 0)


def _square(total: Float[Array, "*n"], count: Float[Array, "*n"]) -> Float[Array, "*n"]:
    return total**2 / jnp.maximum(count, 1.0)
