"""Mixtures of function classes: every prompt comes from one of several (Yadlowsky et al. 2023; Panwar et al. 2023)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Shaped

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.field_shifts import ScaleTask
from function_classes.fields import Problem, setting
from function_classes.inputs import InputLaw
from function_classes.linear import LinearRegression
from function_classes.linear_functions import improper, log_probabilities
from function_classes.mixtures import mixed_log_predictive, mixed_log_probs, mixed_moments, running_log_weights
from function_classes.spaces import Nothing, Real, Space
from function_classes.sparse import SparseLinear


class Draw(NamedTuple):
    """Which class the prompt comes from, and a task of every class, of which that one counts."""

    index: Int[Array, ""]
    tasks: tuple[PyTree, ...]


@FunctionClass.registry.add("mixture", papers=("yadlowsky-2023", "panwar-2023"))
class Mixture(FunctionClass):
    """A prompt is about class m with probability pi_m, drawn for every prompt. `points` is also the classes'.

    Bayes averages the classes' own Bayes predictors, weighted by what each said of the examples before: their log
    predictives, and the densities of inputs where those differ, x_k included. It is exact where theirs are.
    `unit_variance` scales every class to E[f^2] = 1 (its weight_std or scale; the noise stays), so that the size of the
    outputs does not give the class away.

    >>> task = Mixture(points=3, unit_variance=True)
    >>> prompt = task.sample(jax.random.key(0))
    >>> print(task.component_posterior(prompt)[0])
    [0.5 0.5]
    """

    lesson = "Averaging over classes by their evidence is Bayes; the class is known before its function is."

    points: int = setting(16, "positions in a prompt", at_least=1)
    classes: tuple[FunctionClass, ...] = setting(
        (LinearRegression(dim=8, noise_std=0.1), SparseLinear()), "the classes a prompt may come from"
    )
    probabilities: tuple[float, ...] = setting((), "of the classes; none given: all alike", above=0)
    unit_variance: bool = setting(False, "scale every class to E[f^2] = 1")

    def __check_init__(self):
        # As in `shifted-inputs`. Classes that were given other points are left for `problems` to report.
        if all(isinstance(one, FunctionClass) for one in self.classes) and not _other_points(self.classes, self.points):
            resized = tuple(dataclasses.replace(one, points=self.points) for one in self.classes)
            object.__setattr__(self, "classes", resized)

    def problems(self):
        if not self.classes:
            yield Problem("classes", "needs at least one class, e.g. linear-regression")
            return
        yield from improper(self.probabilities, len(self.classes))
        stated = _other_points(self.classes, self.points)
        if stated:
            words = f"have different points, {', '.join(map(str, stated))}, in a mixture of {self.points}"
            yield Problem("classes", f"{words}; leave them to the mixture")
        first = self.classes[0]
        for index, one in enumerate(self.classes):
            for what in ("x_space", "y_space", "steps"):
                ours, theirs = getattr(first, what), getattr(one, what)
                if ours != theirs:
                    yield Problem(f"classes.{index}", f"{one.name} has {what} {theirs}, {first.name} has {ours}")
            if one.bayes_kind.kind == "none":
                yield Problem(f"classes.{index}", f"{one.name} has no evidence to weigh: {one.bayes_kind.detail}")
            if self.unit_variance:
                yield from _unscalable(one, f"classes.{index}")
        reason = _incomparable_inputs(self.classes)
        if reason:
            yield Problem("classes", reason)

    @property
    def x_space(self) -> Space:
        return self.classes[0].x_space

    @property
    def y_space(self) -> Space:
        return self.classes[0].y_space

    @property
    def steps(self) -> int:
        return self.classes[0].steps

    @property
    def mixed(self) -> tuple[FunctionClass, ...]:
        return self.classes

    def with_mixed(self, classes: tuple[FunctionClass, ...]) -> "Mixture":
        return dataclasses.replace(self, classes=classes)

    @property
    def unread(self) -> frozenset[str]:
        return frozenset(("weight_std", "weight_mean", "scale") if self.unit_variance else ())

    @property
    def bayes_kind(self) -> BayesKind:
        order = ("exact", "quadrature", "monte-carlo", "none")
        worst = max((one.bayes_kind for one in self.classes), key=lambda kind: order.index(kind.kind))
        return worst if not worst.exact else BayesKind("exact", f"average over {len(self.classes)} exact classes")

    @property
    def exchangeable(self) -> bool:
        return all(one.exchangeable for one in self.classes)

    @property
    def mean_square(self) -> Float[Array, ""]:
        return jnp.sum(jnp.exp(self._log_probs) * jnp.stack([one.mean_square for one in self.scaled]))

    @property
    def input_law(self) -> tuple[Any, ...]:
        return tuple(one.input_law for one in self.classes)

    @property
    def oracle_known(self) -> bool:
        return all(one.oracle_known for one in self.classes)

    @property
    def scaled(self) -> tuple[FunctionClass, ...]:
        """The classes as they are drawn from."""
        return tuple(unit_variance(one) for one in self.classes) if self.unit_variance else self.classes

    @property
    def _log_probs(self) -> Float[Array, "M"]:
        return log_probabilities(self.probabilities, len(self.classes))

    def sample_latent(self, key: PRNGKeyArray) -> Draw:
        which, *keys = jax.random.split(key, 1 + len(self.classes))
        index = jax.random.categorical(which, self._log_probs).astype(jnp.int32)
        return Draw(index, tuple(one.sample_latent(k) for one, k in zip(self.scaled, keys, strict=True)))

    def sample_inputs(self, latent: Draw, key: PRNGKeyArray) -> Shaped[Array, "P *x"]:
        return _choose(latent.index, [one.sample_inputs(t, key) for one, t in self._each(latent)])

    def evaluate(self, latent: Draw, xs: Shaped[Array, "N *x"]) -> Shaped[Array, "N *y"]:
        return _choose(latent.index, [one.evaluate(t, xs) for one, t in self._each(latent)])

    def sample_outputs(self, latent: Draw, xs: Shaped[Array, "P *x"], key: PRNGKeyArray) -> Shaped[Array, "P *y"]:
        return self.show(latent, xs, key).ys

    def show(self, latent: Draw, xs: Shaped[Array, "P *x"], key: PRNGKeyArray) -> Prompt:
        return _one_of(latent.index, [one.show(t, xs, key) for one, t in self._each(latent)], self.y_space)

    def sample_prompt(self, latent: Draw, key: PRNGKeyArray) -> Prompt:
        if not isinstance(self.x_space, Nothing):
            return super().sample_prompt(latent, key)
        return _one_of(latent.index, [one.sample_prompt(t, key) for one, t in self._each(latent)], self.y_space)

    def component_posterior(self, prompt: Prompt) -> Float[Array, "P M"]:
        """P(class m | x_<=k, y_<k) at every k; with S targets per example, before the first of them."""
        return jnp.exp(self._weights(prompt)[0]).T[:: self.steps]

    def bayes(self, prompt: Prompt) -> Prediction:
        log_weights, _, shape = self._weights(prompt)
        weights = log_weights.reshape(-1, *shape)
        found = [one.bayes(prompt) for one in self.scaled]
        if isinstance(self.y_space, Real):
            stacked: Prediction = jax.tree.map(lambda *a: jnp.stack(a), *found)
            assert stacked.mean is not None
            assert stacked.variance is not None
            return mixed_moments(weights, stacked.mean, stacked.variance)
        return mixed_log_probs(weights, jnp.stack([f.as_log_probs(self.y_space) for f in found]))

    def oracle(self, prompt: Prompt) -> Prediction:
        """Who knows the class and the task."""
        parts = [
            one.oracle(Prompt(prompt.xs, prompt.ys, t, prompt.targets, prompt.scored))
            for one, t in self._each(prompt.latent)
        ]
        return jax.tree.map(lambda *a: _choose(prompt.latent.index, a), *parts)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P *s"]:
        log_weights, logs, shape = self._weights(prompt)
        return mixed_log_predictive(log_weights, logs).reshape(shape)

    def log_input_density(self, prompt: Prompt) -> Float[Array, "P"]:
        """log p(x_k | x_<k, y_<k) in nats, relative to the first class's law of inputs where classes have one: sum of
        the classes' densities by their weights."""
        inputs = self._log_inputs(prompt)
        logs = jnp.stack([one.log_predictive(prompt).reshape(prompt.points, -1).sum(1) for one in self.scaled])
        together = jnp.concatenate([jnp.zeros_like(inputs[:, :1]), (logs + inputs)[:, :-1]], 1)
        before = running_log_weights(self._log_probs, jnp.zeros_like(inputs), together)
        return mixed_log_predictive(before, inputs)

    def _each(self, latent: Draw) -> list[tuple[FunctionClass, PyTree]]:
        return list(zip(self.scaled, latent.tasks, strict=True))

    def _log_inputs(self, prompt: Prompt) -> Float[Array, "M P"]:
        """What every class says of the inputs; where all have a law of rows, relative to that of the first class, or
        to nothing where that cannot draw them."""
        logs = [one.log_input_density(prompt) for one in self.scaled]
        laws = [one.input_law for one in self.scaled]
        if not all(isinstance(law, InputLaw) for law in laws):
            return jnp.stack(logs)
        densities = jnp.stack([law.log_density(prompt.xs) for law in laws])
        # One base for all classes, so that it cancels between them; where the first cannot draw x there is none.
        base = jnp.where(densities[0] > -jnp.inf, densities[0], 0.0)
        # Inputs that no class can draw, of a shift, say nothing.
        possible = jnp.any(densities > -jnp.inf, 0)
        return jnp.stack(logs) + jnp.where(possible[None], densities - base[None], 0.0)

    def _weights(self, prompt: Prompt) -> tuple[Float[Array, "M Q"], Float[Array, "M Q"], tuple[int, ...]]:
        """Log weights and log predictives with steps in a row (Q = P S), and the shape (P,) or (P, S)."""
        logs = jnp.stack([one.log_predictive(prompt) for one in self.scaled])
        flat = logs.reshape(logs.shape[0], -1)
        inputs = jnp.zeros((*logs.shape[:2], self.steps)).at[..., 0].set(self._log_inputs(prompt))
        return running_log_weights(self._log_probs, flat, inputs.reshape(flat.shape)), flat, logs.shape[1:]


def _other_points(classes: Sequence[FunctionClass], points: int) -> list[int]:
    """The lengths of classes that differ, where one was asked for that is not the mixture's: a class's default was not.
    Classes of one length follow the mixture, which has another length after `--points`, say."""
    usual = [next(f.default for f in dataclasses.fields(one) if f.name == "points") for one in classes]
    stated = {one.points for one, default in zip(classes, usual, strict=True) if one.points != default}
    found = {one.points for one in classes}
    return sorted(found) if len(found) > 1 and stated - {points} else []


def unit_variance(task: FunctionClass) -> FunctionClass:
    """The same class, its function scaled to E[f^2] = 1 and its noise as it was. Raises NotAvailable."""
    factor: Any = 1 / jnp.sqrt(task.mean_square)
    return ScaleTask(value=factor).apply(task)


def _unscalable(task: FunctionClass, path: str) -> Sequence[Problem]:
    try:
        unit_variance(task)
    except NotAvailable as error:
        return [Problem(path, f"cannot be scaled to unit variance: {error}")]
    return []


def _incomparable_inputs(classes: Sequence[FunctionClass]) -> str:
    """Why inputs of these classes cannot be weighed against each other; empty where they can."""
    laws = [one.input_law for one in classes]
    if isinstance(classes[0].x_space, Nothing) or all(isinstance(law, InputLaw) for law in laws):
        return ""
    alike = all(law == laws[0] for law in laws) and len({type(one).sample_inputs for one in classes}) == 1
    names = ", ".join(dict.fromkeys(one.name for one in classes))
    return "" if alike else f"draw their inputs differently, and not all have a density of rows to weigh: {names}"


def _choose(index: Int[Array, ""], values: Sequence[Array]) -> Array:
    return jnp.stack(list(values))[index]


def _one_of(index: Int[Array, ""], prompts: Sequence[Prompt], space: Space) -> Prompt:
    """The prompt of the class that was drawn; the task of every class stays. Where targets of one class are
    distributions, those of all are."""
    targets = None
    if any(p.targets is not None for p in prompts):
        scores = [p.scores for p in prompts]
        most = max(one.ndim for one in scores)
        targets = _choose(index, [one if one.ndim == most else space.encode(one) for one in scores])
    scored = None
    if any(p.scored is not None for p in prompts):
        shape = next(p.scored.shape for p in prompts if p.scored is not None)
        scored = _choose(index, [jnp.ones(shape) if p.scored is None else p.scored for p in prompts])
    xs, ys = (_choose(index, values) for values in ([p.xs for p in prompts], [p.ys for p in prompts]))
    return Prompt(xs, ys, Draw(index, tuple(p.latent for p in prompts)), targets, scored)
