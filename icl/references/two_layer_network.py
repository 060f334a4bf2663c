"""A network of two layers trained by Adam on every prefix, the learner of Garg et al. 2022 for their ReLU networks.

f(x) = sum_h a_h relu(w_h'x + b_h) + c       loss 1/k sum_{i<k} (f(x_i) - y_i)^2
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from function_classes.fields import setting
from icl.references.base import HIGHEST, Reference
from icl.references.fitting import FittedReference

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

# The square root of 0 has no derivative; a unit that never fires has such a second moment.
TINY = 1e-30


class Network(NamedTuple):
    """Weights and biases of both layers."""

    inner: Float[Array, "D H"]
    biases: Float[Array, "H"]
    outer: Float[Array, "H"]
    constant: Float[Array, ""]

    def __call__(self, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        hidden = jax.nn.relu(jnp.matmul(xs, self.inner, precision=HIGHEST) + self.biases[None, :])
        return jnp.matmul(hidden, self.outer, precision=HIGHEST) + self.constant


@Reference.registry.add("two-layer-network", papers=("garg-2022", "kingma-2014"))
class TwoLayerNetwork(FittedReference):
    """`steps` full-batch steps of Adam from one initialization that `init_seed` draws: uniform on
    [-n^(-1/2), n^(-1/2)] for a layer of n inputs, as in PyTorch. 0 at k = 0.

    Garg et al.: width 100, rate 5e-3; the paper says 5,000 steps of batch 10, the code 100 of batch 100, which holds
    all examples. Full batches of all k examples here, so that only the initialization is random.
    """

    width: int = setting(100, "hidden units", at_least=1)
    steps: int = setting(100, "of Adam, for every prefix", at_least=1)
    rate: float = setting(5e-3, "of Adam", above=0)
    init_seed: int = setting(0, "of the initialization, the same for all prefixes and prompts", at_least=0)

    @property
    def label(self) -> str:
        return f"two-layer network (width {self.width}, {self.steps} steps{self.refits})"

    def start(self, dim: int) -> Network:
        """The initialization."""
        inner, biases, outer, constant = jax.random.split(jax.random.key(self.init_seed), 4)

        def uniform(key: Array, shape: tuple[int, ...], inputs: int) -> Array:
            return jax.random.uniform(key, shape, minval=-(inputs**-0.5), maxval=inputs**-0.5)

        return Network(
            uniform(inner, (dim, self.width), dim),
            uniform(biases, (self.width,), dim),
            uniform(outer, (self.width,), self.width),
            uniform(constant, (), self.width),
        )

    def fit(self, xs: Float[Array, "P D"], ys: Float[Array, "P"], seen: Int[Array, ""]) -> Float[Array, "P"]:
        shown = jnp.arange(xs.shape[0]) < seen
        examples = jnp.where(shown[:, None], xs, 0.0)

        def loss(network: Network) -> Float[Array, ""]:
            squares = jnp.where(shown, jnp.square(network(examples) - ys), 0.0)
            return jnp.sum(squares) / jnp.maximum(seen, 1).astype(jnp.float32)

        def step(index: Array, state: tuple[Network, Network, Network]) -> tuple[Network, Network, Network]:
            network, first, second = state
            age = (index + 1).astype(jnp.float32)
            slope = jax.grad(loss)(network)
            first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, first, slope)
            second = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g**2, second, slope)

            def move(p: Array, m: Array, v: Array) -> Array:
                size = jnp.maximum(v / (1 - BETA_2**age), TINY)
                return p - self.rate * m / (1 - BETA_1**age) / (jnp.sqrt(size) + EPSILON)

            return jax.tree.map(move, network, first, second), first, second

        network = self.start(xs.shape[1])
        nothing = jax.tree.map(jnp.zeros_like, network)
        return jax.lax.fori_loop(0, self.steps, step, (network, nothing, nothing))[0](xs)
