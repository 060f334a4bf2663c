"""Checks of what people pass to the methods of a class: keys, numbers, prompts. On shapes and types alone, so that they
cost nothing in compiled code. A refusal says what was given, what is expected and how to get there, in one sentence."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from function_classes.problems import NotAvailable
from function_classes.spaces import Nothing, Space, Symbols

FLOATS = (np.float32, np.float64)


def key(value: Any, name: str = "key") -> None:
    """One random key, of the new kind or the old."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if shape:
            raise NotAvailable(
                f"{name}: expected one random key, got {' x '.join(map(str, shape))} keys; say which one"
            )
    elif dtype != np.uint32 or shape is None or len(shape) != 1:
        whole = isinstance(value, int) and not isinstance(value, bool)
        raise NotAvailable(
            f"{name}: expected a random key, got {say(value)}; write jax.random.key({value if whole else 0})"
        )


def count(value: Any, name: str, at_least: int = 1) -> int:
    """A whole number of at least `at_least`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < at_least:
        raise NotAvailable(f"{name}: expected a whole number of at least {at_least}, got {say(value)}")
    return int(value)


def prompt(value: Any, reader: str, x: Space, y: Space, steps: int) -> None:
    """One prompt with inputs and outputs of these spaces; `reader` is who wants it."""
    arrays(value, reader)
    xs, ys = value.xs.shape, value.ys.shape
    inputs, lead = (0,) if isinstance(x, Nothing) else x.shape, 1 if steps == 1 else 2
    if len(ys) == lead + len(y.shape) + 1 and len(xs) == len(inputs) + 2:
        raise batch(reader, ys[0])
    if xs[1:] != inputs:
        reads = "a stream without inputs" if isinstance(x, Nothing) else f"x of {x}"
        raise NotAvailable(
            f"prompt: {reader} reads {reads}, and this prompt has xs of shape {xs}; draw it with task.sample(key)"
        )
    if len(ys) != lead + len(y.shape) or ys[lead:] != y.shape or (steps > 1 and ys[1] != steps):
        shape = ", ".join(map(str, ("P", *((steps,) if steps > 1 else ()), *y.shape)))
        shown = f"({shape},)" if "," not in shape else f"({shape})"
        raise NotAvailable(f"prompt: {reader} reads ys of shape {shown}, that is {y} each, got {ys}")
    if xs[0] != ys[0]:
        raise NotAvailable(f"prompt: {xs[0]} inputs and {ys[0]} outputs; an output belongs to every input")
    if isinstance(y, Symbols) and not jnp.issubdtype(value.ys.dtype, jnp.integer):
        raise NotAvailable(
            f"prompt: ys are {value.ys.dtype}, and {reader} reads symbols, whole numbers from 0 to {y.n - 1}; "
            "write ys.astype('int32')"
        )


def latent(task: Any, value: Any) -> None:
    """A prompt that shows the task, where the class draws one."""
    if value.latent is None and jax.tree.leaves(jax.eval_shape(task.sample_latent, jax.random.key(0))):
        raise NotAvailable(f"prompt: the oracle of {task.name} knows the task, and this prompt hides it (latent=None)")


def arrays(value: Any, reader: str) -> None:
    """A prompt made of arrays that can be computed with."""
    from function_classes.base import Prompt

    if not isinstance(value, Prompt):
        shape = f" of shape {value.shape}" if hasattr(value, "shape") else ""
        raise NotAvailable(
            f"prompt: {reader} expected a Prompt, got {type(value).__name__}{shape}; "
            "draw one with task.sample(key), or write Prompt(xs, ys)"
        )
    for name in ("xs", "ys"):
        array = getattr(value, name)
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise NotAvailable(
                f"prompt: {name} is a {type(array).__name__}, expected an array; write jax.numpy.asarray(...)"
            )
        if array.dtype not in FLOATS and not jnp.issubdtype(array.dtype, jnp.integer) and array.dtype != bool:
            raise NotAvailable(f"prompt: {name} are {array.dtype}, expected float32; write {name}.astype('float32')")


def batch(reader: str, size: int) -> NotAvailable:
    return NotAvailable(
        f"prompt: {reader} reads one prompt, and this is a batch of {size} prompts; write jax.vmap(predictor)(batch)"
    )


def reading_prompts(method: Callable) -> Callable:
    """A method of a function class that takes a prompt, with the check before it."""

    @functools.wraps(method)
    def checked(self: Any, prompt_: Any) -> Any:
        prompt(prompt_, self.name or type(self).__name__, self.x_space, self.y_space, self.steps)
        return method(self, prompt_)

    return checked


def say(value: Any) -> str:
    """A value in a message: itself where that is short."""
    shape = getattr(value, "shape", None)
    if shape:
        return f"an array of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__}"
