"""Floating-point operations of a mixer in its cheapest form, counted from the program that computes it."""

from typing import Any

import jax
import jax.numpy as jnp

from icl.models.mixers.base import MixerConfig, Place


def operations(config: MixerConfig, place: Place) -> float:
    """Of the forward pass for one sequence: of a step for every token, where there is a state of fixed size; else of
    all tokens at once, without the half of what grows as T^2 that is later than the token."""
    mixer = _made(config, place)
    state, later = (jax.eval_shape(lambda m, n=n: m.init_state(n * place.length), mixer) for n in (1, 2))
    if jax.tree.leaves(state) == jax.tree.leaves(later):
        row = _tokens(place)[0]
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
