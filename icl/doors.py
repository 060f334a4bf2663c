"""Checks of what enters at the public doors: predictors, classes, keys, numbers of prompts.

Each says what was given, what is expected and how to get there, in one sentence. They look at shapes, once, before
anything is compiled. What came with this package is taken at its word about the spaces it reads; of anything else the
predictions on one prompt are looked at.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from function_classes import sources
from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor
from function_classes.doors import arrays as arrays
from function_classes.doors import batch as batch
from function_classes.doors import count as count
from function_classes.doors import key as key
from function_classes.doors import say
from function_classes.fields import ConfigError
from function_classes.spaces import Real, Signs

FEWEST = 2
"""Prompts of an evaluation: one has no spread, hence no interval."""


def task(value: Any, name: str = "task") -> FunctionClass:
    """A function class, with its sizes."""
    if isinstance(value, FunctionClass):
        return value
    if value is None:
        raise NotAvailable(f"{name}: missing; give {name}=function_classes.get('linear-regression')")
    if isinstance(value, str):
        raise NotAvailable(
            f"{name}: expected a function class, got the text {value!r}; function_classes.get({value!r})"
        )
    if _is_run(value):
        raise NotAvailable(f"{name}: expected a function class, got a run; write run.task")
    made = f"; make one, {value.__name__}()" if isinstance(value, type) else ""
    raise NotAvailable(
        f"{name}: expected a function class such as function_classes.get('linear-regression'), got {_kind(value)}{made}"
    )


def of_run(subject: Any, given: Any) -> FunctionClass:
    """The class that a subject is measured on: the one that was given, else that of the run."""
    return task(subject.task if given is None and _is_run(subject) else given)


def predictor(value: Any, on: FunctionClass, name: str = "predictor") -> Predictor:
    """A predictor of prompts of a class; a run stands for its model."""
    value = callable_of(value, name)
    mine = _spaces(value)
    if mine is not None and not all(map(_alike, mine, (on.x_space, on.y_space, on.steps))):
        raise NotAvailable(
            f"{name}: reads {_words(*mine)}, and prompts of {on.name} have {_words(on.x_space, on.y_space, on.steps)}"
        )
    owner = getattr(value, "__self__", value)
    if not sources.is_ours(owner if hasattr(owner, "__qualname__") else type(owner)):
        _look(value, on, name)
    return value


def callable_of(value: Any, name: str = "predictor") -> Any:
    """Something that can be called on prompts: the model of a run, and anything else that is no other kind of thing."""
    if _is_run(value):
        return value.model
    if isinstance(value, FunctionClass):
        raise NotAvailable(f"{name}: a function class is not a predictor: pass {value.name}.bayes")
    how = "give a function Prompt -> Prediction, a module, a reference, run.model or task.bayes"
    if isinstance(value, str):
        how = f"icl.references.get({value!r}), or run.model of icl.load({value!r})"
        raise NotAvailable(f"{name}: expected a predictor, got the text {value!r}; {how}")
    if isinstance(value, type):
        how = f"make one, {value.__name__}(...)"
        raise NotAvailable(f"{name}: expected a predictor, got the class {value.__name__}; {how}")
    if type(value).__name__ == "Config":
        raise NotAvailable(f"{name}: expected a predictor, got a configuration; train it, run = icl.train(config)")
    if not callable(value):
        raise NotAvailable(f"{name}: expected a predictor, got {_kind(value)}; {how}")
    if isinstance(value, eqx.Module):
        for path, leaf in jax.tree_util.tree_leaves_with_path(value):
            known = isinstance(leaf, jax.Array | np.ndarray) and not isinstance(leaf, jax.core.Tracer)
            if known and _is_nan(leaf):
                place = jax.tree_util.keystr(path).lstrip(".")
                raise NotAvailable(f"{name}: its {place} is NaN, so that all its predictions are; train it anew")
    return value


def predictors(value: Any) -> dict[str, Any]:
    """Predictors by name, each alone or as several seeds; runs stand for their models."""
    if not isinstance(value, Mapping):
        raise NotAvailable(f"predictors: expected them by name, {{'name': predictor}}, got {_kind(value)}")
    if not value:
        raise NotAvailable("predictors: expected at least one predictor, {'name': predictor}, got none")
    for name, one in value.items():
        if not isinstance(name, str):
            raise NotAvailable(f"predictors: names are texts, got {say(name)}; write {{'{name}': predictor}}")
        if isinstance(one, Sequence) and not isinstance(one, str) and not len(one):
            raise NotAvailable(f"{name}: expected a predictor or several seeds of one, got none")
    return dict(value)


def _look(value: Predictor, on: FunctionClass, name: str) -> None:
    """What a predictor makes of one prompt, from shapes."""
    shown = jax.eval_shape(on.sample, jax.random.key(0))
    where = f"one prompt of {on.name or type(on).__name__} (xs {shown.xs.shape}, ys {shown.ys.shape})"
    try:
        # Only an oracle is shown the task.
        found = eqx.filter_eval_shape(lambda prompt: value(prompt.hide()), shown)
    except (NotAvailable, ConfigError):
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise NotAvailable(f"{name}: raised {type(error).__name__} on {where}: {said}") from error
    if not isinstance(found, Prediction):
        raise NotAvailable(
            f"{name}: returned {_made(found)} for {where}, expected a Prediction; return Prediction(mean=...), or "
            "Prediction(log_probs=...) for symbols and signs"
        )
    lead = shown.ys.shape[: 1 if on.steps == 1 else 2]
    wanted = {"mean": lead + on.y_space.shape}
    if isinstance(on.y_space, Real):
        wanted["mean"] = (shown.ys if shown.targets is None else shown.targets).shape
    else:
        choices = 2 if isinstance(on.y_space, Signs) else on.y_space.features
        wanted["log_probs"] = (*lead, *on.y_space.shape, choices)
        if not isinstance(on.y_space, Signs):
            wanted["mean"] = wanted["log_probs"]
    given = {part: getattr(found, part) for part in wanted if getattr(found, part) is not None}
    if not given:
        raise NotAvailable(f"{name}: returned a Prediction without {' or '.join(wanted)} for {where}; say one of them")
    for part, array in given.items():
        shape, dtype = tuple(np.shape(array)), getattr(array, "dtype", None)
        if shape != wanted[part]:
            raise NotAvailable(
                f"{name}: returned a {part} of shape {shape} for {where}, expected {wanted[part]}: one for each of "
                "its positions, predicted from what comes before"
            )
        if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
            raise NotAvailable(f"{name}: returned a {part} of {dtype} numbers for {where}, expected float32")


def _spaces(value: Any) -> tuple[Any, Any, int] | None:
    """The spaces that a predictor of ours says it reads."""
    owner = getattr(value, "__self__", None) or getattr(value, "task", None)
    if isinstance(owner, FunctionClass):
        return owner.x_space, owner.y_space, owner.steps
    signature = getattr(value, "signature", None)
    return None if signature is None or not hasattr(signature, "steps") else tuple(signature)


def _alike(mine: Any, theirs: Any) -> bool:
    """Whether values of one space can be read as those of another: signs are numbers."""
    numbers = isinstance(mine, Real | Signs) and isinstance(theirs, Real | Signs)
    return mine == theirs or (numbers and mine.shape == theirs.shape)


def _words(x: Any, y: Any, steps: int) -> str:
    return f"x {x}, {f'{steps} targets' if steps > 1 else 'y'} {y}"


def _is_run(value: Any) -> bool:
    return hasattr(value, "directory") and hasattr(type(value), "model")


def _is_nan(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating) and bool(np.isnan(np.asarray(leaf, np.float32)).any())


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _made(value: Any) -> str:
    return f"an array of shape {tuple(value.shape)}" if hasattr(value, "shape") else f"a {type(value).__name__}"
