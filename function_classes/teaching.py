"""Teaching sequences of Bhattamishra et al. 2023: the fewest examples that single out one function of a class.

    monotone conjunction, relevant set S:  |S| + 1 rows: +1 on S and -1 elsewhere (label +); then that row with one
                                           element of S flipped (label -), for each in turn
    signed conjunction:                    |S| + 2 rows: the literals hold, and elsewhere -1, then +1 (labels +, +);
                                           then the first row with one literal flipped (label -), for each in turn
    monotone normal form:                  those of its conjunctions one after another, if none contains another

The rows are a function of f, so whoever knows that they are shown reads f from the inputs, without a label.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def lengths(terms: Float[Array, "T D"], leads: int, flips: bool = True) -> Int[Array, "T"]:
    """How many rows teach each conjunction: `leads` with label +, and one per literal where `flips`."""
    literals = jnp.sum(terms != 0, -1)
    return leads + (literals if flips else jnp.zeros_like(literals))


def row(terms: Float[Array, "T D"], k: Int[Array, ""], leads: int, flips: bool = True) -> Float[Array, "D"]:
    """Row k of the teaching sequence; meaningless after its end. Literals are -1, 0 (absent) or +1."""
    ends = jnp.cumsum(lengths(terms, leads, flips))
    which = jnp.minimum(jnp.sum(k >= ends), terms.shape[0] - 1)
    inside = k - jnp.where(which > 0, ends[which - 1], 0)
    literals = terms[which]
    present = literals != 0
    place = jnp.cumsum(present) - 1
    flipped = present & (place == inside - leads)
    elsewhere = jnp.where(inside == 1, 1.0, -1.0) if leads == 2 else jnp.float32(-1.0)
    return jnp.where(present, jnp.where(flipped, -literals, literals), elsewhere)


def antichain(terms: Float[Array, "T D"]) -> Bool[Array, ""]:
    """Whether no conjunction's literals are all among another's: then the rows of a monotone normal form teach it."""
    inside = jnp.all((terms[:, None] == terms[None]) | (terms[:, None] == 0), -1)
    return ~jnp.any(inside & ~jnp.eye(terms.shape[0], dtype=bool))


def antichain_share(terms: int, dim: int, literal: float) -> float:
    """P(`terms` independent conjunctions of positive literals form an antichain), each of `dim` variables in each with
    probability `literal`.

    A variable parts the ordered pairs (i, j) whose i has it and j has not; all pairs have to be parted. Exact for up to
    four conjunctions, by the law of the set of parted pairs after one variable more. For more, a lower bound from pairs
    where it says enough, else a count over 20,000 draws.
    """
    pairs = terms * (terms - 1)
    apart = 1 - pairs * (1 - literal * (1 - literal)) ** dim
    if apart > 0.5:
        return apart
    if terms > 4:
        rng, parted = np.random.default_rng(0), np.zeros((20_000, terms, terms), bool)
        for _ in range(dim):
            has = rng.random((20_000, terms)) < literal
            parted |= has[:, :, None] & ~has[:, None, :]
        return float((parted.sum((1, 2)) == pairs).mean())
    columns: dict[int, float] = {}
    for column in range(2**terms):
        has = [column >> i & 1 for i in range(terms)]
        parts = sum(1 << i * terms + j for i in range(terms) for j in range(terms) if has[i] and not has[j])
        chance = math.prod(literal if h else 1 - literal for h in has)
        columns[parts] = columns.get(parts, 0.0) + chance
    law = {0: 1.0}
    for _ in range(dim):
        after: dict[int, float] = {}
        for parted, mass in law.items():
            for parts, chance in columns.items():
                after[parted | parts] = after.get(parted | parts, 0.0) + mass * chance
        law = after
    return law.get(sum(1 << i * terms + j for i in range(terms) for j in range(terms) if i != j), 0.0)
