"""Decision trees over the signs of the inputs (Garg et al. 2022, appendix A.1), with their exact posterior.

The sum over all trees is a recursion over boxes, as in context tree weighting (Willems, Shtarkov and Tjalkens 1995): a
subtree sees the examples in its box alone, and boxes are sets of signs, so equal ones are shared by many trees.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import setting
from function_classes.linear_functions import too_many
from function_classes.posteriors import log_normal
from function_classes.vectors import NoisyNumbers, VectorInputs

_MOST_BOXES = 200_000


class Tree(NamedTuple):
    """A task: node n has children 2 n + 1 (x_i <= 0) and 2 n + 2 (x_i > 0) with i = coordinates[n]; values of the
    leaves from left to right."""

    coordinates: Int[Array, "N"]
    values: Float[Array, "K"]


class Boxes(NamedTuple):
    """Sets of at most `levels` coordinates, in order; a box is a set with a sign for each of its coordinates.

    The box of set s with bit j set where its j-th coordinate is positive has number offsets[s] + bits.
    """

    count: int
    offsets: Int[np.ndarray, "S"]
    places: Int[np.ndarray, "S D"]  # 2^j where the coordinate is the set's j-th, else 0
    unions: Int[np.ndarray, "S D"]  # the set with the coordinate; itself where it is there already or the set is full
    sizes: Int[np.ndarray, "S"]


def boxes(dim: int, levels: int) -> Boxes:
    sets = [s for size in range(min(levels, dim) + 1) for s in itertools.combinations(range(dim), size)]
    index = {s: i for i, s in enumerate(sets)}
    sizes = np.array([len(s) for s in sets])
    places, unions = np.zeros((len(sets), dim), int), np.zeros((len(sets), dim), int)
    for row, members in enumerate(sets):
        for j, coordinate in enumerate(members):
            places[row, coordinate] = 2**j
        for coordinate in range(dim):
            unions[row, coordinate] = index.get(tuple(sorted({*members, coordinate})), row)
    return Boxes(int(np.sum(2**sizes)), np.cumsum(2**sizes) - 2**sizes, places, unions, sizes)


@FunctionClass.registry.add("decision-tree", papers=("garg-2022",))
class DecisionTree(VectorInputs, NoisyNumbers):
    """Complete binary trees: every node of `levels` levels asks whether x_i > 0, i uniform on the coordinates (with
    repetition), and every leaf has a value N(0, scale^2). y = f(x) + noise_std e, and E[f^2] = scale^2.

    Bayes sums over all dim^(2^levels - 1) trees. With E_h(C) the likelihood of the examples in box C under subtrees of
    height h, and C-, C+ its halves along coordinate i,

        E_0(C) = N(y_C; 0, scale^2 11' + noise_std^2 I),     E_h(C) = 1 / dim sum_i E_{h-1}(C-) E_{h-1}(C+)

    and the predictive follows the same recursion along the boxes that contain x. There are
    sum_{j <= levels} C(dim, j) 2^j boxes, of which one example changes sum_j C(dim, j): at dim 20, 4 levels, 87,441 and
    6,196. Without noise the floor of 1e-6 stands under the log predictives.

    >>> task = DecisionTree(dim=2, points=3, levels=1)
    >>> tree = Tree(jnp.array([1]), jnp.array([-5.0, 7.0]))
    >>> print(task.evaluate(tree, jnp.array([[1.0, -1.0], [-1.0, 1.0]])))
    [-5.  7.]
    """

    lesson = "Bayes sums over all trees by one recursion over boxes; neighbors and linear learners stay far above it."

    dim: int = setting(4, "number of input coordinates", at_least=1)
    levels: int = setting(3, "levels of inner nodes; the paper has 4", at_least=1, at_most=10)
    scale: float = setting(1.0, "standard deviation of every leaf", above=0)

    @property
    def bayes_kind(self) -> BayesKind:
        count = sum(math.comb(self.dim, j) * 2**j for j in range(min(self.levels, self.dim) + 1))
        reason = too_many(count, "boxes", _MOST_BOXES)
        if reason:
            return BayesKind("none", reason)
        return BayesKind("exact", "sum over all trees; noiseless evidence has a floor of 1e-6")

    @property
    def mean_square(self) -> Float[Array, ""]:
        return jnp.asarray(self.scale**2, jnp.float32)

    def sample_latent(self, key: PRNGKeyArray) -> Tree:
        nodes, leaves = jax.random.split(key)
        coordinates = jax.random.randint(nodes, (2**self.levels - 1,), 0, self.dim)
        return Tree(coordinates, self.scale * jax.random.normal(leaves, (2**self.levels,)))

    def evaluate(self, latent: Tree, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        node = jnp.zeros(xs.shape[0], jnp.int32)
        for _ in range(self.levels):
            x = jnp.take_along_axis(xs, latent.coordinates[node][:, None], 1)[:, 0]
            node = 2 * node + jnp.where(x > 0, 2, 1)
        return latent.values[node - (2**self.levels - 1)]

    def bayes(self, prompt: Prompt) -> Prediction:
        mean, variance, _ = self._predictive(prompt)
        return Prediction(mean=mean, variance=variance)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        return self._predictive(prompt)[2]

    def _predictive(self, prompt: Prompt) -> tuple[Float[Array, "P"], Float[Array, "P"], Float[Array, "P"]]:
        """Mean, variance and log density of y_k before it is seen; E_h(C) grows by what subtrees of C said of y_k."""
        if self.bayes_kind.kind == "none":
            raise NotAvailable(f"{self.name} has no Bayes predictor: {self.bayes_kind.detail}")
        sets = boxes(self.dim, self.levels)
        rows, columns = np.arange(len(sets.sizes))[:, None], np.arange(self.dim)[None, :]
        halves = jnp.asarray(sets.unions != rows)
        unions, offsets, places = (jnp.asarray(a, jnp.int32) for a in (sets.unions, sets.offsets, sets.places))
        flips = jnp.asarray(sets.places[sets.unions, columns], jnp.int32)

        def step(carry, example):
            counts, sums, likelihoods = carry
            x, y = example
            bits = jnp.sum(jnp.where((x > 0)[None, :], places, 0), 1)
            own = offsets + bits
            here, other = own[unions], offsets[unions] + (bits[unions] ^ flips)
            mean, variance, logs = self._leaf(counts[own], sums[own], y)
            said = [logs]
            for height in range(self.levels):
                rest = jnp.where(halves, likelihoods[height, other], 0.0)
                weights = jax.nn.log_softmax(likelihoods[height, here] + rest, axis=1)
                means = mean[unions]
                mean = jnp.sum(jnp.exp(weights) * means, 1)
                variance = jnp.sum(jnp.exp(weights) * (variance[unions] + (means - mean[:, None]) ** 2), 1)
                said.append(logsumexp(weights + said[-1][unions], axis=1))
            likelihoods = likelihoods.at[:, own].add(jnp.stack(said))
            return (counts.at[own].add(1.0), sums.at[own].add(y), likelihoods), (mean[0], variance[0], said[-1][0])

        start = jnp.zeros(sets.count), jnp.zeros(sets.count), jnp.zeros((self.levels + 1, sets.count))
        return jax.lax.scan(step, start, (prompt.xs, prompt.ys))[1]

    def _leaf(
        self, counts: Float[Array, "S"], sums: Float[Array, "S"], y: Float[Array, ""]
    ) -> tuple[Float[Array, "S"], Float[Array, "S"], Float[Array, "S"]]:
        """Mean, variance and log density of y in leaves that have seen `counts` examples."""
        prior, noise = self.scale**2, self.noise_std**2
        total = jnp.where(counts > 0, counts * prior + noise, 1.0)
        mean = jnp.where(counts > 0, prior * sums / total, 0.0)
        variance = jnp.where(counts > 0, prior * noise / total, prior) + noise
        return mean, variance, log_normal(y * jnp.ones_like(mean), mean, variance, prior * jnp.ones_like(mean))
