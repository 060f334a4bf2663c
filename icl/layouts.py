"""How examples become tokens: part of the scientific question, because it decides what one layer can do.

A layout owns the tokens, the positions where predictions are read, the position ids and the visibility mask. In
`interleaved` and `shifted` an input and its output sit in different tokens, so a previous-token step comes before any
regression; `paired` and `joint` remove that step. Never carry statements about depth or plateaus between the groups.
"""

from typing import ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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


class Layout(Fields):
    """Tokens of one prompt, and where its predictions are read. All but `tokens` depend on sizes alone (NumPy)."""

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
    """

    channels: Literal["shared", "separate"] = setting("shared", "whether y shares its channels with x")

    def refuses(self, signature: Signature) -> str | None:
        if isinstance(signature.x, Nothing):
            return "layout 'interleaved' needs inputs, and streams have none; use --layout stream"
        return None

    def features(self, signature: Signature) -> int:
        sizes = signature.x.features, signature.y.features
        return max(sizes) if self.channels == "shared" else sum(sizes)

    def length(self, points: int, signature: Signature) -> int:
        return points * (1 + signature.steps) - 1

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        x, y = _examples(prompt, signature)
        points, width = x.shape[0], self.features(signature)
        x, y = x[:, None, :], y.reshape(points, signature.steps, signature.y.features)
        if self.channels == "shared":
            x, y = (jnp.pad(a, ((0, 0), (0, 0), (0, width - a.shape[-1]))) for a in (x, y))
        else:
            x = jnp.pad(x, ((0, 0), (0, 0), (y.shape[-1], 0)))
            y = jnp.pad(y, ((0, 0), (0, 0), (0, width - y.shape[-1])))
        rows = jnp.concatenate([x, y], axis=1).reshape(-1, width)
        return rows[: self.length(points, signature)]

    def read(self, points: int, signature: Signature) -> np.ndarray:
        index = np.arange(points * (1 + signature.steps)).reshape(points, -1)[:, : signature.steps]
        return index if signature.steps > 1 else index[:, 0]


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
    """(x_i, y_i) context tokens and a query (x_k, 0) for every k, all in one pass of 2P - 1 tokens.

    Context token i attends causally to the context; query k attends to itself and to the k examples before it, and
    nothing attends to a query. This equals P separate passes whose contexts are causal. A last channel marks queries.
    The position id of query k is that of context token k.
    """

    def features(self, signature: Signature) -> int:
        return signature.x.features + signature.y.features + 1

    def length(self, points: int, signature: Signature) -> int:
        return 2 * points - 1

    def tokens(self, prompt: Prompt, signature: Signature) -> Float[Array, "T F"]:
        x, y = _examples(prompt, signature)
        context = jnp.concatenate([x, y, jnp.zeros_like(x[:, :1])], -1)[:-1]
        queries = jnp.concatenate([x, jnp.zeros_like(y), jnp.ones_like(x[:, :1])], -1)
        return jnp.concatenate([context, queries])

    def read(self, points: int, signature: Signature) -> np.ndarray:
        return np.arange(points - 1, 2 * points - 1)

    def position_ids(self, points: int, signature: Signature) -> np.ndarray:
        return np.concatenate([np.arange(points - 1), np.arange(points)])

    def visible(self, points: int, signature: Signature) -> np.ndarray:
        context, query = np.arange(points - 1), np.arange(points)
        to_context = np.concatenate([context[None, :] <= context[:, None], context[None, :] < query[:, None]])
        to_query = np.concatenate([np.zeros((points - 1, points), bool), np.eye(points, dtype=bool)])
        return np.concatenate([to_context, to_query], axis=1)


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
