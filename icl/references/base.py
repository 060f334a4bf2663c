"""What a reference is: a predictor with fields, a reason where it cannot be used, and numbers that may need data.

    w_k from x_0..x_{k-1}, y_0..y_{k-1}      prediction k = w_k' x_k

holds for every reference here that is linear in a w; those offer `weights(prompt) -> (P, D)`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes import doors
from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from function_classes.fields import Fields, as_data
from function_classes.plain import dump
from function_classes.registry import Registry
from function_classes.spaces import Nothing, Real, Signs, Symbols
from icl.programs import predict

HIGHEST = jax.lax.Precision.HIGHEST

Path = Callable[[Sequence[float]], list[Prediction]]
"""Values of a family's parameter to the predictions of those members on one batch of prompts."""


class Reference(Fields):
    """A predictor whose fields are its configuration. Registering it puts it into tables, identification and the
    contract tests."""

    registry: ClassVar[Registry] = Registry("reference", "icl.references", "icl.references")
    cost: ClassVar[Literal["cheap", "slow"]] = "cheap"
    # What prompts it can be called on, where that does not depend on the class.
    reads: ClassVar[Literal["anything", "vectors", "stream"]] = "anything"
    # Contract tests demand that predictions respond to what may be used, unless the reference says otherwise.
    ignores_prompt: ClassVar[bool] = False
    # They demand derivatives too, unless it says that it moves by jumps (a choice among finitely many, say).
    jumps: ClassVar[bool] = False
    # A continuous family names the field that runs through it; {} in the words takes its value.
    family_parameter: ClassVar[str | None] = None
    family_words: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__call__" in cls.__dict__:
            type.__setattr__(cls, "__call__", _reading_prompts(cls.__dict__["__call__"]))

    @classmethod
    def example(cls, task: FunctionClass) -> "Reference":
        """One member, used to ask whether the family applies and by the contract tests."""
        return cls()

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple["Reference", ...]:
        """The members that belong in the standard table about `task`."""
        return ()

    @classmethod
    def families(cls, task: FunctionClass) -> tuple["Reference", ...]:
        """One member of each continuous family; `family_parameter` runs, the other fields stay."""
        return () if cls.family_parameter is None else (cls.example(task),)

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        """The logarithmic grid on which `icl.identify` looks for the best member."""
        return ()

    def family_path(self, task: FunctionClass, key: PRNGKeyArray, prompts: Prompt) -> Path:
        """Predictions of members of the family on a batch of prompts."""
        parameter = self.family_parameter
        if parameter is None:
            raise NotAvailable(f"{self.name} has no continuous family")

        def path(values: Sequence[float]) -> list[Prediction]:
            fields = {name: value for name, value in dump(self).items() if name != "name"}
            members = [type(self)(**fields | {parameter: value}) for value in values]
            return [predict(as_data(member.calibrate(task, key)), prompts) for member in members]

        return path

    @property
    def label(self) -> str:
        """A short text for tables."""
        return self.name

    @property
    def found(self) -> dict[str, Any]:
        """What `calibrate` found, as plain numbers and lists."""
        return {}

    def applies(self, task: FunctionClass) -> str | None:
        """None, or the sentence why this reference cannot be used on `task`."""
        return None

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        """A predictor with every number settled, from `prompts` prompts of its own where data are needed. Settled
        numbers are arrays, so that other numbers do not compile again. Its `found` says what was settled."""
        return self

    def __call__(self, prompt: Prompt) -> Prediction:
        """The prediction at every position. Raises NotAvailable where `calibrate` has to come first."""
        raise NotImplementedError

    def unresolved(self, field: str) -> NotAvailable:
        """The error of a reference asked to predict before a number is known."""
        value = getattr(self, field)
        return NotAvailable(
            f"{self.name} with {field}={value!r} needs data: call .calibrate(task, key) first, or give {field} itself"
        )


def check_prompt(prompt: Any, reader: str, reads: str) -> None:
    """Raises NotAvailable for what is no prompt, a batch of them, or a kind that a reference does not read."""
    doors.arrays(prompt, reader)
    xs, ys = prompt.xs.shape, prompt.ys.shape
    if reads == "anything":
        return
    stream, inputs = xs[-1:] == (0,), 1 if reads == "vectors" else 0
    if len(ys) == 2 and len(xs) == 3 and xs[:2] == ys[:2]:
        raise doors.batch(reader, ys[0])
    if stream is not (reads == "stream") or len(xs) != 2 or len(ys) != 1:
        wanted = "vectors x and one y each: xs (P, D), ys (P,)" if inputs else "a stream: xs (P, 0), ys (P,)"
        raise NotAvailable(
            f"prompt: {reader} reads {wanted}, and this prompt has xs of shape {xs} and ys of shape {ys}"
        )
    if xs[0] != ys[0]:
        raise NotAvailable(f"prompt: {xs[0]} inputs and {ys[0]} outputs; an output belongs to every input")


def _reading_prompts(method: Callable) -> Callable:
    @functools.wraps(method)
    def checked(self: Any, prompt: Prompt) -> Prediction:
        check_prompt(prompt, self.name, self.reads)
        return method(self, prompt)

    return checked


class LinearPredictor(eqx.Module):
    """Predicts w_k' x_k. `weights` gives all w_k at once."""

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        raise NotImplementedError

    def means(self, prompt: Prompt) -> Float[Array, "P"]:
        """w_k' x_k at every position of the prompt."""
        return jnp.sum(self.weights(prompt) * prompt.xs.astype(jnp.float32), -1)

    def __call__(self, prompt: Prompt) -> Prediction:
        check_prompt(prompt, getattr(self, "name", type(self).__name__), "vectors")
        return Prediction(mean=self.means(prompt))

    def predict_at(self, prompt: Prompt, k: Int[Array, ""] | int, xs: Float[Array, "N D"]) -> Prediction:
        """Predictions at the inputs `xs` after the first k examples of the prompt."""
        return Prediction(mean=jnp.matmul(xs.astype(jnp.float32), self.weights(prompt)[k], precision=HIGHEST))


class LinearReference(LinearPredictor, Reference):
    """A reference on vectors x with one number or sign y per example."""

    def applies(self, task: FunctionClass) -> str | None:
        return vectors_to_numbers(self.name, task)


def vectors_to_numbers(name: str, task: FunctionClass) -> str | None:
    """None where inputs are vectors and every example has one number or one sign as output, else the reason."""
    if isinstance(task.x_space, Nothing):
        return f"{name} needs inputs, {task.name} is a stream"
    if not isinstance(task.x_space, Real | Signs) or len(task.x_space.shape) != 1:
        return f"{name} needs vectors as inputs, those of {task.name} are {task.x_space}"
    if task.steps > 1:
        return f"{name} predicts one target per example, {task.name} reveals {task.steps}"
    if not isinstance(task.y_space, Real | Signs) or task.y_space.shape:
        return f"{name} predicts one number per example, outputs of {task.name} are {task.y_space}"
    return None


def vectors_to_labels(name: str, task: FunctionClass) -> str | None:
    """None where inputs are vectors and every example has one sign or symbol as output, else the reason."""
    if isinstance(task.x_space, Nothing):
        return f"{name} needs inputs, {task.name} is a stream"
    if not isinstance(task.x_space, Real | Signs) or len(task.x_space.shape) != 1:
        return f"{name} needs vectors as inputs, those of {task.name} are {task.x_space}"
    if task.steps > 1:
        return f"{name} predicts one label per example, {task.name} reveals {task.steps}"
    if not isinstance(task.y_space, Signs | Symbols) or task.y_space.shape:
        return f"{name} predicts a sign or a symbol per example, outputs of {task.name} are {task.y_space}"
    return None


def stream_of_symbols(name: str, task: FunctionClass) -> str | None:
    """None where a prompt is a sequence of symbols without inputs, else the reason."""
    if not isinstance(task.x_space, Nothing):
        return f"{name} predicts the next symbol of a stream, {task.name} has inputs"
    if task.steps > 1 or not isinstance(task.y_space, Symbols):
        return f"{name} predicts one symbol at a time, {task.name} has outputs {task.y_space} in {task.steps} steps"
    return None


def plain(values: Array | np.ndarray) -> float | list:
    """A float, or nested lists of floats, with six digits: what is stored."""
    rounded = [float(f"{float(v):.6g}") for v in np.ravel(values)]
    return rounded[0] if np.ndim(values) == 0 else rounded
