"""See inside any Equinox module or function, and change what is there, with no adapter.

    taps.sites(model, x)                                     # name -> shape and dtype; nothing is computed
    output, seen = taps.capture(model, x, at=("blocks.*.mixer",))
    output = taps.edit(model, x, edits={"blocks.1.residual": lambda value: 0.5 * value})

Sites are the outputs of callable submodules, named by their path (`blocks.1.mixer`; `blocks.1.mixer:0` where a module
returns several arrays), and values named inside a module by `tap` (`blocks.1.mixer.probabilities`). The root is the
module that is called, or the one argument of a function that has submodules; with several such arguments paths begin
with the position of the argument. A field listed in a module's class attribute `tap_through` is no level of the path:
a learner's sites are those of its network. In patterns `*` stands for anything between two dots, `**` for anything.

The function is traced to a jaxpr, in which sites are equations that do nothing, and that is evaluated by a small
interpreter. So all of this works under and over `jit`, `vmap`, `grad`, `scan`, `cond`, `remat` and custom derivative
rules, and can itself be compiled; outside `jit` it runs one operation at a time. A site that is reached repeatedly has
one leading axis per repetition: "scan" for the iterations of a loop, "calls" for calls written out; then come the axes
of `vmap`s inside the function. `describe` tells them apart. Calls of different shapes are separate, `name#0`,
`name#1`. A site in a branch that was not taken is NaN, or 0 for whole numbers.

Not covered: modules that a plain function closes over (pass them as arguments), static fields, methods other than
`__call__`. Loops whose number of iterations is not known beforehand can be edited but not captured. Where a site
inside a custom derivative rule is edited, gradients are those of the function itself, not of the rule.
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from icl.interpreter import Change, Level, Run, Site, base, fit, group, stack, survey
from icl.tagging import mark, tag_call, untag

_STACKED = {"scan", "calls", "vmap"}
_DATA = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)


def tap(value: jax.Array, name: str) -> jax.Array:
    """Makes a value inside a module's `__call__` a site, `<path of the module>.<name>`. Otherwise the identity."""
    return mark(value, name)


@dataclasses.dataclass(frozen=True)
class Indexed:
    """An edit `function(value, index)` of a repeated site; `index` has a whole number for each "scan" and "calls", so
    `Indexed(lambda value, index: jnp.where(index[0] == 2, 0.0, value))` patches one layer of a scan over layers."""

    function: Change


def describe(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Site, ...]:
    """All sites in the order of the computation. Arguments may be `jax.ShapeDtypeStruct`; nothing is computed."""
    closed, _, _ = _trace(fn, args, kwargs)
    return tuple(group(survey(closed.jaxpr, "")))


def sites(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Name -> shape and dtype of every site, leading axes of repetition included."""
    return {site.name: jax.ShapeDtypeStruct(site.shape, site.dtype) for site in describe(fn, *args, **kwargs)}


def capture(
    fn: Callable[..., Any],
    *args: Any,
    at: str | Iterable[str] = ("**",),
    edits: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[Any, dict[str, jax.Array]]:
    """The output, and the values at all sites that match `at`, after `edits`. Raises ValueError for a pattern without
    a match, with the nearest names, and for a site that cannot be captured."""
    closed, leaves, finish = _trace(fn, args, kwargs)
    known = survey(closed.jaxpr, "")
    wanted = {name for pattern in ([at] if isinstance(at, str) else at) for name in _match(pattern, known)}
    for site in known:
        outer = [axis for axis in site.axes if axis not in _STACKED]
        if base(site.name) in wanted and outer:
            raise ValueError(f"site {site.name} is inside a {outer[0]}, out of which values cannot be captured")
    run = Run(wanted, _edits(edits or {}, known))
    outs, calls, values = run.evaluate(closed.jaxpr, closed.consts, leaves, "", Level(known, {}))
    return finish(outs), stack(calls, values)


def edit(fn: Callable[..., Any], *args: Any, edits: Mapping[str, Any], **kwargs: Any) -> Any:
    """The output when values are replaced on their way. `edits` maps names or patterns to a function of the value (at
    each repetition), to `Indexed`, or to an array that broadcasts to the whole site, leading axes included. What
    replaces a value takes its dtype, and must broadcast to its shape: else ValueError, as for unmatched patterns."""
    return capture(fn, *args, at=(), edits=edits, **kwargs)[0]


def _trace(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
    """The closed jaxpr of the function with its modules tagged, its flat inputs, and what rebuilds the output."""
    dynamic, static = eqx.partition((*tag_call(fn, args), kwargs), lambda leaf: isinstance(leaf, _DATA))
    leaves, structure = jax.tree.flatten(dynamic)
    constant: list[Any] = []

    def flat(*leaves: Any) -> Any:
        fn, args, kwargs = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        computed, rest = eqx.partition(untag(fn(*args, **kwargs)), eqx.is_array)
        constant[:] = [rest]
        return computed

    closed, shapes = jax.make_jaxpr(flat, return_shape=True)(*leaves)
    return closed, leaves, lambda outs: eqx.combine(jax.tree.unflatten(jax.tree.structure(shapes), outs), constant[0])


def _match(pattern: str, known: list[Site]) -> list[str]:
    names = list(dict.fromkeys(base(site.name) for site in known))
    parts = {"**": ".*", "*": "[^.]*"}
    expression = "".join(parts.get(p) or re.escape(p) for p in re.split(r"(\*\*|\*)", pattern))
    found = [name for name in names if re.fullmatch(expression, name)]
    if not found:
        close = difflib.get_close_matches(pattern, names, 4, 0)
        raise ValueError(
            f"no site matches {pattern!r}; " + (f"nearest: {', '.join(close)}" if close else "there are none")
        )
    return found


def _edits(edits: Mapping[str, Any], known: list[Site]) -> dict[str, Change]:
    result: dict[str, Change] = {}
    for pattern, change in edits.items():
        for name in _match(pattern, known):
            if isinstance(change, Indexed):
                result[name] = change.function
            elif callable(change):
                result[name] = lambda value, index, change=change: change(value)
            else:
                shapes = [site.shape for site in group(known) if base(site.name) == name]
                result[name] = functools.partial(_part, name, change, shapes)
    return result


def _part(name: str, change: Any, shapes: list[tuple[int, ...]], value: jax.Array, index: tuple[Any, ...]) -> jax.Array:
    """What an array that replaces a whole site says about one call of it."""
    change = jnp.asarray(change)
    return fit(name, change, shapes[0])[index] if len(shapes) == 1 else change
