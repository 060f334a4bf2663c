"""Labels copied from the nearest earlier example: the task of Bhattamishra et al. 2023 that has no function."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.boolean import Boolean, signs
from function_classes.fields import setting


@FunctionClass.registry.add("nearest-neighbor", papers=("bhattamishra-2023",))
class NearestNeighbor(Boolean):
    """The first `coins` labels are fair coins; every later label is that of the nearest earlier example.

    Nearest in the Hamming distance, which among signs is that of the largest cosine; the first shown on ties. An input
    that was shown before has its old label, also among the first. Bayes is 1-nearest-neighbor where it is the law, and
    1/2 elsewhere. `evaluate` labels a whole sequence of inputs, in their order: a label depends on those before it.

    >>> task = NearestNeighbor(dim=2, coins=2, points=4)
    >>> xs = jnp.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, -1.0]])
    >>> print(task.evaluate(jnp.array([1.0, -1.0]), xs))
    [ 1. -1.  1. -1.]
    """

    lesson = "Once the coins are over, copying the nearest example is Bayes: there is nothing else to learn."

    dim: int = setting(12, "number of input coordinates", at_least=1, at_most=100_000)
    coins: int = setting(4, "number of first labels that are fair coins", at_least=1)

    @property
    def exchangeable(self) -> bool:
        return False

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "the nearest example's label once coins are over, 1/2 before")

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "K"]:
        """The first labels, as far as their inputs are new."""
        return signs(jax.random.bernoulli(key, 0.5, (self.coins,)))

    def evaluate(self, latent: Float[Array, "K"], xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        nearest, copied = self._nearest(xs)

        def step(ys, k):
            coin = latent[jnp.minimum(k, self.coins - 1)]
            y = jnp.where(copied[k], ys[nearest[k]], coin)
            return ys.at[k].set(y), y

        return jax.lax.scan(step, jnp.zeros(xs.shape[0]), jnp.arange(xs.shape[0]))[1]

    def bayes(self, prompt: Prompt) -> Prediction:
        nearest, copied = self._nearest(prompt.xs)
        positive = prompt.ys[nearest] > 0
        certain = jnp.log(jnp.stack([~positive, positive], -1).astype(jnp.float32))
        return Prediction(log_probs=jnp.where(copied[:, None], certain, jnp.log(0.5)))

    def _nearest(self, xs: Float[Array, "N D"]) -> tuple[Int[Array, "N"], Bool[Array, "N"]]:
        """The nearest earlier example of each, and whether its label is copied."""
        distance = jnp.sum(xs[:, None] != xs[None], -1)
        place = jnp.arange(xs.shape[0])
        distance = jnp.where(place[None] < place[:, None], distance, self.dim + 1)
        nearest = jnp.argmin(distance, -1)
        return nearest, (place >= self.coins) | (jnp.min(distance, -1) == 0)
