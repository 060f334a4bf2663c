"""Ridge regression in closed form, by the Sherman-Morrison formula, one example every two blocks.

Tokens (x_j, y_j) and queries (x_k, 0) in layout `joint`, one-hot positions c. With P_0 = I / penalty and w_0 = 0, every
token j holds x_j, u_j = P x_j and r_j = y_j - w'x_j, and example i changes them by

    t_j = x_i'u_j,   q = x_i'u_i,   s_j = t_j / (1 + q):      u_j <- u_j - s_j u_i,      r_j <- r_j - s_j r_i

which is P <- (P^-1 + x_i x_i')^-1 and w <- w + P x_i (y_i - w'x_i) as seen by the tokens. So -r is the prediction of a
query: the weights are written down nowhere, unless that is asked for. Attention is linear, every second one divided by
its scores; MLPs are bilinear; no norms. No sum of scores is near 0: other coordinates of the stream round no worse.
(Sherman and Morrison 1950; that a transformer can do so is Akyurek et al. 2022, Theorem 2; these weights are ours.)
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from function_classes.base import FunctionClass, Predictor
from function_classes.fields import setting
from icl.layouts import Joint
from icl.models.constructions.base import Construction
from icl.models.constructions.channels import Attention, Channels, Product, join, write_block, write_linear
from icl.models.mixers.linear import LinearAttention
from icl.models.transformer import Transformer
from icl.references.ridge import Ridge


@Construction.registry.add("sherman-morrison", papers=("akyurek-2022",))
class ShermanMorrison(Construction):
    """Ridge with this penalty at every position of prompts of at most the task's length: 2 (P - 1) blocks, one head,
    width 4 D + P + 5, and 2 D + 1 more with `keeps_weights`.

    Channels: x, u, r, the position c, and while example i is used b = (x_i, u_i, r_i), t, q and s.

        block 2i      scores c_m[i] (1 - c_j[i]), values (x_m, u_m, r_m) to b;      MLP: t += b_x'u_j, q += b_x'b_u
        block 2i + 1  scores c_j'c_m + q_j c_m[i], values t_m to s;      MLP: u -= s b_u, r -= s b_r, b = t = q = s = 0

    The first block's sum is example i itself wherever it is seen, and 0 at those before it, at itself and at the query
    of the same position. There t = q = 0. So the second block averages t_j (score 1) and 0 (score q) to t_j / (1 + q).
    Example i keeps its u and r of that moment; nobody reads them again.

    With `keeps_weights` every token also holds w, which nobody reads either: block 2i writes g = b_r b_u, and block
    2i + 1 averages 1 (score 1) and 0 (score q) to v = 1 / (1 + q), then w += v g. A query of position k ends with w_k.
    """

    penalty: float = setting(1.0, "multiplies I in X'X + penalty I", above=0)
    keeps_weights: bool = setting(False, "also writes w_k into the residual stream")

    def config(self, task: FunctionClass) -> Transformer:
        examples, channels = _examples(task), _channels(task, self.keeps_weights)
        dim = task.x_space.features
        give = LinearAttention(key_size=2 * dim + 1, bias=True)
        divide = LinearAttention(normalizer="scores", key_size=task.points + 1, bias=True)
        return Transformer(
            layout=Joint(query="every", marker=False, sees_itself=True),
            max_points=task.points,
            depth=2 * examples,
            width=channels.width,
            heads=1,
            mixers=(give, divide) * examples,
            mlp_ratio=1,
            activation="bilinear",
            norm="none",
        )

    def fill(self, network: Any, task: FunctionClass) -> Any:
        c, dim, eye = _channels(task, self.keeps_weights), task.x_space.features, np.eye(task.points)
        blocks = []
        for i, (give, divide) in enumerate(zip(network.blocks[::2], network.blocks[1::2], strict=True)):
            here = eye[:, i : i + 1]
            example = c.map(1, code=here)
            others = c.map(1, bias=1.0, code=-here)
            broadcast = Attention(others, example, c.copy("x", "u", "r"), c.place("bx", "bu", "br"))
            inner = Product(c.copy("bx"), c.copy("u"), np.ones((dim, 1)) * c.place("t"))
            leverage = Product(c.copy("bx"), c.copy("bu"), np.ones((dim, 1)) * c.place("q"))
            found = [Product(c.map(dim, br=1.0), c.copy("bu"), c.place("g"))] if self.keeps_weights else []
            blocks.append(write_block(give, broadcast, inner, leverage, *found))

            query, key = c.copy("code", "q"), c.map(task.points + 1, code=np.append(eye, here, 1))
            update = Product(c.map(dim + 1, s=1.0), c.copy("bu", "br"), -c.place("u", "r"))
            shares, into, used = c.copy("t"), ["s"], ["bx", "bu", "br", "t", "q", "s"]
            steps = [update]
            if self.keeps_weights:
                shares, into, used = join(shares, others), [*into, "v"], [*used, "g", "v"]
                steps.append(Product(c.map(dim, v=1.0), c.copy("g"), c.place("w")))
            quotient = Attention(query, key, shares, c.place(*into))
            blocks.append(write_block(divide, quotient, *steps, c.clear(*used)))
        start = np.concatenate([c.place("x") + c.place("u") / float(self.penalty), c.place("r")])
        where = lambda n: [n.embed, n.positions, n.blocks, n.head]  # noqa: E731
        parts = [
            write_linear(network.embed, start),
            jnp.asarray(c.place("code"), float),
            tuple(blocks),
            write_linear(network.head, -c.copy("r").weight),
        ]
        return eqx.tree_at(where, network, parts)

    def algorithm(self, task: FunctionClass) -> Predictor:
        return Ridge(penalty=self.penalty)


def _examples(task: FunctionClass) -> int:
    """How many examples the last query of a prompt sees; a prompt of one point still needs blocks."""
    return max(task.points - 1, 1)


def _channels(task: FunctionClass, keeps_weights: bool) -> Channels:
    dim = task.x_space.features
    kept = {"g": dim, "v": 1, "w": dim} if keeps_weights else {}
    return Channels(x=dim, u=dim, r=1, code=task.points, bx=dim, bu=dim, br=1, t=1, q=1, s=1, **kept)
