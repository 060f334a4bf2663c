"""Evaluates a jaxpr and, on the way, takes or replaces the values that are named in it.

Equations with names inside (loops, branches, remat) are rebuilt so that the
values come out; everything else is left to JAX.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from icl.tagging import batch_of, mark, scope_of, site_of

_INLINE = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
_REMAT = {"checkpoint", "remat", "remat2"}

Change = Callable[[jax.Array, tuple[Any, ...]], Any]
"""What replaces a value, given its index along the leading axes of its site."""


class Site(NamedTuple):
    """One site: its name, the names of its leading axes ("scan", "calls", "vmap"), and its shape including them."""

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: Any


def survey(jaxpr: Any, outer: str) -> list[Site]:
    """One entry per call written out in the jaxpr, and one per site of each loop and branching in it."""
    found: list[Site] = []
    for eqn in jaxpr.eqns:
        kind, scope = eqn.primitive.name, scope_of(eqn, outer)
        if (name := site_of(eqn, outer)) is not None:
            value, batch = eqn.outvars[0].aval, batch_of(eqn)
            rest = [size for axis, size in enumerate(value.shape) if axis not in batch]
            found.append(Site(name, ("vmap",) * len(batch), (*(value.shape[b] for b in batch), *rest), value.dtype))
        elif kind in _INLINE or kind in _REMAT:
            found += survey(_body(eqn)[0], scope)
        elif kind == "cond":
            found += _branches(eqn, scope)
        else:
            inner = [site for body in _bodies(eqn) for site in survey(body, scope)]
            repeat = (eqn.params["length"],) if kind == "scan" else ()
            found += [s._replace(axes=(kind, *s.axes), shape=(*repeat, *s.shape)) for s in group(inner)]
    return found


def _bodies(eqn: Any) -> list[Any]:
    if eqn.primitive.name in _INLINE:
        return [_body(eqn)[0]]
    values = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr"))
    jaxprs = [getattr(value, "jaxpr", value) for value in values]
    return [jaxpr for jaxpr in jaxprs if hasattr(jaxpr, "eqns")]


def _body(eqn: Any) -> tuple[Any, Any]:
    value = next(eqn.params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in eqn.params)
    return getattr(value, "jaxpr", value), getattr(value, "consts", ())


def _branches(eqn: Any, scope: str) -> list[Site]:
    return list(dict.fromkeys(s for branch in eqn.params["branches"] for s in group(survey(branch.jaxpr, scope))))


def _calls(entries: list[Site]) -> dict[str, list[int]]:
    """Name -> which entries are its calls; those that do not agree in shape get names of their own."""
    result: dict[str, list[int]] = {}
    for name in dict.fromkeys(site.name for site in entries):
        same = [i for i, site in enumerate(entries) if site.name == name]
        if len({entries[i] for i in same}) == 1:
            result[name] = same
        else:
            result.update({f"{name}#{k}": [i] for k, i in enumerate(same)})
    return result


def group(entries: list[Site]) -> list[Site]:
    result = []
    for name, same in _calls(entries).items():
        site, n = entries[same[0]]._replace(name=name), len(same)
        result.append(site if n == 1 else site._replace(axes=("calls", *site.axes), shape=(n, *site.shape)))
    return result


def stack(entries: list[Site], values: list[jax.Array]) -> dict[str, jax.Array]:
    groups = _calls(entries).items()
    return {name: values[s[0]] if len(s) == 1 else jnp.stack([values[i] for i in s]) for name, s in groups}


def base(name: str) -> str:
    return name.partition("#")[0]


def fit(name: str, value: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    try:
        return jnp.broadcast_to(value, shape)
    except ValueError:
        raise ValueError(f"site {name} has shape {shape}; the edit gives {value.shape}") from None


class Level:
    """Which call of a site comes next in one jaxpr, as an index along the site's leading axes."""

    def __init__(self, entries: list[Site], before: Mapping[str, tuple[Any, ...]]):
        self.total = collections.Counter(base(s.name) for s in entries if s.name.partition("#")[2] in ("", "0"))
        self.before, self.seen = before, collections.Counter()

    def next(self, name: str) -> tuple[Any, ...]:
        self.seen[name] += 1
        return self.before.get(name, ()) + ((self.seen[name] - 1,) if self.total[name] > 1 else ())


@dataclasses.dataclass(frozen=True)
class Run:
    """The interpreter. Every method returns outputs, and entry by entry the sites with their values."""

    wanted: set[str]
    edits: Mapping[str, Change]

    def evaluate(self, jaxpr: Any, consts: Any, args: Any, outer: str, level: Level):
        known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        entries: list[Site] = []
        values: list[jax.Array] = []
        for eqn in jaxpr.eqns:
            inputs = [v.val if hasattr(v, "val") else known[v] for v in eqn.invars]
            scope = scope_of(eqn, outer)
            inside = {base(site.name) for body in _bodies(eqn) for site in survey(body, scope)}
            if (name := site_of(eqn, outer)) is not None:
                outs, sites, taken = self.visit(name, inputs[0], batch_of(eqn), level)
            elif inside & (self.wanted | self.edits.keys()):
                outs, sites, taken = self.enter(eqn, inputs, scope, level, inside)
            else:
                outs, sites, taken = _bind(eqn, inputs), [], []
            known.update(zip(eqn.outvars, outs, strict=True))
            entries += sites
            values += taken
        return [v.val if hasattr(v, "val") else known[v] for v in jaxpr.outvars], entries, values

    def visit(self, name: str, value: jax.Array, batch: tuple[int, ...], level: Level):
        index, first = level.next(name), tuple(range(len(batch)))
        value = jnp.moveaxis(value, batch, first) if batch else jnp.asarray(value)
        if name in self.edits:
            new = jnp.asarray(self.edits[name](value, index))
            value = fit(name, new, value.shape).astype(value.dtype)
        sites = [Site(name, ("vmap",) * len(batch), value.shape, value.dtype)] if name in self.wanted else []
        after = mark(jnp.moveaxis(value, first, batch) if batch else value, f"={name}", batch)
        return [after], sites, [value] * len(sites)

    def enter(self, eqn: Any, inputs: list[Any], scope: str, level: Level, inside: set[str]):
        kind, params = eqn.primitive.name, eqn.params
        entries: list[Site] = []

        def inline(*args: Any):
            outs, sites, taken = self.evaluate(*_body(eqn), args, scope, level)
            entries[:] = sites
            return outs, taken

        if kind in _INLINE:
            outs, taken = inline(*inputs)
            # Nothing was changed inside, so the outputs can keep their own derivative rule.
            return _bind(eqn, inputs) if "custom" in kind and not inside & self.edits.keys() else outs, entries, taken
        if kind in _REMAT:
            outs, taken = jax.checkpoint(inline, prevent_cse=params["prevent_cse"], policy=params["policy"])(*inputs)
            return outs, entries, taken
        if kind not in ("scan", "while", "cond"):
            raise ValueError(f"sites {', '.join(sorted(inside))} are inside a {kind}, in which nothing can be changed")
        before = {name: level.next(name) for name in inside}
        return getattr(self, kind + "_")(eqn, inputs, scope, before)

    def scan_(self, eqn: Any, inputs: list[Any], scope: str, before: Mapping[str, tuple[Any, ...]]):
        params, body, entries = eqn.params, eqn.params["jaxpr"], []
        constants, carries = _scan_counts(params)
        carried = constants + carries
        known = survey(body.jaxpr, scope)

        def step(carry: list[Any], x: Any):
            i, xs = x
            level = Level(known, {name: (*index, i) for name, index in before.items()})
            outs, sites, taken = self.evaluate(
                body.jaxpr, body.consts, [*inputs[:constants], *carry, *xs], scope, level
            )
            entries[:] = group(sites)
            return outs[:carries], (outs[carries:], stack(sites, taken))

        n, xs = params["length"], inputs[carried:]
        settings = {"length": n, "reverse": params["reverse"], "unroll": params["unroll"]}
        carry, (ys, taken) = jax.lax.scan(step, inputs[constants:carried], (jnp.arange(n), xs), **settings)
        stacked = [site._replace(axes=("scan", *site.axes), shape=(n, *site.shape)) for site in entries]
        return [*carry, *ys], stacked, [taken[site.name] for site in entries]

    def cond_(self, eqn: Any, inputs: list[Any], scope: str, before: Mapping[str, tuple[Any, ...]]):
        entries = [site for site in _branches(eqn, scope) if base(site.name) in self.wanted]

        def branch(closed: Any, *args: Any):
            level = Level(survey(closed.jaxpr, scope), before)
            outs, sites, taken = self.evaluate(closed.jaxpr, closed.consts, args, scope, level)
            found = dict(zip(group(sites), stack(sites, taken).values(), strict=True))
            absent = {
                s: jnp.full(s.shape, jnp.nan if jnp.issubdtype(s.dtype, jnp.inexact) else 0, s.dtype) for s in entries
            }
            return outs, [(absent | found)[site] for site in entries]

        choices = [functools.partial(branch, closed) for closed in eqn.params["branches"]]
        outs, taken = jax.lax.switch(inputs[0], choices, *inputs[1:])
        return outs, entries, taken

    def while_(self, eqn: Any, inputs: list[Any], scope: str, before: Mapping[str, tuple[Any, ...]]):
        params = eqn.params
        tests, bodies = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]

        def run(closed: Any, args: list[Any]) -> list[Any]:
            level = Level(survey(closed.jaxpr, scope), before)
            return self.evaluate(closed.jaxpr, closed.consts, args, scope, level)[0]

        def test(carry: list[Any]) -> Any:
            return run(params["cond_jaxpr"], [*inputs[:tests], *carry])[0]

        def step(carry: list[Any]) -> list[Any]:
            going = test(carry)
            new = run(params["body_jaxpr"], [*inputs[tests:bodies], *carry])
            # Under vmap each example has its own condition, and stands still once it is false.
            wide = [going.reshape(going.shape + (1,) * (n.ndim - going.ndim)) for n in new]
            return [jnp.where(w, n, old) for w, n, old in zip(wide, new, carry, strict=True)] if going.ndim else new

        return jax.lax.while_loop(lambda carry: jnp.any(test(carry)), step, inputs[bodies:]), [], []


def _scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many of a scan's inputs are constants, and how many are carried: they come in this order."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    # Since JAX 0.12 the inputs are one tree of three groups: constants, carried values, slices.
    constants, carried, _ = params["ft_in"].unpack()
    return len(list(constants)), len(list(carried))


def _bind(eqn: Any, inputs: list[Any]) -> list[Any]:
    params = eqn.primitive.get_bind_params(eqn.params)
    # Before JAX 0.10 the functions came apart from the other parameters.
    functions, params = params if isinstance(params, tuple) else ((), params)
    with eqn.ctx.manager:
        outs = eqn.primitive.bind(*functions, *inputs, **params)
    return outs if eqn.primitive.multiple_results else [outs]
