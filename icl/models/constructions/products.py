"""What a linear attention layer does, free of its parameterization: the products P W_V and W_K' W_Q of every head.

    e_i <- e_i + sum_h PV_h sum_j e_j (e_j' KQ_h e_i)          tokens are columns

Only these products matter, and of each head only up to (s, 1/s).
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from function_classes.base import NotAvailable
from icl.models.attention_only import AttentionOnlyNetwork
from icl.models.base import Learner
from icl.models.mixers.linear import LinearHeads
from icl.models.mixers.merged_linear import MergedHeads


def products(mixer: Any) -> tuple[Float[np.ndarray, "H E E"], Float[np.ndarray, "H E E"]]:
    """PV and KQ of every head, in float64. Raises NotAvailable for a mixer that is no linear attention."""
    if isinstance(mixer, MergedHeads):
        return np.asarray(mixer.value, float), np.asarray(mixer.key_query, float)
    if not isinstance(mixer, LinearHeads):
        raise NotAvailable(f"needs linear attention, whose products are its function; this is {type(mixer).__name__}")
    heads = mixer.heads
    columns = lambda weight: np.asarray(weight, float).reshape(weight.shape[0], heads, -1)  # noqa: E731
    rows = np.asarray(mixer.output.weight, float).reshape(heads, -1, mixer.output.weight.shape[1])
    query, key, value = (columns(linear.weight) for linear in (mixer.query, mixer.key, mixer.value))
    return np.einsum("fhk,hke->hef", value, rows), np.einsum("ehk,fhk->hef", key, query)


def from_products(learner: Learner, value: np.ndarray, key_query: np.ndarray) -> Learner:
    """A one-layer learner that reads as `learner` does, with these products (H, E, E) as merged matrices."""
    network = learner.network
    if not isinstance(network, AttentionOnlyNetwork) or len(network.blocks) != 1:
        raise NotAvailable("needs an attention-only learner with one set of weights")
    own = network.blocks[0].mixer
    if not isinstance(own, LinearHeads | MergedHeads):
        raise NotAvailable(f"needs linear attention, whose products are its function; this is {type(own).__name__}")
    mixer = MergedHeads(jnp.asarray(key_query, float), jnp.asarray(value, float), own.normalizer)
    return eqx.tree_at(lambda m: m.network.blocks[0].mixer, learner, mixer)


def unframed(learner: Learner) -> Learner:
    """The same function without a frame, of a one-layer learner: its products are those in the tokens' coordinates."""
    if learner.network.frame is None:
        return learner
    frame = np.asarray(learner.network.frame, float)
    value, key_query = (frame @ matrix @ frame.T for matrix in products(learner.network.blocks[0].mixer))
    return eqx.tree_at(lambda m: m.network.frame, from_products(learner, value, key_query), None)


def effective(learner: Learner) -> Float[np.ndarray, "D D"]:
    """The matrix U in prediction = x' U' sum_i y_i x_i / normalizer of a one-layer learner: the invariant w22 W11 of
    Zhang et al. 2023, summed over heads, with the sign of the reading. `U[i, j]` multiplies x_i of the context and x_j
    of the query. A `frame` is undone first."""
    (block,) = unframed(learner).network.blocks
    value, key_query = products(block.mixer)
    return learner.network.sign * np.einsum("h,hef->ef", value[:, -1, -1], key_query[:, :-1, :-1])
