"""Ways in which items may share classes, and averages over components that each say something of the next item.

Items of a bursty context (Chan et al. 2022) are copies of few classes: a component is one grouping of the items.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

IMPOSSIBLE = -1e30


class Look(NamedTuple):
    """What components say of one item: log p(label) of the mixture, the log density of the item, the components' log
    weights once the item is seen, and every component's own log p(label)."""

    log_probs: Float[Array, "L"]
    density: Float[Array, ""]
    weights: Float[Array, "M"]
    said: Float[Array, "M L"]


def together(weights: Float[Array, "M"], density: Float[Array, "M"], said: Float[Array, "M L"]) -> Look:
    """The average over components with these log weights, of their log densities of an item and of its labels."""
    after = jax.nn.log_softmax(weights + density)
    return Look(logsumexp(after[:, None] + said, axis=0), logsumexp(weights + density), after, said)


@functools.cache
def groupings(items: int, size: int) -> Int[np.ndarray, "M N"]:
    """The group of every item, for every way of drawing that many items without replacement from groups of `size`.

    All are equally likely: where items do not fill the last group, groupings of one more item are cut, and may repeat.
    """
    count = -(-items // size)

    def fill(used: tuple[int, ...], rest: int) -> Iterator[tuple[int, ...]]:
        if rest == 0:
            yield ()
            return
        opened = next((g for g in range(count) if used[g] == 0), count)
        for group in range(min(opened + 1, count)):
            if used[group] < size:
                more = (*used[:group], used[group] + 1, *used[group + 1 :])
                yield from ((group, *others) for others in fill(more, rest - 1))

    found = list(fill((0,) * count, count * size))
    return np.array(found, int).reshape(len(found), count * size)[:, :items]
