"""Streams, which have no inputs: a start token, then the symbols."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from function_classes.base import Prompt
from function_classes.spaces import Nothing
from icl.layouts.base import Layout, Signature, previous


@Layout.registry.add("stream")
class Stream(Layout):
    """A start token, then y_0, ..., y_{P-2}: T = P, and prediction k is read after k symbols. The start token has a
    channel of its own, so that 'nothing yet' is not a symbol."""

    def refuses(self, signature: Signature) -> str | None:
        if not isinstance(signature.x, Nothing):
            return "layout 'stream' holds streams, and this class has inputs; use paired, interleaved, shifted or joint"
        return None

    def features(self, signature: Signature) -> int:
        return signature.y.features + 1

    def length(self, points: int, signature: Signature) -> int:
        return points

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        shown = previous(signature.y.encode(prompt.ys))
        start = (jnp.arange(prompt.points) == 0).astype(shown.dtype)
        return jnp.concatenate([shown, start[:, None]], -1)

    def read(self, points: int, signature: Signature) -> np.ndarray:
        return np.arange(points)
