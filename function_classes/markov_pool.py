"""A finite pool of Markov chains, one of them in every stream: task diversity for chains (Park et al. 2024)."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.chains import LARGEST_STATIONARY, chain_log_probs, chain_prompt, stationary_contexts
from function_classes.fields import Problem, setting
from function_classes.markov import too_large
from function_classes.pools import pooled
from function_classes.streams import SymbolStream


@FunctionClass.registry.add("markov-pool", papers=("park-2024",))
class MarkovPool(SymbolStream):
    """One of `pool_size` chains with rows Dirichlet(alpha 1), drawn once by `pool_seed`; uniformly, per stream.

    Bayes weights the chains by how well they predicted the stream so far, and averages their rows; under a stationary
    start the first symbols are evidence too. One chain is a known chain. Many chains are like `markov`, until a stream
    is long enough to tell them apart: retrieval against inference.

    >>> task = MarkovPool(points=4, pool_size=1)
    >>> prompt = task.sample(jax.random.key(0))
    >>> print(bool(jnp.allclose(task.bayes(prompt).log_probs, task.oracle(prompt).log_probs)))
    True
    """

    lesson = "Few chains are recognized from some symbols; many chains look like fresh ones until streams are long."

    points: int = setting(32, "symbols in a stream", at_least=1)
    pool_size: int = setting(8, "number of chains", at_least=1)
    pool_seed: int = setting(0, "draws the chains", at_least=0, at_most=2**32 - 1)
    symbols: int = setting(3, "size of the alphabet", at_least=2)
    order: int = setting(1, "how many symbols the next one depends on", at_least=0, at_most=64)
    alpha: float = setting(1.0, "Dirichlet concentration of every transition row", above=0)
    start: Literal["uniform", "stationary"] = setting("uniform", "law of the first symbols")

    def problems(self):
        yield from too_large(self.symbols, self.order)
        if self.start == "stationary" and self.symbols**self.order > LARGEST_STATIONARY:
            size = f"{self.symbols}^{self.order} contexts"
            yield Problem(
                "start", f"'stationary' needs at most {LARGEST_STATIONARY} contexts, got {size}; use 'uniform'"
            )

    @property
    def exchangeable(self) -> bool:
        return self.order == 0

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", f"posterior over {self.pool_size} known chains")

    @property
    def pool(self) -> Float[Array, "M N C"]:
        """The transition tables."""
        concentration = self.alpha * jnp.ones(self.symbols)
        shape = (self.pool_size, self.symbols**self.order)
        return jax.random.dirichlet(jax.random.key(self.pool_seed), concentration, shape)

    def sample_latent(self, key: PRNGKeyArray) -> Int[Array, ""]:
        """The number of the chain."""
        return jax.random.randint(key, (), 0, self.pool_size)

    def sample_prompt(self, latent: Int[Array, ""], key: PRNGKeyArray) -> Prompt:
        table = self.pool[latent]
        return chain_prompt(latent, table, self.order, self.points, key, self._first(table))

    def bayes(self, prompt: Prompt) -> Prediction:
        each = jax.vmap(lambda table: chain_log_probs(prompt.ys, table, self.order, self._first(table)))(self.pool)
        return Prediction(log_probs=pooled(each, prompt.ys))

    def oracle(self, prompt: Prompt) -> Prediction:
        """The rows of the chain that was drawn."""
        table = self.pool[prompt.latent]
        return Prediction(log_probs=chain_log_probs(prompt.ys, table, self.order, self._first(table)))

    def _first(self, table: Float[Array, "N C"]) -> Float[Array, "N"] | None:
        return stationary_contexts(table, self.order) if self.start == "stationary" else None
