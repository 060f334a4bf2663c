"""Gives the modules of a model names that survive tracing: each call has a scope, each output a name.

Scopes are `jax.named_scope`s and names are equations of a primitive that does nothing, so both end up in the jaxpr,
where `icl.taps` finds them. A jaxpr that jit took from its cache carries no scope of its own; it gets the one of its
caller. The primitive is `checkpoint_name` plus a memory for vmap, which puts the axis of its batch wherever that is
fastest: `batch` lists these axes, outermost vmap first. Names given by `checkpoint_name` itself are found too, but the
axes of their batches are where vmap left them.
"""

import dataclasses
import functools
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_SCOPE = "icl:"
_ORIGINAL: dict[type, type] = {}


_mark = Primitive("tap")
_mark.def_impl(lambda value, **_: value)
_mark.def_abstract_eval(lambda value, **_: value)
mlir.register_lowering(_mark, lambda context, value, **_: [value])
ad.primitive_jvps[_mark] = lambda primals, tangents, **params: (_mark.bind(*primals, **params), tangents[0])


def _batch(values: tuple[Any, ...], axes: tuple[int, ...], *, name: str, batch: tuple[int, ...]) -> tuple[Any, int]:
    (value,), (axis,) = values, axes
    inner = tuple(b + (b >= axis) for b in batch)
    return _mark.bind(value, name=name, batch=(axis, *inner)), axis


batching.primitive_batchers[_mark] = _batch


def mark(value: Any, name: str, batch: tuple[int, ...] = ()) -> jax.Array:
    """The value, with a name in the jaxpr and nowhere else."""
    return _mark.bind(jnp.asarray(value), name=name, batch=batch)


def batch_of(eqn: Any) -> tuple[int, ...]:
    """The axes of a marked value that vmap added, outermost first."""
    return eqn.params.get("batch", ())


def tag_call(fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The same call with tagged modules: those in `fn` if it is a module, else those in its arguments."""
    while type(fn).__name__ in ("PjitFunction", "_JitWrapper"):
        fn = fn.__wrapped__
    if isinstance(fn, eqx.Module):
        return _retype(fn, "", _tagged), args
    tagged = [_retype(arg, "", _tagged) for arg in args]
    found = [i for i, arg in enumerate(args) if jax.tree.structure(arg) != jax.tree.structure(tagged[i])]
    if len(found) > 1:
        tagged = [_retype(arg, str(i), _tagged) if i in found else arg for i, arg in enumerate(args)]
    return fn, tuple(tagged)


def untag(tree: Any) -> Any:
    """The tree with its modules in their own classes again."""
    return _retype(tree, "", lambda cls, path: _ORIGINAL.get(cls, cls))


def scope_of(eqn: Any, outer: str) -> str:
    """Path of the innermost module around an equation. Equations inside loops and jit only know their own
    surroundings; `outer` is the scope of the loop."""
    found = re.findall(_SCOPE + r"([^/()]*)", str(eqn.source_info.name_stack))
    return urllib.parse.unquote(found[-1]) if found else outer


def site_of(eqn: Any, outer: str) -> str | None:
    """The site that an equation marks, if it does. Names of outputs are complete, others are below the scope."""
    if eqn.primitive.name not in ("tap", "name"):
        return None
    name, scope = eqn.params["name"], scope_of(eqn, outer)
    return name[1:] if name.startswith("=") else f"{scope}.{name}" if scope else name


def _retype(tree: Any, path: str, choose: Callable[[type, str], type]) -> Any:
    """A copy of a tree in which `choose` gave each module its class."""

    def visit(keys: tuple[Any, ...], node: Any) -> Any:
        below = ".".join(filter(None, (path, jax.tree_util.keystr(keys, simple=True, separator="."))))
        if not isinstance(node, eqx.Module):
            return node
        # Wrappers such as that of filter_vmap are no level of the model.
        wrapper = type(node).__module__.startswith("equinox._")
        static = {field.name for field in dataclasses.fields(node) if field.metadata.get("static")}
        copy = object.__new__(type(node) if wrapper else choose(type(node), below))
        for name, value in vars(node).items():
            through = wrapper or name in getattr(type(node), "tap_through", ())
            inner = below if through else ".".join(filter(None, (below, name)))
            object.__setattr__(copy, name, value if name in static else _retype(value, inner, choose))
        return copy

    return jax.tree_util.tree_map_with_path(visit, tree, is_leaf=lambda node: isinstance(node, eqx.Module))


@functools.lru_cache(maxsize=4096)
def _tagged(cls: type, path: str) -> type:
    """A subclass whose calls have a scope and a named output. The path is in the class, hence in the structure of the
    tree: it survives jit and scan, and what was compiled for another path is not used."""
    if not path or not any("__call__" in vars(base) for base in cls.__mro__) or cls in _ORIGINAL:
        return cls

    def name(keys: tuple[Any, ...], leaf: Any) -> Any:
        part = jax.tree_util.keystr(keys, simple=True, separator=".")
        return mark(leaf, f"={path}:{part}" if part else f"={path}") if eqx.is_array(leaf) else leaf

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with jax.named_scope(_SCOPE + urllib.parse.quote(path, safe="")):
            output = cls.__call__(self, *args, **kwargs)
        return jax.tree_util.tree_map_with_path(name, output)

    members = {"__call__": call, "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    made = type(cls)(cls.__name__, (cls,), members)
    _ORIGINAL[made] = cls
    return made
