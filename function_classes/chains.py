"""Markov chains over a known table: how a stream is drawn, predicted, where it settles and what it says per symbol.

    table (N, C), N = C^order: row `context_codes(...)` is the law of the next symbol
    entropy rate  h = sum_s pi_s H(table_s),   pi the stationary law of contexts,   H(marginal of pi) >= h

A lag-k chain is the table of order k whose rows depend on the oldest symbol alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import Prompt
from function_classes.counts import context_codes

LARGEST_TABLE = 1_000_000
# The stationary law of more contexts than this is not computed: elimination takes N^3 steps, unrolled in N.
LARGEST_STATIONARY = 64
_TINY = 1e-30
# Names the draw of the first context among the keys of the symbols 0, 1, ...
_START = 2**31 - 1


def sample_chain(
    table: Float[Array, "N C"], order: int, points: int, key: PRNGKeyArray, first: Float[Array, "N"] | None = None
) -> Int[Array, "P"]:
    """A stream; symbol t >= order depends on (key, t) and its context alone. The first `order` symbols are uniform, or
    the digits of a context drawn from `first`."""
    rows, symbols = table.shape
    digits = jnp.zeros(order + 1, jnp.int32)
    if first is not None:
        context = jax.random.categorical(jax.random.fold_in(key, _START), jnp.log(first)).astype(jnp.int32)
        digits = context // jnp.array([symbols**n for n in range(order - 1, -1, -1)] + [1], jnp.int32) % symbols

    def step(code, t):
        logits = jnp.where(t < order, 0.0, jnp.log(table[code]))
        y = jax.random.categorical(jax.random.fold_in(key, t), logits).astype(jnp.int32)
        if first is not None:
            y = jnp.where(t < order, digits[jnp.minimum(t, order)], y)
        return (code * symbols + y) % rows, y

    return jax.lax.scan(step, jnp.int32(0), jnp.arange(points))[1]


def chain_prompt(
    latent: Int[Array, ""] | Float[Array, "N C"],
    table: Float[Array, "N C"],
    order: int,
    points: int,
    key: PRNGKeyArray,
    first: Float[Array, "N"] | None,
) -> Prompt:
    """The prompt of a stream from `sample_chain`."""
    return Prompt(jnp.zeros((points, 0)), sample_chain(table, order, points, key, first), latent)


def chain_log_probs(
    ys: Int[Array, "P"], table: Float[Array, "N C"], order: int, first: Float[Array, "N"] | None = None
) -> Float[Array, "P C"]:
    """log p(y_t = j | y_<t) of one who knows the chain: the row of the context; before that the law of the next digit
    of a context from `first`, given the digits seen, uniform where there is no `first`."""
    symbols = table.shape[1]
    codes = context_codes(ys, symbols, order)
    log_probs = jnp.log(table[codes])
    for t in range(min(order, ys.shape[0])):
        if first is None:
            start = jnp.full(symbols, 1 / symbols)
        else:
            start = jnp.sum(first.reshape(symbols**t, symbols, -1), -1)[codes[t]]
        log_probs = log_probs.at[t].set(jnp.log(start / jnp.sum(start)))
    return log_probs


def stationary_contexts(table: Float[Array, "N C"], order: int) -> Float[Array, "N"]:
    """The law of the last `order` symbols that one more step leaves as it is, for an irreducible chain.

    Elimination of Grassmann, Taksar and Heyman (1985): no subtractions, so nearly decomposable chains keep their
    relative accuracy in float32. Cost O(N^3).
    """
    rows, symbols = table.shape
    contexts = jnp.arange(rows)[:, None]
    following = (contexts * symbols + jnp.arange(symbols)[None, :]) % rows
    moves = jnp.zeros((rows, rows)).at[jnp.broadcast_to(contexts, following.shape), following].add(table)
    for n in range(rows - 1, 0, -1):
        leaving = jnp.maximum(jnp.sum(moves[n, :n]), _TINY)
        into = moves[:n, n] / leaving
        moves = moves.at[:n, n].set(into)
        moves = moves.at[:n, :n].add(into[:, None] * moves[n, :n][None, :])
    law = jnp.ones(1)
    for n in range(1, rows):
        law = jnp.append(law, jnp.sum(law * moves[:n, n]))
        law = law / jnp.sum(law)
    return law


def symbol_law(contexts: Float[Array, "N"], symbols: int) -> Float[Array, "C"]:
    """How often each symbol occurs where contexts of one symbol or more have the stationary law `contexts`."""
    return jnp.sum(contexts.reshape(-1, symbols), 0)


def entropy(law: Float[Array, "*n C"]) -> Float[Array, "*n"]:
    """-sum p ln p in nats over the last axis; 0 ln 0 = 0."""
    return -jnp.sum(jnp.where(law > 0, law * jnp.log(jnp.where(law > 0, law, 1.0)), 0.0), -1)


def entropy_rate(table: Float[Array, "N C"], contexts: Float[Array, "N"]) -> Float[Array, ""]:
    """Mean entropy of the next symbol given all before, in nats, with contexts in their stationary law."""
    return jnp.sum(contexts * entropy(table))
