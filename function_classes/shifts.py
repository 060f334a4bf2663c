"""Changes of the law a prompt comes from: other inputs, other noise, larger tasks (Garg et al. 2022, section 4).

    shifts.parse("scale-inputs=2").apply(task)

gives a function class with its own `bayes`, exact under the shifted law; `task.bayes` on the same prompts is Bayes
under the training law. The two are different floors.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import ConfigError, Fields, Problem, setting
from function_classes.plain import parse as parse_value
from function_classes.posteriors import HIGHEST
from function_classes.registry import Registry
from function_classes.spaces import Nothing, Real
from function_classes.wrapped import Wrapped

# Folded into the key of the inputs, for what a shift draws beside them.
SHIFT = 0x5F


class Shift(Fields):
    """One change of law, with one number `value` that says how much."""

    registry: ClassVar[Registry] = Registry("shift", "function_classes", "icl.shifts")

    def apply(self, task: FunctionClass) -> FunctionClass:
        """The shifted class. Raises NotAvailable where the change makes no sense."""
        raise NotImplementedError


class InputShift(Shift):
    """x -> transform(x), before the function is evaluated: y = f(transform(x)) + noise.

    `key` is for what is drawn once a prompt, such as a rotation. Where `query_alone`, the last example is a query whose
    law differs from that of the examples before it, and it alone is scored.
    """

    query_alone: ClassVar[bool] = False

    def transform(self, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        raise NotImplementedError

    def refuses(self, task: FunctionClass) -> str:
        """Why these inputs make no sense for a class whose inputs can be changed; empty where they do."""
        return ""

    def apply(self, task: FunctionClass) -> FunctionClass:
        if task.mixed:
            return task.with_mixed(tuple(self.apply(one) for one in task.mixed))
        reason = _fixed_inputs(task) or self.refuses(task)
        if reason:
            raise NotAvailable(f"{self.name} cannot change {task.name}: {reason}")
        return ShiftedInputs(points=task.points, base=task, shift=self)


@Shift.registry.add("scale-inputs", papers=("garg-2022",))
class ScaleInputs(InputShift):
    """x -> value x."""

    value: float = setting(2.0, "factor on every coordinate of x", above=0)

    def transform(self, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        return self.value * xs


@Shift.registry.add("mean-shift")
class MeanShift(InputShift):
    """x -> x + value 1."""

    value: float = setting(1.0, "added to every coordinate of x")

    def transform(self, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        return xs + self.value


@Shift.registry.add("skewed-inputs", papers=("garg-2022",))
class SkewedInputs(InputShift):
    """x_i -> sqrt(lambda_i) x_i with lambda_i proportional to i^-value and mean 1: isotropic inputs keep E|x|^2 = dim.

    Garg et al. have value 2, and rotate afterwards; an isotropic prior over tasks does not see the rotation.
    """

    value: float = setting(2.0, "how fast the eigenvalues of the covariance decay", at_least=0)

    def refuses(self, task: FunctionClass) -> str:
        return needs_two_coordinates(task)

    def transform(self, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        spectrum = jnp.arange(1, xs.shape[-1] + 1, dtype=jnp.float32) ** -self.value
        return jnp.sqrt(spectrum / jnp.mean(spectrum))[None, :] * xs


@Shift.registry.add("subspace", papers=("garg-2022",))
class Subspace(InputShift):
    """x -> sqrt(dim / kept) Q Q'x, Q an orthonormal basis of a random subspace of `kept` dimensions, another one for
    every prompt (the papers' code draws one for all). Isotropic inputs keep E|x|^2 = dim."""

    value: float = setting(0.5, "share of the dimensions that the inputs of a prompt lie in", above=0, at_most=1)

    def refuses(self, task: FunctionClass) -> str:
        return needs_two_coordinates(task)

    def transform(self, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        dim = xs.shape[-1]
        basis, _ = jnp.linalg.qr(jax.random.normal(key, (dim, dim)))
        kept = jnp.maximum(jnp.round(self.value * dim), 1.0)
        inside = jnp.arange(dim, dtype=xs.dtype) < kept
        along = jnp.where(inside[None, :], jnp.matmul(xs, basis, precision=HIGHEST), 0.0)
        return jnp.sqrt(dim / kept) * jnp.matmul(along, basis.T, precision=HIGHEST)


def needs_two_coordinates(task: FunctionClass) -> str:
    """Empty, or why a shift of directions means nothing for a class with one input coordinate."""
    return "at least two input coordinates are needed, it has 1; try scale-inputs" if task.x_space.shape == (1,) else ""


def _fixed_inputs(task: FunctionClass) -> str:
    """Why the inputs of this class cannot be transformed; empty where they can."""
    if isinstance(task.x_space, Nothing):
        return "it is a stream and has no inputs"
    if not isinstance(task.x_space, Real):
        return f"its inputs are {task.x_space.kind}, not real numbers"
    if type(task).sample_prompt is not FunctionClass.sample_prompt:
        return "it draws inputs and outputs together"
    if type(task).log_input_density is not FunctionClass.log_input_density:
        return "its inputs carry evidence about the task, which a changed law of inputs would turn into other evidence"
    return ""


@FunctionClass.registry.add("shifted-inputs", papers=("garg-2022",))
class ShiftedInputs(Wrapped):
    """Any class x -> y whose inputs carry no evidence about the task, with its inputs transformed.

    Given the inputs nothing else changes, so the posterior of the base class, conditioned on the shifted inputs, is
    exact for the shifted law wherever it is exact for its own. `points` is also the base's.

    >>> from function_classes.linear import LinearRegression
    >>> task = parse("scale-inputs=3").apply(LinearRegression(dim=2, points=4))
    >>> import jax
    >>> key = jax.random.key(0)
    >>> print(bool(jnp.all(task.sample(key).xs == 3 * task.base.sample(key).xs)))
    True
    """

    lesson = "Conditioned on other inputs the same posterior is exact; learners with a tuned rate are not."

    shift: Shift = setting(ScaleInputs(), "what happens to every input")

    def problems(self):
        if not isinstance(self.shift, InputShift):
            yield Problem("shift", f"{self.shift.name} does not act on inputs")
        reason = _fixed_inputs(self.base) or (
            self.shift.refuses(self.base) if isinstance(self.shift, InputShift) else ""
        )
        if reason:
            yield Problem("base", f"the inputs of {self.base.name} cannot be changed: {reason}")

    @property
    def input_law(self) -> Any:
        return self.shift, self.base.input_law

    @property
    def bayes_kind(self) -> BayesKind:
        return self.base.bayes_kind

    @property
    def exchangeable(self) -> bool:
        return self.base.exchangeable and not (isinstance(self.shift, InputShift) and self.shift.query_alone)

    def sample_inputs(self, latent: PyTree, key: PRNGKeyArray) -> Float[Array, "P D"]:
        if not isinstance(self.shift, InputShift):
            raise NotAvailable(f"{self.shift.name} does not act on inputs")
        return self.shift.transform(self.base.sample_inputs(latent, key), jax.random.fold_in(key, SHIFT))

    def sample_outputs(self, latent: PyTree, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Shaped[Array, "P *y"]:
        return self.base.sample_outputs(latent, xs, key)

    def show(self, latent: PyTree, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Prompt:
        prompt = self.base.show(latent, xs, key)
        if not (isinstance(self.shift, InputShift) and self.shift.query_alone):
            return prompt
        shape = (prompt.points,) if self.steps == 1 else (prompt.points, self.steps)
        weights = jnp.ones(shape) if prompt.scored is None else prompt.scored
        return Prompt(prompt.xs, prompt.ys, prompt.latent, prompt.targets, weights.at[:-1].set(0.0))

    def bayes(self, prompt: Prompt) -> Prediction:
        return self.base.bayes(prompt)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P *s"]:
        return self.base.log_predictive(prompt)


def names() -> tuple[str, ...]:
    """The registered shifts."""
    return Shift.registry.names()


def parse(text: str) -> Shift:
    """A shift from "name=value", or from "name" alone with its default value. Raises ConfigError.

    >>> parse("mean-shift=0.5")
    MeanShift(value=0.5)
    """
    name, given, value = text.partition("=")
    try:
        return Shift.registry.get(name.strip(), **({"value": parse_value(value.strip())} if given else {}))
    except ConfigError as error:
        raise error.under("shift") from None
