"""One token per example: with the label before (`shifted`), or with the whole example before (`paired`)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from function_classes.base import Prompt
from icl.layouts.base import Layout, Signature, examples, previous


@Layout.registry.add("shifted", papers=("kirsch-2022",))
class Shifted(Layout):
    """(x_k, y_{k-1}), one token per example, as in general-purpose in-context learners: T = P."""

    def features(self, signature: Signature) -> int:
        return signature.x.features + signature.y.features

    def length(self, points: int, signature: Signature) -> int:
        return points

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        x, y = examples(prompt, signature)
        return jnp.concatenate([x, previous(y)], -1)

    def read(self, points: int, signature: Signature) -> np.ndarray:
        return np.arange(points)


@Layout.registry.add("paired")
class Paired(Layout):
    """(x_k, x_{k-1}, y_{k-1}), one token per example: T = P. Keys and values of an example share a token with the next
    query, so one linear-attention layer can already do a step of gradient descent."""

    def features(self, signature: Signature) -> int:
        return 2 * signature.x.features + signature.y.features

    def length(self, points: int, signature: Signature) -> int:
        return points

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        x, y = examples(prompt, signature)
        return jnp.concatenate([x, previous(x), previous(y)], -1)

    def read(self, points: int, signature: Signature) -> np.ndarray:
        return np.arange(points)
