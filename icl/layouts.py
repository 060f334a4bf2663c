"""How examples become tokens: part of the scientific question, because it decides what one layer can do.

A layout owns the tokens, the positions where predictions are read, the position ids and the visibility mask. In
`interleaved` and `shifted` an input and its output sit in different tokens, so a previous-token step comes before any
regression; `paired` and `joint` remove that step. Never carry statements about depth or plateaus between the groups.
"""

from typing import ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from function_classes.base import FunctionClass, Prompt
from function_classes.fields import Fields, setting
from function_classes.registry import Registry
from function_classes.spaces import Nothing, Space


class Signature(NamedTuple):
    """What a layout and a head must know of a function class: spaces of x and y, and S targets per example."""

    x: Space
    y: Space
    steps: int

    @classmethod
    def of(cls, task: FunctionClass) -> "Signature":
        return cls(task.x_space, task.y_space, task.steps)


class Pass(NamedTuple):
    """What one pass for one position shows: `Layout.single`."""

    tokens: Float[Array, "T F"]
    position_ids: Int[Array, "T"]
    visible: Bool[Array, "T T"]


class Layout(Fields):
    """Tokens of one prompt, and where its predictions are read. All but `tokens` and `single` depend on sizes alone
    (NumPy)."""

    registry: ClassVar[Registry] = Registry("layout", "icl.layouts", "icl.layouts")

    def refuses(self, signature: Signature) -> str | None:
        """None, or why this layout cannot hold prompts of such a class."""
        if isinstance(signature.x, Nothing):
            return f"layout {self.name!r} needs inputs, and streams have none; use --layout stream"
        if signature.steps > 1:
            return f"layout {self.name!r} holds one target per example, not {signature.steps}; use --layout interleaved"
        return None

    def features(self, signature: Signature) -> int:
        """F, the number of channels of a token."""
        raise NotImplementedError

    def length(self, points: int, signature: Signature) -> int:
        """T, the number of tokens of a prompt with that many positions."""
        raise NotImplementedError

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        raise NotImplementedError

    def read(self, points: int, signature: Signature) -> np.ndarray:
        """Token index of prediction k, or of (k, s): integers of shape (P,) or (P, S)."""
        raise NotImplementedError

    def position_ids(self, points: int, signature: Signature) -> np.ndarray:
        """(T,) integers that choose the rows of a table of positions."""
        return np.arange(self.length(points, signature))

    def visible(self, points: int, signature: Signature) -> np.ndarray | None:
        """(T, T) booleans, entry [i, j] true where token i may attend to token j; None means j <= i."""
        return None

    def predicted(self, points: int, signature: Signature) -> np.ndarray | None:
        """(P,) booleans, the positions that one pass predicts; None: all. Where it is not None, training has a loss at
        these positions only, and `single` makes the pass for any other."""
        return None

    def single(self, prompt: Prompt, signature: Signature, k: Int[Array, ""]) -> Pass:
        """The pass that predicts position k alone, in its last token. Nothing later than k is in its tokens."""
        raise NotImplementedError

    def slot(self, signature: Signature) -> slice | None:
        """The channels that hold y in tokens that show it and 0 in tokens that ask for it; None: there are none."""
        return None


def _examples(prompt: Prompt, signature: Signature) -> tuple[Float[Array, "P X"], Float[Array, "P *s Y"]]:
    return signature.x.encode(prompt.xs), signature.y.encode(prompt.ys)


def _previous(rows: Float[Array, "P F"]) -> Float[Array, "P F"]:
    """Row k holds what row k-1 held; the first is zeros: 'no previous label' is not class 0."""
    return jnp.concatenate([jnp.zeros_like(rows[:1]), rows[:-1]])


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
        x, y = _examples(prompt, signature)
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


@Layout.registry.add("shifted", papers=("kirsch-2022",))
class Shifted(Layout):
    """(x_k, y_{k-1}), one token per example, as in general-purpose in-context learners: T = P."""

    def features(self, signature: Signature) -> int:
        return signature.x.features + signature.y.features

    def length(self, points: int, signature: Signature) -> int:
        return points

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        x, y = _examples(prompt, signature)
        return jnp.concatenate([x, _previous(y)], -1)

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
        x, y = _examples(prompt, signature)
        return jnp.concatenate([x, _previous(x), _previous(y)], -1)

    def read(self, points: int, signature: Signature) -> np.ndarray:
        return np.arange(points)


@Layout.registry.add("joint", papers=("von-oswald-2022", "zhang-2023"))
class Joint(Layout):
    """(x_i, y_i) context tokens and queries (x_k, 0).

    `query = every` asks for every k in one pass of 2P - 1 tokens: context token i attends causally to the context,
    query k to the k examples before it. This equals P separate passes whose contexts are causal. `query = last` is the
    papers' own: P - 1 context tokens that all see each other and one query, T = P. A pass then predicts position P - 1
    alone, so that is where the loss is; any other k takes a pass of its own, in which later examples are blank and
    nobody sees them. In both, nothing attends to a query but, with `sees_itself`, itself (Zhang; not von Oswald). The
    position id of query k is that of context token k. `marker` adds a last channel that marks queries.
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
        x, y = _examples(prompt, signature)
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
        x, y = _examples(prompt, signature)
        shown = jnp.arange(prompt.points - 1) < k
        context = jnp.where(shown[:, None], self._rows(x, y, 0.0)[:-1], 0)
        tokens = jnp.concatenate([context, self._rows(x[k][None], jnp.zeros_like(y[:1]), 1.0)])
        ids = jnp.concatenate([jnp.arange(prompt.points - 1), k[None]])
        visible = jnp.asarray(self.visible(prompt.points, signature))
        return Pass(tokens, ids, visible & jnp.concatenate([shown, jnp.ones(1, bool)])[None, :])


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
        shown = _previous(signature.y.encode(prompt.ys))
        start = (jnp.arange(prompt.points) == 0).astype(shown.dtype)
        return jnp.concatenate([shown, start[:, None]], -1)

    def read(self, points: int, signature: Signature) -> np.ndarray:
        return np.arange(points)


def default(signature: Signature) -> Layout:
    """The layout a run gets when none is named: stream, interleaved for several targets per example, else paired."""
    if isinstance(signature.x, Nothing):
        return Stream()
    return Interleaved() if signature.steps > 1 else Paired()
