"""The gated recurrent cells: LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.fields import setting
from icl.models.mixers.base import Mixer, MixerConfig, Place
from icl.models.mixers.recurrence import Recurrence
from icl.models.parts import Linear, initial_std


@MixerConfig.registry.add("lstm", papers=("hochreiter-1997",))
class LSTM(MixerConfig):
    """c_t = f c_{t-1} + i tanh(g), h_t = o tanh(c_t), y_t = W h_t + b, gates i, f, o = sigmoid(W x_t + U h_{t-1} + b).

    U starts orthogonal for each gate, the bias of f at 1. Deviations: the W of the gates start normal with variance 1 /
    fan-in, those of Akyurek et al. 2024 by Xavier's law; the map W behind the cell is ours, as a block writes into a
    residual stream. The parallel form is the recurrence itself, token after token.
    """

    cost = "T E^2, one token after the other"
    expected = "averaging, recency"
    forks = True
    hidden: int | None = setting(None, "size of the cell; none: width", at_least=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return LSTMCell(place, self.hidden or place.width, key=key)


@MixerConfig.registry.add("gru", papers=("cho-2014",))
class GRU(MixerConfig):
    """h_t = (1 - z) n + z h_{t-1} with n = tanh(W x + b + r (U h_{t-1} + b')), and r, z = sigmoid(W x + U h_{t-1} + b);
    y_t = W h_t + b, as for `lstm`."""

    cost = "T E^2, one token after the other"
    expected = "averaging, recency"
    forks = True
    hidden: int | None = setting(None, "size of the cell; none: width", at_least=1)

    def make(self, place: Place, *, key: PRNGKeyArray) -> Mixer:
        return GRUCell(place, self.hidden or place.width, key=key)


class Cell(Recurrence):
    """What both share: maps of the token and of the hidden state to the gates, and a read-out of the hidden state."""

    token: Linear
    hidden: Linear
    output: Linear

    def __init__(self, place: Place, hidden: int, gates: int, *, key: PRNGKeyArray):
        token, output, *squares = jax.random.split(key, 2 + gates)
        self.token = Linear(place.width, gates * hidden, initial_std(place.init, place.width), key=token)
        orthogonal = jnp.concatenate([jax.random.orthogonal(k, hidden) for k in squares], 1)
        blank = Linear(hidden, gates * hidden, 0.0, key=token)
        self.hidden = eqx.tree_at(lambda m: m.weight, blank, orthogonal)
        self.output = Linear(hidden, place.width, initial_std(place.init, hidden, place.depth), key=output)

    def inputs(self, entered: Float[Array, "*B T E"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T G"]:
        return self.token(entered)

    def leave(self, outs: Float[Array, "*B T N"], x: Float[Array, "*B T E"]) -> Float[Array, "*B T E"]:
        return self.output(outs)

    @property
    def _zeros(self) -> Float[Array, "N"]:
        return jnp.zeros_like(self.output.weight[:, 0])


class LSTMCell(Cell):
    """Gates in the order i, f, g, o."""

    def __init__(self, place: Place, hidden: int, *, key: PRNGKeyArray):
        super().__init__(place, hidden, 4, key=key)
        forget = jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(1.0)
        self.token = eqx.tree_at(lambda m: m.bias, self.token, forget)

    def start(self) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
        return self._zeros, self._zeros

    def advance(self, state, part):
        hidden, cell = state
        i, f, g, o = jnp.split(part + self.hidden(hidden[None])[0], 4)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden


class GRUCell(Cell):
    """Gates in the order r, z, n."""

    def __init__(self, place: Place, hidden: int, *, key: PRNGKeyArray):
        super().__init__(place, hidden, 3, key=key)

    def start(self) -> Float[Array, "N"]:
        return self._zeros

    def advance(self, state, part):
        r, z, n = jnp.split(part, 3)
        r_old, z_old, n_old = jnp.split(self.hidden(state[None])[0], 3)
        r, z = jax.nn.sigmoid(r + r_old), jax.nn.sigmoid(z + z_old)
        hidden = (1 - z) * jnp.tanh(n + r * n_old) + z * state
        return hidden, hidden
