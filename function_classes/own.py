"""What a function class of someone's own draws, against what it says that it draws.

Shapes, types and values of a few prompts, in the words of what is wrong: the mistake is then named before training,
where it can be mended, and not after it, as an error of something that the class never heard of.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from function_classes.problems import NotAvailable
from function_classes.spaces import Nothing, Signs, Space, Symbols

PROMPTS = 8
"""Drawn to look at values; shapes need none."""


def shapes(task: Any) -> None:
    """Raises NotAvailable where the prompts of a class do not have the shapes and types of its spaces. Errors that its
    own methods raise are not caught: they say where they come from."""
    from function_classes.base import Prompt

    name = task.name or type(task).__name__
    prompt = jax.eval_shape(task.sample, jax.random.key(0))
    if not isinstance(prompt, Prompt):
        raise NotAvailable(f"task: {name}.sample_prompt returned a {type(prompt).__name__}, expected a Prompt(xs, ys)")
    points, steps = task.points, () if task.steps == 1 else (task.steps,)
    inputs = (0,) if isinstance(task.x_space, Nothing) else task.x_space.shape
    for word, array, space, wanted in (
        ("xs", prompt.xs, task.x_space, (points, *inputs)),
        ("ys", prompt.ys, task.y_space, (points, *steps, *task.y_space.shape)),
    ):
        if not array.shape or array.shape[0] != points:
            many = "no" if not array.shape else "more" if array.shape[0] > points else "fewer"
            raise NotAvailable(
                f"task: {name} draws {word} of shape {array.shape}: {many} positions "
                f"{'' if many == 'no' else f'than its points, {points}'}".rstrip()
            )
        if array.shape != wanted:
            shown = "no inputs, (P, 0)" if isinstance(space, Nothing) else f"{space} each"
            flat = f"; write {word}[..., 0]" if array.shape == (*wanted, 1) else ""
            raise NotAvailable(
                f"task: {name} draws {word} of shape {array.shape}, and its {word[0]}_space says {shown}: "
                f"expected {wanted}{flat}"
            )
        whole = jnp.issubdtype(array.dtype, jnp.integer)
        if isinstance(space, Symbols) and not whole:
            said = f"its {word[0]}_space says {space}: whole numbers, int32"
            raise NotAvailable(f"task: {name} draws {word} as {array.dtype}, and {said}")
        if not isinstance(space, Symbols | Nothing) and not whole and array.dtype not in (np.float32, np.float64):
            raise NotAvailable(f"task: {name} draws {word} as {array.dtype}, expected float32")


def values(task: Any) -> None:
    """As `shapes`, and raises NotAvailable where values are outside their spaces or not finite."""
    shapes(task)
    name = task.name or type(task).__name__
    prompts = task.batch(jax.random.key(0), PROMPTS)
    for word, array, space in (("xs", prompts.xs, task.x_space), ("ys", prompts.ys, task.y_space)):
        if array.size and (found := _outside(np.asarray(array), space)):
            raise NotAvailable(f"task: {name} draws {word} with {found}")
    for word, array in (("targets", prompts.targets), ("scored", prompts.scored)):
        if array is not None and not np.isfinite(np.asarray(array)).all():
            raise NotAvailable(f"task: {name} has {word} that are not finite")


def _outside(array: np.ndarray, space: Space) -> str | None:
    if not np.isfinite(array).all():
        worst = array[~np.isfinite(array)].ravel()[0]
        return f"{worst} in {np.mean(~np.isfinite(array)):.2g} of all places; draw finite numbers"
    if isinstance(space, Symbols) and (array.min() < 0 or array.max() >= space.n):
        odd = array.min() if array.min() < 0 else array.max()
        way = f"say Symbols({int(array.max()) + 1}), or shift them"
        return f"the symbol {odd}, and their space has 0 to {space.n - 1}; {way}"
    if isinstance(space, Signs) and not np.isin(array, (-1, 1)).all():
        bits = np.isin(array, (0, 1)).all()
        found = sorted({float(v) for v in np.unique(array)[:4]})
        return f"the values {', '.join(f'{v:g}' for v in found)}, and signs are -1 and 1" + (
            "; write 2 * y - 1, or say Symbols(2)" if bits else ""
        )
    return None
