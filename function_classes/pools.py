"""The posterior over a finite pool of streams' laws: weights by how well each predicted the symbols so far.

log w_m(t) = log prior_m + sum_{u<t} log p_m(y_u | y_<u),     p(y_t) = sum_m w_m(t) p_m(y_t) / sum_m w_m(t)
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def pool_log_weights(log_probs: Float[Array, "M P C"], ys: Int[Array, "P"]) -> Float[Array, "M P"]:
    """The log posterior of every member before each symbol, from a uniform prior. A stream that no member could have
    made leaves -inf for all from there on."""
    own = jnp.take_along_axis(log_probs, ys[None, :, None], -1)[..., 0]
    evidence = jnp.cumsum(jnp.concatenate([jnp.zeros((own.shape[0], 1)), own[:, :-1]], 1), 1)
    total = jax.nn.logsumexp(evidence, 0)
    return evidence - jnp.where(total > -jnp.inf, total, 0.0)[None, :]


def pooled(log_probs: Float[Array, "M P C"], ys: Int[Array, "P"]) -> Float[Array, "P C"]:
    """log p(y_t = j | y_<t) of the pool, from what each member says."""
    return jax.nn.logsumexp(pool_log_weights(log_probs, ys)[..., None] + log_probs, 0)
