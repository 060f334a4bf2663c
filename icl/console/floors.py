"""The least that forward and backward of a mixer can take on this machine: whatever its form, and in the form it has.

`floor`: operations of the cheapest form, times three because the backward pass has two products for each of the
forward's, at the rate of a large matrix product; or the bytes of what must enter and leave, at the rate of a copy of
such an array: whichever is longer.

`form_floor`: what a program computes, had it only to be computed. Its matrix products, each as fast as XLA multiplies
matrices of those very shapes, and its other operations at the rate of a long chain of them that never leaves the
registers: nothing for reading, writing or transposing what lies between, nor for the steps of loops. Or the bytes that
it reads and writes, at the rate of a copy.
"""

import collections
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from icl.console.machine import best, copy_rate, matmul_rate
from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.operations import operations

# Primitives that compute nothing, and those that take a processor tens of instructions.
FREE = frozenset(
    "broadcast_in_dim concatenate convert_element_type copy copy_p dynamic_slice dynamic_update_slice gather iota "
    "name optimization_barrier pad reshape rev scatter scatter-add slice split squeeze stop_gradient transpose".split()
)
ELEMENTARY = frozenset(
    "cbrt cos erf erf_inv exp exp2 expm1 log log1p logistic pow rsqrt sin sqrt tan tanh lgamma digamma".split()
)
# Numbers in an array that a rate is measured on, and operations in the chain.
NUMBERS, CHAIN = 2**18, 16


class Work(NamedTuple):
    """What a program computes: how often every product, and how many other operations, quick and elementary."""

    products: collections.Counter
    quick: float
    elementary: float


def floor(config: MixerConfig, place: Place, batch: int) -> float:
    """Seconds of forward and backward for `batch` sequences of `place.length` tokens, whatever the form."""
    numbers = batch * place.length * place.width
    # Forward: tokens, outputs. Backward: tokens and the gradient of outputs, the gradient of tokens.
    return max(3 * batch * operations(config, place) / matmul_rate(), 5 * 4 * numbers / copy_rate(numbers))


def form_floor(program: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of a step of training, in its own form; it reads its arguments, trees of arrays, and writes them anew."""
    work = count(program, *arguments)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(arguments))
    products = sum(times * _product_seconds(*product) for product, times in work.products.items())
    others = work.quick * _chain_seconds(False) + work.elementary * _chain_seconds(True)
    return max(products + others, 2 * 4 * numbers / copy_rate(numbers))


def count(program: Callable[..., Any], *arguments: Any) -> Work:
    """Products by shapes and dimensions, and other operations; the body of a loop as often as it runs."""
    products: collections.Counter = collections.Counter()
    quick = elementary = 0.0
    for equation, times in _equations(jax.make_jaxpr(program)(*arguments).jaxpr, 1):
        name = equation.primitive.name
        if name == "dot_general":
            operands = tuple((v.aval.shape, v.aval.dtype.name) for v in equation.invars)
            products[operands, equation.params["dimension_numbers"]] += times
        elif name not in FREE:
            # A reduction has an operation for every number it reads.
            sizes = [math.prod(v.aval.shape) for v in (*equation.outvars, *equation.invars[:1]) if hasattr(v, "aval")]
            if name in ELEMENTARY:
                elementary += times * max(sizes)
            else:
                quick += times * max(sizes)
    return Work(products, quick, elementary)


def _equations(jaxpr: Any, times: int) -> Iterator[tuple[Any, int]]:
    """All equations that compute, with how often they run: once in a loop whose length is not known."""
    for equation in jaxpr.eqns:
        inner = [getattr(value, "jaxpr", value) for entry in equation.params.values() for value in _listed(entry)]
        inner = [value for value in inner if hasattr(value, "eqns")]
        for one in inner:
            yield from _equations(one, times * equation.params.get("length", 1))
        if not inner:
            yield equation, times


def _listed(entry: Any) -> tuple[Any, ...]:
    return tuple(entry) if isinstance(entry, tuple | list) else (entry,)


@functools.cache
def _product_seconds(operands: tuple[tuple[tuple[int, ...], str], ...], dimensions: Any) -> float:
    """Of a product: alone, or one of many in a loop, where small ones do without the start of a program."""
    first, second = (jnp.full(shape, 0.5, dtype) for shape, dtype in operands)
    product = functools.partial(jax.lax.dot_general, dimension_numbers=dimensions)
    alone = jax.jit(product)
    many = max(1, min(64, 2**20 // (first.size + second.size)))
    loop = jax.jit(lambda a, b: jax.lax.scan(lambda carry, pair: (carry, product(*pair)), 0, (a, b))[1])
    stacked = tuple(jnp.broadcast_to(a, (many, *a.shape)) + 0 for a in (first, second))
    return min(best(lambda: alone(first, second), 5), best(lambda: loop(*stacked), 5) / many)


@functools.cache
def _chain_seconds(elementary: bool) -> float:
    """Of one operation on one number: an exponential, or a multiplication or addition."""
    start = jnp.full(NUMBERS, 0.5)
    step = (lambda a: jnp.exp(-a)) if elementary else (lambda a: a * start + 0.1)
    chain = jax.jit(lambda a: functools.reduce(lambda value, _: step(value), range(CHAIN), a))
    return best(lambda: chain(start), 10) / (NUMBERS * CHAIN * (1 if elementary else 2))
