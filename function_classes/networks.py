"""Two-layer ReLU networks with random weights (Garg et al. 2022, appendix A.1)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass
from function_classes.fields import setting
from function_classes.posteriors import HIGHEST
from function_classes.vectors import NoisyNumbers, VectorInputs


class Network(NamedTuple):
    """A task: f = scale sqrt(2 / r) outer' relu(inner x)."""

    inner: Float[Array, "R D"]
    outer: Float[Array, "R"]


@FunctionClass.registry.add("relu-network", papers=("garg-2022",))
class ReluNetwork(VectorInputs, NoisyNumbers):
    """f = scale sqrt(2 / r) sum_{j <= r} a_j relu(v_j'x), a_j ~ N(0, 1), v_j ~ N(0, I), r = `hidden`, no biases.

    E[f(x)^2] = scale^2 |x|^2 at every x, so E[f^2] = dim for x ~ N(0, I). As relu(z) = z / 2 + |z| / 2, f is a linear
    plus an even function, each with half of that variance, for every r: linear learners stop at half.

    >>> task = ReluNetwork(dim=1, points=3, hidden=2, scale=2.0)
    >>> network = Network(jnp.array([[1.0], [-1.0]]), jnp.array([3.0, 5.0]))
    >>> print(task.evaluate(network, jnp.array([[1.0], [-1.0]])))
    [ 6. 10.]
    """

    lesson = "Half of the variance is a linear function, half an even one: linear learners stop at half."

    noise_std: float = setting(0.0, "standard deviation of the label noise, in the unit of y", at_least=0)
    hidden: int = setting(100, "hidden units r", at_least=1)
    scale: float = setting(1.0, "factor on the function", above=0)

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("none", "the posterior over a network's weights has no closed form")

    @property
    def mean_square(self) -> Float[Array, ""]:
        mean, variance = self.inputs.moments(self.dim)
        return self.scale**2 * jnp.sum(variance + mean**2)

    def sample_latent(self, key: PRNGKeyArray) -> Network:
        inner, outer = jax.random.split(key)
        return Network(jax.random.normal(inner, (self.hidden, self.dim)), jax.random.normal(outer, (self.hidden,)))

    def evaluate(self, latent: Network, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        hidden = jax.nn.relu(jnp.matmul(xs, latent.inner.T, precision=HIGHEST))
        return self.scale * jnp.sqrt(2 / self.hidden) * jnp.matmul(hidden, latent.outer, precision=HIGHEST)
