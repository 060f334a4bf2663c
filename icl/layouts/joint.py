"""Examples as (x, y) tokens and queries (x, 0), told apart by what may attend to what."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from function_classes.base import Prompt
from function_classes.fields import setting
from icl.layouts.base import Layout, Pass, Signature, examples


@Layout.registry.add("joint", papers=("von-oswald-2022", "zhang-2023"))
class Joint(Layout):
    """(x_i, y_i) context tokens and queries (x_k, 0).

    `query = every` asks for every k in one pass of 2P - 1 tokens: context token i attends causally to the context,
    query k to the k examples before it. This equals P separate passes whose contexts are causal; a recurrence answers
    query k from its state after those k examples, and forgets the query. `query = last` is the papers' own: P - 1
    context tokens that all see each other and one query, T = P. A pass then predicts position P - 1 alone, so that is
    where the loss is; any other k takes a pass of its own, in which later examples are blank and nobody sees them. In
    both, nothing attends to a query but, with `sees_itself`, itself (Zhang; not von Oswald). The position id of query k
    is that of context token k. `marker` adds a last channel that marks queries.
    """

    query: Literal["every", "last"] = setting("every", "queries for all positions in one pass, or one at the end")
    marker: bool = setting(True, "whether a last channel marks queries; false: tokens are (x, y) only")
    sees_itself: bool = setting(True, "whether a query is among its own keys")

    def features(self, signature: Signature) -> int:
        return signature.x.features + signature.y.features + int(self.marker)

    def length(self, points: int, signature: Signature) -> int:
        return points if self.query == "last" else 2 * points - 1

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        if self.query == "last":
            return self.single(prompt, signature, jnp.int32(prompt.points - 1)).tokens
        x, y = examples(prompt, signature)
        return jnp.concatenate([self._rows(x, y, 0.0)[:-1], self._rows(x, jnp.zeros_like(y), 1.0)])

    def _rows(self, x: Float[Array, "N X"], y: Float[Array, "N Y"], mark: float) -> Float[Array, "N F"]:
        return jnp.concatenate([x, y, *([jnp.full_like(x[:, :1], mark)] if self.marker else [])], -1)

    def read(self, points: int, signature: Signature) -> np.ndarray:
        return np.full(points, points - 1) if self.query == "last" else np.arange(points - 1, 2 * points - 1)

    def slot(self, signature: Signature) -> slice:
        return slice(signature.x.features, signature.x.features + signature.y.features)

    def position_ids(self, points: int, signature: Signature) -> np.ndarray:
        queries = np.arange(points)
        return np.concatenate([queries[:-1], queries[-1:] if self.query == "last" else queries])

    def visible(self, points: int, signature: Signature) -> np.ndarray:
        context, query = np.arange(points - 1), np.arange(points)
        if self.query == "last":
            visible = np.ones((points, points), bool)
            visible[:, -1] = False
            visible[-1, -1] = self.sees_itself
            return visible
        to_context = np.concatenate([context[None, :] <= context[:, None], context[None, :] < query[:, None]])
        itself = np.eye(points, dtype=bool) & self.sees_itself
        to_query = np.concatenate([np.zeros((points - 1, points), bool), itself])
        return np.concatenate([to_context, to_query], axis=1)

    def predicted(self, points: int, signature: Signature) -> np.ndarray | None:
        return np.arange(points) == points - 1 if self.query == "last" else None

    def single(self, prompt: Prompt, signature: Signature, k: Int[Array, ""]) -> Pass:
        x, y = examples(prompt, signature)
        shown = jnp.arange(prompt.points - 1) < k
        context = jnp.where(shown[:, None], self._rows(x, y, 0.0)[:-1], 0)
        tokens = jnp.concatenate([context, self._rows(x[k][None], jnp.zeros_like(y[:1]), 1.0)])
        ids = jnp.concatenate([jnp.arange(prompt.points - 1), k[None]])
        visible = jnp.asarray(self.visible(prompt.points, signature))
        return Pass(tokens, ids, visible & jnp.concatenate([shown, jnp.ones(1, bool)])[None, :])
