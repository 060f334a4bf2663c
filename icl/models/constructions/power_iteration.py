"""Power iteration for the largest eigenvector, one multiplication a loop: x <- A x / |A x| (after Giannou et al. 2023).

One token holds x, and for each i one holds (e_i, a_i), a_i column i of A. Linear attention with query x, keys e_i and
values a_i - e_i adds A x - x to the token of x, which makes it A x, and LayerNorm divides by the norm: the stream holds
every number with both signs, so its mean is 0. Tokens whose numbers have mean square 1 are left as they are by
LayerNorm, and a last number makes all tokens so; A is divided by its length |A|_F for that, which changes no x.

Rounding leaves traces where numbers should be 0, and a loop must not let them grow. In the tokens of columns a trace of
x is multiplied by A / |A|_F, whose eigenvalues are at most 1. In the token of x everything is divided by |A x| / |A|_F,
which is below 1: a second head, read by the token of x alone (its query and keys are x), subtracts all but x and -x.

The angle to an eigenvector whose value is the largest in absolute value shrinks by |l_2 / l_1| in every loop,

    tan angle_t <= |l_2 / l_1|^t tan angle_0,      symmetric A

so an angle eps takes about log(1 / eps) / log|l_1 / l_2| loops. No function class has this as its predictor: the tokens
are given. (The paper's program for it takes up to 13 layers with ReLUs; these weights, of one layer, are ours.)
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from function_classes.fields import setting
from icl.models.constructions.base import TokenConstruction
from icl.models.constructions.channels import Attention, Channels, Map, side_by_side, write_heads, write_linear
from icl.models.looped import Looped, LoopedNetwork, outputs_of_loops
from icl.models.mixers.linear import LinearAttention

# What LayerNorm adds to a variance; its scale makes up for it where the variance is 1.
EPSILON = 1e-5


@TokenConstruction.registry.add("power-iteration", papers=("giannou-2023",))
class PowerIteration(TokenConstruction):
    """The largest eigenvector of matrices (N, N), by one product a loop: one layer, two heads, width 6 N + 2."""

    dim: int = setting(4, "N, the size of the matrices", at_least=2)

    def network(self, loops: int = 1) -> LoopedNetwork:
        """The weights, to be looped that often, in the class of the model `looped`: all tokens see each other."""
        c = self._channels()
        config = Looped(
            depth=1,
            loops=loops,
            inject="none",
            width=c.width,
            heads=2,
            mixer=LinearAttention(key_size=c.width - self.dim),
            activation="none",
            norm="pre",
            positions="none",
        )
        given = c.place("key", "value", "x", "rest") - c.place("mirror")
        network = config.on_tokens(1 + self.dim, len(given), self.dim, key=jax.random.key(0))
        signs = c.place("x") - c.place("mirror")[2 * self.dim : 3 * self.dim]
        multiply = Attention(c.copy("x"), c.copy("key"), c.map(self.dim, value=1.0, key=-1.0), signs)
        # All but x where it is minus its mirror: an orthonormal basis of the rest, as values and as output.
        rest = np.linalg.svd(signs)[2][self.dim :]
        erase = Attention(c.copy("x"), c.copy("x"), Map(rest.T, np.zeros(len(rest))), -2 / c.width * rest)
        mixer = write_heads(network.inner.blocks[0].mixer, side_by_side(len(rest), multiply, erase))
        assert network.inner.head is not None
        says = c.copy("x").weight / np.sqrt(c.width / 2)
        parts = write_linear(network.inner.embed, given), mixer, write_linear(network.inner.head, says)
        network = eqx.tree_at(lambda n: (n.inner.embed, n.inner.blocks[0].mixer, n.inner.head), network, parts)
        scale = jnp.full(c.width, np.sqrt(1 + EPSILON))
        where = lambda n: (n.inner.blocks[0].norm_mixer.scale, n.inner.norm.scale)  # noqa: E731
        return eqx.tree_at(where, network, (scale, scale))

    def tokens(self, matrices: Float[np.ndarray, "R N N"], starts: Float[np.ndarray, "R N"]) -> np.ndarray:
        """The tokens (R, 1 + N, 3 N + 1) of R matrices and their first x. Raises ValueError for other sizes, and for
        matrices and vectors that are 0 or not finite."""
        n = self.dim
        matrices, starts = np.asarray(matrices, float), np.asarray(starts, float)
        if matrices.shape[1:] != (n, n) or starts.shape != (len(matrices), n):
            raise ValueError(f"needs matrices (R, {n}, {n}) and starts (R, {n}), got {matrices.shape}, {starts.shape}")
        lengths, norms = np.linalg.norm(matrices, axis=(1, 2)), np.linalg.norm(starts, axis=-1)
        if not np.all((lengths > 0) & np.isfinite(lengths) & (norms > 0) & np.isfinite(norms)):
            raise ValueError("a matrix or a start is 0 or not finite, and has no direction to converge to")
        found = np.zeros((len(matrices), 1 + n, 3 * n + 1))
        square = self._channels().width / 2
        found[:, 0, 2 * n : 3 * n] = np.sqrt(square) * starts / norms[:, None]
        found[:, 1:, :n] = np.eye(n)[None]
        found[:, 1:, n : 2 * n] = matrices.swapaxes(1, 2) / lengths[:, None, None]
        found[:, 1:, -1] = np.sqrt(square - np.sum(found[:, 1:] ** 2, -1))
        return found

    def run(
        self, matrices: Float[np.ndarray, "R N N"], starts: Float[np.ndarray, "R N"], loops: int
    ) -> Float[np.ndarray, "loops R N"]:
        """x after every loop, from a start for each matrix. Where v is (|A x| / |A|_F)^2, the 1e-5 that LayerNorm
        adds to a variance makes x shorter than 1 by 5e-6 / v, and turns the next by as much."""
        tokens = jnp.asarray(self.tokens(matrices, starts), jnp.float32)
        with jax.default_matmul_precision("highest"):
            return np.asarray(outputs_of_loops(self.network(loops), tokens))[:, :, 0]

    def _channels(self) -> Channels:
        """`mirror` holds minus all that is before it."""
        n = self.dim
        return Channels(key=n, value=n, x=n, rest=1, mirror=3 * n + 1)
