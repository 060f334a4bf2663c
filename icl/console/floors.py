"""The least that forward and backward of a mixer can take on this machine, whatever its form.

Operations of the cheapest form, times three because the backward pass has two products for each of the forward's, at
the rate of a large matrix product; or the bytes of what must enter and leave, at the rate of a copy of such an array:
whichever is longer.
"""

from typing import Any

import jax
import jax.numpy as jnp

from icl.console.machine import copy_rate, matmul_rate
from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.recurrence import Recurrence


def floor(config: MixerConfig, place: Place, batch: int) -> float:
    """Seconds of forward and backward for `batch` sequences of `place.length` tokens."""
    numbers = batch * place.length * place.width
    # Forward: tokens, outputs. Backward: tokens and the gradient of outputs, the gradient of tokens.
    return max(3 * batch * operations(config, place) / matmul_rate(), 5 * 4 * numbers / copy_rate(numbers))


def operations(config: MixerConfig, place: Place) -> float:
    """Of the forward pass for one sequence: of a step for every token, where there is a state of fixed size; else of
    all tokens at once, without the half of what grows as T^2 that is later than the token."""
    mixer = _made(config, place)
    if isinstance(mixer, Recurrence):
        row, state = _tokens(place)[0], jax.eval_shape(lambda m: m.init_state(place.length), mixer)
        # The difference of two steps and one leaves out what depends on parameters alone, and is done once.
        two, one = (
            _counted(
                lambda m, x, s, many=many: jax.vmap(m.step, axis_size=many)(x, s),
                mixer,
                *jax.tree.map(lambda a, many=many: jax.ShapeDtypeStruct((many, *a.shape), a.dtype), (row, state)),
            )
            for many in (2, 1)
        )
        return place.length * (two - one)
    longer = place._replace(length=2 * place.length)
    once = _counted(lambda m, x: m(x), mixer, _tokens(place)[1])
    twice = _counted(lambda m, x: m(x), _made(config, longer), _tokens(longer)[1])
    return once - (twice - 2 * once) / 4


def _made(config: MixerConfig, place: Place) -> Any:
    """The shapes of a mixer."""
    return jax.eval_shape(lambda key: config.make(place, key=key), jax.random.key(0))


def _tokens(place: Place) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """One token, and a sequence."""
    shapes = (place.width,), (place.length, place.width)
    one, all = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    return one, all


def _counted(function: Any, *shapes: Any) -> float:
    """Floating-point operations of the program before it is optimized, where nothing is counted twice."""
    return (jax.jit(function).lower(*shapes).cost_analysis() or {}).get("flops", 0.0)
