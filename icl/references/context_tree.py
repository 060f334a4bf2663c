"""Context-tree weighting (Willems, Shtarkov and Tjalkens 1995): Bayes over all tree sources of a given depth.

    P_w(s) = stop P_e(s) + (1 - stop) prod_c P_w(cs),   at the full depth P_w(s) = P_e(s)

P_e(s) is the Krichevsky-Trofimov probability of the symbols that followed context s, P_w(root) that of the stream.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from function_classes.fields import setting
from function_classes.spaces import Symbols
from icl.references.base import Reference, stream_of_symbols


@Reference.registry.add("context-tree-weighting", papers=("willems-1995", "krichevsky-1981"))
class ContextTreeWeighting(Reference):
    """Mixes k-grams of every order up to `depth`, a different order in every context: the sum over all trees of
    (prior of the tree) x (probability of the stream with add-`alpha` estimators at its leaves).

    A tree has prior stop^leaves (1 - stop)^inner nodes, leaves at the full depth not counted. Alphabets of any size;
    alpha = 1/2 is the estimator of Krichevsky and Trofimov. The stream begins after an unknown past: contexts that
    reach before it are contexts of their own, one more child that only the beginning visits, so that the first symbols
    count for the short contexts and every position has a prediction. The number of symbols comes from the class with
    `calibrate`.
    """

    reads = "stream"

    depth: int = setting(3, "symbols in the longest context", at_least=0, at_most=16)
    alpha: float = setting(0.5, "added to every count", above=0)
    stop: float = setting(0.5, "prior probability that a context is not refined", above=0, below=1)

    @property
    def label(self) -> str:
        return f"context tree of depth {self.depth}"

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(),)

    def applies(self, task: FunctionClass) -> str | None:
        return stream_of_symbols(self.name, task)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if not isinstance(task.y_space, Symbols):
            raise NotAvailable(f"{self.name} predicts symbols, outputs of {task.name} are {task.y_space}")
        return ContextTree(jnp.float32(self.alpha), jnp.float32(self.stop), self.depth, task.y_space.n)

    def __call__(self, prompt: Prompt) -> Prediction:
        raise NotAvailable(f"{self.name} does not know how many symbols there are: call .calibrate(task, key) first")


class ContextTree(eqx.Module):
    """Context-tree weighting over a known number of symbols."""

    alpha: Float[Array, ""]
    stop: Float[Array, ""]
    depth: int = eqx.field(static=True)
    symbols: int = eqx.field(static=True)

    @property
    def found(self) -> dict[str, Any]:
        return {"symbols": self.symbols}

    def __call__(self, prompt: Prompt) -> Prediction:
        """p_d(c) = b_d p_e,d(c) + (1 - b_d) p_{d+1}(c) along the contexts of a position, from the longest to the root:
        b_d is the posterior probability to stop there, and its log odds grow by log p_e,d(y) - log p_{d+1}(y). A node
        is kept with the last position that visited it. Cost O(P^2 depth), whatever the alphabet."""
        ys = prompt.ys
        same = _same_contexts(ys, self.depth)
        follows = (ys[:, None] == jnp.arange(self.symbols)[None, :]).astype(jnp.float32)
        counts = jnp.einsum("dkj,jc->kdc", same.astype(jnp.float32), follows) + self.alpha
        logs = jnp.log(counts) - jnp.log(jnp.sum(counts, -1, keepdims=True))
        places = jnp.arange(ys.shape[0])
        last = jnp.max(jnp.where(same, places[None, None, :], -1), -1).T
        prior = jnp.log(self.stop) - jnp.log1p(-self.stop)

        def position(odds: Float[Array, "P D1"], now: tuple[Array, Array, Array, Array]):
            k, before, estimates, y = now
            own = jnp.where(before >= 0, odds[before, jnp.arange(self.depth + 1)], prior)
            mixed = estimates[self.depth]
            grown = [jnp.zeros(())]
            for d in range(self.depth - 1, -1, -1):
                grown.append(own[d] + estimates[d, y] - mixed[y])
                mixed = jnp.logaddexp(jax.nn.log_sigmoid(own[d]) + estimates[d], jax.nn.log_sigmoid(-own[d]) + mixed)
            return odds.at[k].set(jnp.stack(grown[::-1])), mixed

        start = jnp.zeros((ys.shape[0], self.depth + 1))
        return Prediction(log_probs=jax.lax.scan(position, start, (places, last, logs, ys))[1])


def _same_contexts(ys: Int[Array, "P"], depth: int) -> Bool[Array, "D1 P P"]:
    """[d, k, j]: j < k and the d symbols before position j are those before k, the beginning being one too."""
    places = jnp.arange(ys.shape[0])
    same = [places[None, :] < places[:, None]]
    for back in range(1, depth + 1):
        symbol = jnp.where(places >= back, ys[jnp.maximum(places - back, 0)], -1)
        same.append(same[-1] & (symbol[None, :] == symbol[:, None]))
    return jnp.stack(same)
