"""The contracts: a prompt, a prediction, a predictor, and a class of functions to be learned in context.

Axes, here and everywhere: B batch, P positions, S steps per example, T tokens, D input dim, C classes or symbols,
E width, H heads, K head dim, L layers.

Position k means: k labelled examples (or symbols) have been seen. Prediction k uses x_0..x_k and y_0..y_{k-1}; with S
targets per example, prediction (k, s) also uses y[k, <s]. Nothing a predictor returns for position k may depend on
anything revealed later.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

from function_classes import doors
from function_classes.fields import Fields, as_data
from function_classes.problems import NotAvailable as NotAvailable
from function_classes.registry import Registry
from function_classes.spaces import Nothing, Signs, Space, Symbols


class Prompt(eqx.Module):
    """One episode: inputs, what is shown as outputs, and the task behind them. Batches come from `jax.vmap`."""

    xs: Shaped[Array, "P *x"]
    ys: Shaped[Array, "P *y"]
    latent: PyTree = None
    targets: Shaped[Array, "P *t"] | None = None
    scored: Float[Array, "P *s"] | None = None

    @property
    def points(self) -> int:
        return self.ys.shape[0]

    @property
    def scores(self) -> Shaped[Array, "P *t"]:
        """What a prediction is compared with: `targets` where they differ from what is shown."""
        return self.ys if self.targets is None else self.targets

    def hide(self) -> "Prompt":
        """The prompt as a predictor sees it: without the task."""
        return Prompt(self.xs, self.ys, None, self.targets, self.scored)

    def __repr__(self) -> str:
        if not all(isinstance(a, jax.Array | np.ndarray) for a in (self.xs, self.ys)) or _traced(self.ys):
            return eqx.tree_pformat(self)
        return _table(self)


class Prediction(eqx.Module):
    """What is predicted at every position at once: (P, *y), or (P, S, *y) with S targets per example.

    Real outputs have a `mean`, and a `variance` where the predictor knows one; symbols and signs have `log_probs`
    with one more axis of length C (for signs: minus first, then plus).
    """

    mean: Float[Array, "P ..."] | None = None
    variance: Float[Array, "P ..."] | None = None
    log_probs: Float[Array, "P ... C"] | None = None

    def as_mean(self, space: Space) -> Float[Array, "P ..."]:
        """The expected output as numbers: itself, P(+) - P(-) for signs, probabilities (..., C) for symbols."""
        if self.mean is not None:
            return self.mean
        if self.log_probs is None:
            raise ValueError("a prediction needs a mean or log_probs")
        probs = jnp.exp(self.log_probs)
        return probs[..., 1] - probs[..., 0] if isinstance(space, Signs) else probs

    def as_log_probs(self, space: Space) -> Float[Array, "P ... C"]:
        """Log probabilities of symbols or signs. A mean m in [-1, 1] of a sign says P(+) = (1 + m) / 2; the mean of
        symbols is their vector of probabilities. Real outputs have none: ValueError."""
        if self.log_probs is not None:
            return self.log_probs
        if self.mean is None or not isinstance(space, Signs | Symbols):
            raise ValueError(f"no log probabilities for outputs in {space}")
        if isinstance(space, Signs):
            half = jnp.clip(self.mean, -1, 1) / 2
            return jnp.log(jnp.stack([0.5 - half, 0.5 + half], -1))
        return jnp.log(jnp.clip(self.mean, 0, 1))


Predictor = Callable[[Prompt], Prediction]
"""Deterministic, one prompt, no key. May also offer `log_predictive(prompt) -> (P,)` and
`predict_at(prompt, k, xs) -> Prediction`."""


class BayesKind(NamedTuple):
    """How good `FunctionClass.bayes` is. Tests and tables branch on `kind`; `detail` says how or why not."""

    kind: Literal["exact", "quadrature", "monte-carlo", "none"]
    detail: str = ""
    error: float | None = None

    @property
    def exact(self) -> bool:
        return self.kind == "exact"


class FunctionClass(Fields):
    """A law over functions and over prompts that show them, with the predictor that is optimal under it.

    Fields are the configuration and always include `points`, the number P of positions. Classes x -> y define
    `sample_latent`, `sample_inputs`, `evaluate` (noiseless) and, with noise, `sample_outputs`; streams, whose `x_space`
    is Nothing(), define `sample_latent` and `sample_prompt`.
    """

    registry: ClassVar[Registry] = Registry("function class", "function_classes", "icl.function_classes")
    # The one line that a reader of its sheet should take from it.
    lesson: ClassVar[str] = ""
    points: int

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name in ("bayes", "oracle", "log_predictive"):
            if name in cls.__dict__:
                setattr(cls, name, doors.reading_prompts(cls.__dict__[name]))

    @property
    def x_space(self) -> Space:
        raise NotImplementedError

    @property
    def y_space(self) -> Space:
        raise NotImplementedError

    @property
    def steps(self) -> int:
        """S, the number of targets revealed one after another for each example."""
        return 1

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("none", "no predictor has been derived for this class")

    @property
    def oracle_known(self) -> bool:
        """Whether `evaluate` gives the noiseless outputs (not so for streams)."""
        return type(self).evaluate is not FunctionClass.evaluate

    @property
    def unread(self) -> frozenset[str]:
        """Fields that make no difference as the others are set, such as the period of a kernel that is not periodic."""
        return frozenset()

    @property
    def mixed(self) -> tuple["FunctionClass", ...]:
        """The classes a prompt of a mixture may come from. A shifted mixture is the mixture of the shifted ones."""
        return ()

    def with_mixed(self, classes: tuple["FunctionClass", ...]) -> "FunctionClass":
        """The mixture of other classes, at the same probabilities."""
        raise NotAvailable(f"{self.name} is no mixture")

    @property
    def believers(self) -> dict[str, "FunctionClass"]:
        """Classes with the same prompts whose Bayes predictor is a curve of its own beside this one's, such as that of
        someone who does not know what kind of prompt comes; by name."""
        return {}

    @property
    def exchangeable(self) -> bool:
        """Whether a prompt says the same about its task in whatever order its examples stand: p(y | x) and the input
        density of the whole prompt do not change. Streams are taken to be sequences, unless a class says otherwise."""
        return not isinstance(self.x_space, Nothing)

    @property
    def mean_square(self) -> Float[Array, ""]:
        """E[f(x)^2] of the noiseless function, over tasks and inputs."""
        raise NotAvailable(f"{self.name} has no closed form of E[f(x)^2]")

    @property
    def input_law(self) -> Any:
        """What describes the law of the inputs: classes with equal descriptions draw them alike. An `InputLaw` says
        that rows follow it, but for what `log_input_density` adds; by default the field `inputs`, None where there is
        none."""
        return getattr(self, "inputs", None)

    def sample_latent(self, key: PRNGKeyArray) -> PyTree:
        """Draws the task."""
        raise NotImplementedError

    def sample_inputs(self, latent: PyTree, key: PRNGKeyArray) -> Shaped[Array, "P *x"]:
        """Draws x_0..x_{P-1}."""
        raise NotAvailable(f"{self.name} is a stream: it has no inputs")

    def evaluate(self, latent: PyTree, xs: Shaped[Array, "N *x"]) -> Shaped[Array, "N *y"]:
        """The noiseless function at any number of inputs."""
        raise NotAvailable(f"{self.name} has no noiseless function to evaluate")

    def sample_outputs(self, latent: PyTree, xs: Shaped[Array, "P *x"], key: PRNGKeyArray) -> Shaped[Array, "P *y"]:
        """What is shown as y: the function, with noise where the class has it."""
        return self.evaluate(latent, xs)

    def sample_prompt(self, latent: PyTree, key: PRNGKeyArray) -> Prompt:
        """A prompt about one task; inputs and noise come from independent keys."""
        inputs, outputs = jax.random.split(key)
        return self.show(latent, self.sample_inputs(latent, inputs), outputs)

    def show(self, latent: PyTree, xs: Shaped[Array, "P *x"], key: PRNGKeyArray) -> Prompt:
        """A prompt at given inputs. Classes x -> y that set targets, weights or a richer latent override this one, so
        that whoever chooses other inputs (shifts, curricula) keeps them."""
        return Prompt(xs, self.sample_outputs(latent, xs, key), latent)

    def sample(self, key: PRNGKeyArray) -> Prompt:
        """A prompt about a fresh task."""
        doors.key(key)
        task, prompt = jax.random.split(key)
        return self.sample_prompt(self.sample_latent(task), prompt)

    def batch(self, key: PRNGKeyArray, n: int) -> Prompt:
        """`n` prompts, each about its own task, stacked along a new first axis. Prompt i depends on (key, i) alone.
        One compiled program draws them, for all values of the class's float fields."""
        doors.key(key)
        return _batch(as_data(self), key, doors.count(n, "n"))

    def bayes(self, prompt: Prompt) -> Prediction:
        """The posterior predictive under this very generator. The length comes from the prompt."""
        raise NotAvailable(f"{self.name} has no Bayes predictor: {self.bayes_kind.detail}")

    @doors.reading_prompts
    def oracle(self, prompt: Prompt) -> Prediction:
        """The prediction of one who knows the task: E[y | latent, x]. Needs the prompt's latent."""
        doors.latent(self, prompt)
        values = self.evaluate(prompt.latent, prompt.xs)
        if isinstance(self.y_space, Symbols):
            return Prediction(log_probs=jnp.log(self.y_space.encode(values)))
        return Prediction(mean=values)

    @doors.reading_prompts
    def log_predictive(self, prompt: Prompt) -> Float[Array, "P *s"]:
        """log p(y_k | x_0..x_k, y_<k) of what is shown, in nats. Sums to the log evidence."""
        if not isinstance(self.y_space, Symbols | Signs):
            raise NotAvailable(f"{self.name} has no log predictive density")
        log_probs = self.bayes(prompt).as_log_probs(self.y_space)
        index = prompt.ys if isinstance(self.y_space, Symbols) else (prompt.ys > 0).astype(jnp.int32)
        return jnp.take_along_axis(log_probs, index[..., None], -1)[..., 0]

    def log_evidence(self, prompt: Prompt) -> Float[Array, ""]:
        """log p(y_0..y_{P-1} | x_0..x_{P-1}) in nats."""
        return jnp.sum(self.log_predictive(prompt))

    def log_input_density(self, prompt: Prompt) -> Float[Array, "P"]:
        """log p(x_k | x_<k, y_<k) up to what no latent changes: 0 where inputs say nothing about the task."""
        return jnp.zeros(prompt.points)


def names() -> tuple[str, ...]:
    """The registered function classes."""
    return FunctionClass.registry.names()


def get(name: str, /, **fields: Any) -> Any:
    """A registered function class with the given fields, e.g. `get("linear-regression", dim=8, points=16)`.

    Raises ConfigError for an unknown name or field, with the nearest valid one.
    """
    return FunctionClass.registry.get(name, **fields)


@eqx.filter_jit
def _batch(task: FunctionClass, key: PRNGKeyArray, n: int) -> Prompt:
    return jax.vmap(lambda i: task.sample(jax.random.fold_in(key, i)))(jnp.arange(n))


def _traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


def _table(prompt: Prompt) -> str:
    """A small table of the first positions; a batch is summarised by its shapes."""
    streams = prompt.xs.shape[-1:] == (0,)
    title = f"Prompt(xs {prompt.xs.shape}, ys {prompt.ys.shape})"
    if prompt.ys.ndim > 3 or (not streams and prompt.xs.shape[:1] != prompt.ys.shape[:1]):
        return title
    rows = [f"{title}", "  k  " + ("" if streams else f"{'x':<34}") + "y" + ("  target" if _differs(prompt) else "")]
    for k in range(min(prompt.points, 12)):
        x = "" if streams else f"{_short(prompt.xs[k]):<34}"
        target = f"  {_short(prompt.scores[k])}" if _differs(prompt) else ""
        skipped = prompt.scored is not None and not bool(np.any(np.asarray(prompt.scored[k]) != 0))
        rows.append(f"{k:>3}  {x}{_short(prompt.ys[k])}{target}{'  (not scored)' if skipped else ''}")
    if prompt.points > 12:
        rows.append(f"  … {prompt.points - 12} more")
    return "\n".join(rows)


def _differs(prompt: Prompt) -> bool:
    return prompt.targets is not None


def _short(value: Any) -> str:
    flat = np.asarray(value).reshape(-1)
    words = [f"{v}" if flat.dtype.kind in "iub" else f"{v:.3g}" for v in flat[:4]]
    return " ".join(words) + (" …" if flat.size > 4 else "")
