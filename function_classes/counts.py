"""Predictions from counts: add-alpha k-grams of a stream, which are exact Bayes for Markov chains with Dirichlet rows.

    p(y_t = j | y_<t) = (N_sj + alpha) / (N_s + S alpha),   s = (y_{t-k}, ..., y_{t-1})

with N_sj the number of times j followed the context s strictly before t.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def context_codes(ys: Int[Array, "P"], symbols: int, order: int) -> Int[Array, "P"]:
    """The last `order` symbols before every position as one number in base `symbols`, the latest as its last digit.

    Symbols before the start count as 0; order 0 has the one context 0.
    """
    points = ys.shape[0]
    padded = jnp.concatenate([jnp.zeros(order, ys.dtype), ys])
    codes = jnp.zeros(points, ys.dtype)
    for lag in range(1, order + 1):
        codes = codes + padded[order - lag : order - lag + points] * symbols ** (lag - 1)
    return codes


def kgram_log_probs(
    ys: Int[Array, "P"], symbols: int, order: int, alpha: Float[Array, ""] | float
) -> Float[Array, "P C"]:
    """log p(y_t = j | y_<t) in nats of the add-alpha k-gram with k = `order` and alpha > 0; uniform while t < order.

    Order 0 is the in-context unigram. Cost O(P symbols) and a table of symbols^(order + 1) counts.
    """
    codes = context_codes(ys, symbols, order)
    complete = jnp.arange(ys.shape[0]) >= order

    def step(counts, now):
        code, y, known = now
        row = jnp.where(known, counts[code], 0.0)
        log_probs = jnp.log(row + alpha) - jnp.log(jnp.sum(row) + symbols * alpha)
        return counts.at[code, y].add(known.astype(counts.dtype)), log_probs

    return jax.lax.scan(step, jnp.zeros((symbols**order, symbols)), (codes, ys, complete))[1]
