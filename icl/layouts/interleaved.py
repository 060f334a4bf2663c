"""Inputs and outputs in tokens of their own, alternating: a previous-token step comes before any regression."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from function_classes.base import Prompt
from function_classes.fields import setting
from function_classes.spaces import Nothing
from icl.layouts.base import Layout, Pass, Signature, examples


@Layout.registry.add("interleaved", papers=("garg-2022", "akyurek-2022"))
class Interleaved(Layout):
    """x_0, y_0, x_1, y_1, ..., x_{P-1}: T = P (1 + S) - 1 tokens; prediction (k, s) is read at x_k, or at y_{k, s-1}.

    `channels = shared` puts y into channel 0 beside x's first coordinate (Garg, Panwar): token types differ by position
    parity only. `separate` gives x and y channels of their own (Akyurek, Raventos). The very last output is left out:
    no prediction may use it.

    `query = every` reads every k from one causal pass. With `last`, as in `joint`, the tokens of P - 1 examples all see
    each other, the query x_{P-1} sees them, and nothing attends to it (von Oswald): a pass predicts position P - 1
    alone, and any other k takes a pass of its own, whose query has position id 2k.
    """

    channels: Literal["shared", "separate"] = setting("shared", "whether y shares its channels with x")
    query: Literal["every", "last"] = setting(
        "every", "causal and read at every x, or one query at the end", absent="every"
    )

    def refuses(self, signature: Signature) -> str | None:
        if isinstance(signature.x, Nothing):
            return "layout 'interleaved' needs inputs, and streams have none; use --layout stream"
        if self.query == "last" and signature.steps > 1:
            return f"layout 'interleaved' asks for one target at its end, not {signature.steps}; use query every"
        return None

    def features(self, signature: Signature) -> int:
        sizes = signature.x.features, signature.y.features
        return max(sizes) if self.channels == "shared" else sum(sizes)

    def length(self, points: int, signature: Signature) -> int:
        return points * (1 + signature.steps) - 1

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        return self._rows(prompt, signature)[: self.length(prompt.points, signature)]

    def _rows(self, prompt: Prompt, signature: Signature) -> Float[Array, "N F"]:
        """The tokens and those of the last output, which no layout shows."""
        x, y = examples(prompt, signature)
        points, width = x.shape[0], self.features(signature)
        x, y = x[:, None, :], y.reshape(points, signature.steps, signature.y.features)
        if self.channels == "shared":
            x, y = (jnp.pad(a, ((0, 0), (0, 0), (0, width - a.shape[-1]))) for a in (x, y))
        else:
            x = jnp.pad(x, ((0, 0), (0, 0), (y.shape[-1], 0)))
            y = jnp.pad(y, ((0, 0), (0, 0), (0, width - y.shape[-1])))
        return jnp.concatenate([x, y], axis=1).reshape(-1, width)

    def slot(self, signature: Signature) -> slice | None:
        return slice(0, signature.y.features) if self.channels == "separate" and signature.steps == 1 else None

    def read(self, points: int, signature: Signature) -> np.ndarray:
        if self.query == "last":
            return np.full(points, 2 * points - 2)
        index = np.arange(points * (1 + signature.steps)).reshape(points, -1)[:, : signature.steps]
        return index if signature.steps > 1 else index[:, 0]

    def visible(self, points: int, signature: Signature) -> np.ndarray | None:
        if self.query == "every":
            return None
        return np.broadcast_to(np.arange(2 * points - 1) < 2 * points - 2, (2 * points - 1, 2 * points - 1))

    def predicted(self, points: int, signature: Signature) -> np.ndarray | None:
        return np.arange(points) == points - 1 if self.query == "last" else None

    def single(self, prompt: Prompt, signature: Signature, k: Int[Array, ""]) -> Pass:
        if self.query == "every":
            return super().single(prompt, signature, k)
        rows, shown = self._rows(prompt, signature), jnp.arange(2 * prompt.points - 2) < 2 * k
        tokens = jnp.concatenate([jnp.where(shown[:, None], rows[:-2], 0), rows[2 * k][None]])
        ids = jnp.concatenate([jnp.arange(2 * prompt.points - 2), 2 * k[None]])
        seen = jnp.concatenate([shown, jnp.zeros(1, bool)])
        return Pass(tokens, ids, jnp.broadcast_to(seen[None, :], (ids.size, ids.size)))
