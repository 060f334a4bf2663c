"""A layout: one token per example, the label before it first."""

import jax.numpy as jnp
import numpy as np

from icl.layouts import Layout
from icl.layouts.base import examples, previous


@Layout.registry.add("my-label-first")
class LabelFirst(Layout):
    """(y_{k-1}, x_k)."""

    def features(self, signature):
        return signature.x.features + signature.y.features

    def length(self, points, signature):
        return points

    def tokens(self, prompt, signature):
        x, y = examples(prompt, signature)
        return jnp.concatenate([previous(y), x], -1)

    def read(self, points, signature):
        return np.arange(points)
