"""Shifts that are other members of the same class: one field changed (Garg et al. 2022; Bhattamishra et al. 2023)."""

import dataclasses
from typing import Any, ClassVar

from function_classes.base import FunctionClass, NotAvailable
from function_classes.fields import setting
from function_classes.shifts import Shift
from function_classes.spaces import Nothing, Real
from function_classes.wrapped import Wrapped


class FieldShift(Shift):
    """The same class with one field changed, the first of `changes` that it has; inside a wrapper that of the changed
    class, in a mixture that of every class. Fields that a class does not read as it is set are refused."""

    changes: ClassVar[tuple[str, ...]] = ()
    value: float = setting(0.0, "what stands in the field instead")

    def new(self, old: Any) -> Any:
        """What stands in the field instead."""
        return self.value

    def apply(self, task: FunctionClass) -> FunctionClass:
        for name in self.changes:
            if name in task.unread:
                raise NotAvailable(f"{self.name} changes {name}, which makes no difference to {task.name} as it is set")
        if task.mixed:
            return task.with_mixed(tuple(self.apply(one) for one in task.mixed))
        return self.change(task)

    def change(self, task: FunctionClass) -> FunctionClass:
        """Of one class."""
        own = [name for name in self.changes if _has(task, name)]
        if own:
            return dataclasses.replace(task, **{own[0]: self.new(getattr(task, own[0]))})
        if isinstance(task, Wrapped):
            return dataclasses.replace(task, base=self.apply(task.base))
        raise NotAvailable(f"{self.name} changes {' or '.join(self.changes)}, which {task.name} does not have")


@Shift.registry.add("label-noise", papers=("garg-2022",))
class LabelNoise(FieldShift):
    """The same class with noise_std = value."""

    changes = ("noise_std",)
    value: float = setting(1.0, "standard deviation of the label noise", at_least=0)

    def change(self, task: FunctionClass) -> FunctionClass:
        if not isinstance(task.y_space, Real) and not isinstance(task.x_space, Nothing):
            raise NotAvailable(
                f"{self.name} adds numbers to labels, those of {task.name} are {task.y_space.kind}; "
                "randomized-labels replaces some of them"
            )
        return super().change(task)


@Shift.registry.add("scale-task", papers=("garg-2022",))
class ScaleTask(FieldShift):
    """The same class with its function multiplied by value."""

    changes = ("weight_std", "scale")
    value: float = setting(2.0, "factor on the function", above=0)

    def new(self, old: Any) -> Any:
        return old * self.value

    def change(self, task: FunctionClass) -> FunctionClass:
        scaled: Any = super().change(task)
        if not _has(scaled, "weight_mean"):
            return scaled
        return dataclasses.replace(scaled, weight_mean=self.new(scaled.weight_mean))


@Shift.registry.add("input-density", papers=("bhattamishra-2023",))
class InputDensity(FieldShift):
    """The same class with P(+1) = value in every input coordinate that is left free."""

    changes = ("plus", "density")
    value: float = setting(0.3, "probability of +1 in an input coordinate", above=0, below=1)


@Shift.registry.add("literal-density", papers=("bhattamishra-2023",))
class LiteralDensity(FieldShift):
    """The same class with every variable in a conjunction with probability value. Classes with a fixed number of
    literals have it as a field."""

    changes = ("literal",)
    value: float = setting(0.5, "probability that a variable occurs in a conjunction", above=0, below=1)


@Shift.registry.add("forced-inputs", papers=("bhattamishra-2023",))
class ForcedInputs(FieldShift):
    """The same class with a share value of the inputs made to satisfy a conjunction; 0 leaves all inputs free, which
    then say nothing about the function."""

    changes = ("forced",)
    value: float = setting(0.0, "probability that an input is made to satisfy a conjunction", at_least=0, below=1)


def _has(task: FunctionClass, name: str) -> bool:
    return name in {field.name for field in dataclasses.fields(task)}
