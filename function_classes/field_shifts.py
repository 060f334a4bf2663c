"""Shifts that are other members of the same class: one field changed (Garg et al. 2022; Bhattamishra et al. 2023)."""

import dataclasses
from collections.abc import Callable
from typing import Any

from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import setting
from function_classes.shifts import Shift
from function_classes.spaces import Nothing, Real
from function_classes.wrapped import Wrapped


@Shift.registry.add("label-noise", papers=("garg-2022",))
class LabelNoise(Shift):
    """The same class with noise_std = value."""

    value: float = setting(1.0, "standard deviation of the label noise", at_least=0)

    def apply(self, task: FunctionClass) -> FunctionClass:
        if not isinstance(task.y_space, Real) and not isinstance(task.x_space, Nothing):
            raise NotAvailable(
                f"{self.name} adds numbers to labels, those of {task.name} are {task.y_space.kind}; "
                "randomized-labels replaces some of them"
            )
        return with_field(self, task, ("noise_std",), lambda _: self.value)


@Shift.registry.add("scale-task", papers=("garg-2022",))
class ScaleTask(Shift):
    """The same class with its function multiplied by value."""

    value: float = setting(2.0, "factor on the function", above=0)

    def apply(self, task: FunctionClass) -> FunctionClass:
        scaled = with_field(self, task, ("weight_std", "scale"), lambda old: old * self.value)
        try:
            return with_field(self, scaled, ("weight_mean",), lambda old: old * self.value)
        except NotAvailable:
            return scaled


@Shift.registry.add("input-density", papers=("bhattamishra-2023",))
class InputDensity(Shift):
    """The same class with P(+1) = value in every input coordinate that is left free."""

    value: float = setting(0.3, "probability of +1 in an input coordinate", above=0, below=1)

    def apply(self, task: FunctionClass) -> FunctionClass:
        return with_field(self, task, ("plus", "density"), lambda _: self.value)


@Shift.registry.add("literal-density", papers=("bhattamishra-2023",))
class LiteralDensity(Shift):
    """The same class with every variable in a conjunction with probability value. Classes with a fixed number of
    literals have it as a field."""

    value: float = setting(0.5, "probability that a variable occurs in a conjunction", above=0, below=1)

    def apply(self, task: FunctionClass) -> FunctionClass:
        return with_field(self, task, ("literal",), lambda _: self.value)


@Shift.registry.add("forced-inputs", papers=("bhattamishra-2023",))
class ForcedInputs(Shift):
    """The same class with a share value of the inputs made to satisfy a conjunction; 0 leaves all inputs free, which
    then say nothing about the function."""

    value: float = setting(0.0, "probability that an input is made to satisfy a conjunction", at_least=0, below=1)

    def apply(self, task: FunctionClass) -> FunctionClass:
        return with_field(self, task, ("forced",), lambda _: self.value)


def with_field(
    shift: Shift, task: FunctionClass, names: tuple[str, ...], change: Callable[[Any], Any]
) -> FunctionClass:
    """The task with the first of `names` that it has as a field changed; a wrapper stays around the changed class."""
    fields = {field.name for field in dataclasses.fields(task)}
    for name in names:
        if name in fields:
            return dataclasses.replace(task, **{name: change(getattr(task, name))})
    if isinstance(task, Wrapped):
        return dataclasses.replace(task, base=with_field(shift, task.base, names, change))
    raise NotAvailable(f"{shift.name} changes {' or '.join(names)}, which {task.name} does not have")
