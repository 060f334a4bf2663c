"""k-grams: how often each symbol followed the last `order` symbols so far, with `alpha` added to every count."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from function_classes.fields import setting
from function_classes.spaces import Symbols
from icl.references.base import Reference, stream_of_symbols


@Reference.registry.add("k-gram", papers=("edelman-2024", "krichevsky-1981"))
class KGram(Reference):
    """P(y_k = c) = (n(context, c) + alpha) / (n(context) + alpha C), counted over transitions inside y_<k.

    Order 0 is the unigram, 1 the bigram, 2 the trigram. The first `order` positions, which have no full context, and
    contexts never seen at alpha = 0 are uniform. Exact Bayes for a chain of that order whose rows are independent
    Dirichlet(alpha, ..., alpha): alpha 1 is Laplace's rule, 1/2 the estimator of Krichevsky and Trofimov (KT). The
    number of symbols comes from the class with `calibrate`.
    """

    reads = "stream"

    family_parameter: ClassVar[str | None] = "alpha"

    order: int = setting(1, "number of symbols in the context", at_least=0)
    alpha: float = setting(1.0, "added to every count", at_least=0)

    @property
    def family_words(self) -> str:
        return f"{self._words} with {{}} added to every count"

    @property
    def _words(self) -> str:
        return {0: "unigram", 1: "bigram", 2: "trigram"}.get(self.order, f"{self.order + 1}-gram")

    @property
    def label(self) -> str:
        return f"{self._words} (KT)" if self.alpha == 0.5 else f"{self._words} (alpha {float(self.alpha):g})"

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return tuple(cls(order, alpha) for alpha in (1.0, 0.5) for order in range(3))

    @classmethod
    def families(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return tuple(cls(order) for order in range(3))

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return tuple(float(v) for v in np.geomspace(1e-2, 1e2, 17))

    def applies(self, task: FunctionClass) -> str | None:
        return stream_of_symbols(self.name, task)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if not isinstance(task.y_space, Symbols):
            raise NotAvailable(f"{self.name} predicts symbols, outputs of {task.name} are {task.y_space}")
        return CountedKGram(jnp.float32(self.alpha), self.order, task.y_space.n)

    def __call__(self, prompt: Prompt) -> Prediction:
        from_task = "k-gram does not know how many symbols there are: call .calibrate(task, key) first"
        raise NotAvailable(from_task)


class CountedKGram(eqx.Module):
    """A k-gram over a known number of symbols."""

    alpha: Float[Array, ""]
    order: int = eqx.field(static=True)
    symbols: int = eqx.field(static=True)

    @property
    def found(self) -> dict[str, Any]:
        return {"symbols": self.symbols}

    def __call__(self, prompt: Prompt) -> Prediction:
        table = transitions(prompt.ys, self.order, self.symbols)
        counts = table + self.alpha
        total = jnp.sum(counts, -1, keepdims=True)
        probs = jnp.where(total > 0, counts / jnp.where(total > 0, total, 1), 1 / self.symbols)
        known = jnp.arange(prompt.points)[:, None] >= self.order
        return Prediction(log_probs=jnp.log(jnp.where(known, probs, 1 / self.symbols)))


def transitions(ys: Int[Array, "P"], order: int, symbols: int) -> Float[Array, "P C"]:
    """[k, c]: how often c followed y_{k-order}..y_{k-1} at places order..k-1 of the stream. Cost O(P^2 (order + C))."""
    places = jnp.arange(len(ys))
    counted = (places[None, :] < places[:, None]) & (places[None, :] >= order) & (places[:, None] >= order)
    for back in range(1, order + 1):
        context = ys[jnp.maximum(places - back, 0)]
        counted = counted & (context[None, :] == context[:, None])
    follows = (ys[:, None] == jnp.arange(symbols)[None, :]).astype(jnp.float32)
    return counted.astype(jnp.float32) @ follows
