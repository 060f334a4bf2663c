"""What the outputs of a network mean: a number, a Gaussian, a distribution over bars, probabilities of symbols.

A head takes the outputs at one prediction, (O,), and reads them as what is predicted of y, of any shape: of a vector
every entry for itself. All but `mean` of numbers state a density, so that learners have a `log_predictive`.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Prediction
from function_classes.fields import Fields, setting
from function_classes.registry import Registry
from function_classes.spaces import Real, Signs, Space, Symbols
from icl import prng

# A prediction that is certain would have no density.
LEAST_VARIANCE = 1e-6
# What borders of bars are quantiles of: prompts, and noise as a share of the outputs' root mean square, which keeps
# bars apart where many outputs are equal.
DRAWN, JITTER = 1024, 0.01
# Half of a half-normal distribution lies within this many standard deviations.
HALFWAY = 0.6744897501960817


class HeadConfig(Fields):
    """A choice of head. Symbols and signs always have probabilities, whose head is `mean`."""

    registry: ClassVar[Registry] = Registry("head", "icl.models.heads", "icl.heads")
    # What training minimizes; None: the main metric of the outputs' kind.
    metric: ClassVar[str | None] = None

    def refuses(self, task: FunctionClass) -> str | None:
        """None, or why outputs of this class cannot be read so."""
        if isinstance(task.y_space, Real):
            return None
        kind = task.y_space.kind
        return f"{self.name} is a law of numbers, and {task.name} has {kind}, which get probabilities; use mean"

    def make(self, task: FunctionClass) -> "Head":
        raise NotImplementedError


class Head(eqx.Module):
    """How outputs are read, and the density this states."""

    def size(self, space: Space) -> int:
        """O, the number of network outputs per prediction."""
        return space.features

    def read(self, outputs: Float[Array, "*R O"], space: Space, lead: tuple[int, ...]) -> Prediction:
        """`lead` is the shape of the predictions: (P,) or (P, S)."""
        raise NotImplementedError

    @property
    def states_density(self) -> bool:
        return True

    def log_density(self, prediction: Prediction, ys: Array, space: Space) -> Float[Array, "*n"]:
        """log p(y) of every entry of y, under what was read."""
        raise NotImplementedError


@HeadConfig.registry.add("mean")
class Mean(HeadConfig):
    """Numbers and vectors of them: the mean, trained by squared error, which states no density. Symbols: a softmax of
    logits; signs: one logit each."""

    def refuses(self, task: FunctionClass) -> str | None:
        return None

    def make(self, task: FunctionClass) -> Head:
        return MeanHead() if isinstance(task.y_space, Real) else Categorical()


class MeanHead(Head):
    """The outputs themselves."""

    def read(self, outputs: Float[Array, "*R O"], space: Space, lead: tuple[int, ...]) -> Prediction:
        return Prediction(mean=outputs.reshape(*lead, *space.shape))

    @property
    def states_density(self) -> bool:
        return False


class Categorical(Head):
    """Log probabilities: C logits of a symbol, one of every sign."""

    def read(self, outputs: Float[Array, "*R O"], space: Space, lead: tuple[int, ...]) -> Prediction:
        if isinstance(space, Symbols):
            return Prediction(log_probs=jax.nn.log_softmax(outputs.reshape(*lead, space.n)))
        values = outputs.reshape(*lead, *space.shape)
        return Prediction(log_probs=jnp.stack([jax.nn.log_sigmoid(-values), jax.nn.log_sigmoid(values)], -1))

    def log_density(self, prediction: Prediction, ys: Array, space: Space) -> Float[Array, "*n"]:
        index = (ys > 0).astype(jnp.int32) if isinstance(space, Signs) else ys
        return jnp.take_along_axis(prediction.as_log_probs(space), index[..., None], -1)[..., 0]


@HeadConfig.registry.add("gaussian")
class Gaussian(HeadConfig):
    """N(m, v) with v = softplus(s) + 1e-6 of outputs (m, s), trained on nats."""

    metric: ClassVar[str | None] = "nll_gaussian"

    def make(self, task: FunctionClass) -> Head:
        return GaussianHead()


class GaussianHead(Head):
    """Means first, then what becomes the variances."""

    def size(self, space: Space) -> int:
        return 2 * space.features

    def read(self, outputs: Float[Array, "*R O"], space: Space, lead: tuple[int, ...]) -> Prediction:
        mean, spread = (part.reshape(*lead, *space.shape) for part in jnp.split(outputs, 2, -1))
        return Prediction(mean=mean, variance=jax.nn.softplus(spread) + LEAST_VARIANCE)

    def log_density(self, prediction: Prediction, ys: Array, space: Space) -> Float[Array, "*n"]:
        mean, variance = prediction.mean, prediction.variance
        assert mean is not None
        assert variance is not None
        return -0.5 * (jnp.log(2 * jnp.pi * variance) + (ys - mean) ** 2 / variance)


@HeadConfig.registry.add("bars", papers=("mueller-2022",))
class Bars(HeadConfig):
    """A piecewise constant density with `count` bars, trained on nats (Muller et al. 2022, "Riemann distribution").

    A softmax of `count` logits gives the mass of every bar, which is spread evenly over it; the outer bars have
    half-normal tails, half of whose mass lies within the bar. Borders are quantiles of the outputs that the class
    draws, so that all bars are equally likely before anything is seen; they are stored with the weights and stay as
    they are. Deviation: quantiles of outputs with 1% of noise added, so that bars also have a width where many outputs
    are equal.
    """

    metric: ClassVar[str | None] = "nll"
    count: int = setting(100, "bars of equal probability under the prior", at_least=3, at_most=100_000)

    def make(self, task: FunctionClass) -> Head:
        return BarHead(borders(task, self.count))


class BarPrediction(Prediction):
    """Mean and variance of the bars, the log masses of all N, and their borders, at every position the same."""

    log_masses: Float[Array, "P ... N"] | None = None
    edges: Float[Array, "P M"] | None = None

    def log_density(self, ys: Float[Array, "P ..."]) -> Float[Array, "P ..."]:
        """log p(y) of every entry, under the mass of its bar and the law within it."""

        def at(logs: Float[Array, "... N"], edges: Float[Array, "M"], ys: Float[Array, "..."]) -> Float[Array, "..."]:
            index, last = jnp.searchsorted(edges[1:-1], ys, side="right"), edges.size - 2
            low, high = tails(edges)
            beyond = jnp.where(index == 0, (edges[1] - ys) / low, (ys - edges[-2]) / high)
            tail = 0.5 * jnp.log(2 / jnp.pi) - jnp.log(jnp.where(index == 0, low, high)) - 0.5 * beyond**2
            within = jnp.where((index == 0) | (index == last), tail, -jnp.log(jnp.diff(edges))[index])
            return jnp.take_along_axis(logs, index[..., None], -1)[..., 0] + within

        assert self.log_masses is not None
        assert self.edges is not None
        return jax.vmap(at)(self.log_masses, self.edges, ys)


class BarHead(Head):
    """N + 1 borders in growing order."""

    borders: Float[Array, "M"]

    def size(self, space: Space) -> int:
        return space.features * (self.borders.size - 1)

    def read(self, outputs: Float[Array, "*R O"], space: Space, lead: tuple[int, ...]) -> Prediction:
        edges = jax.lax.stop_gradient(self.borders).astype(outputs.dtype)
        logs = jax.nn.log_softmax(outputs.reshape(*lead, *space.shape, edges.size - 1))
        low, high = tails(edges)
        away = jnp.sqrt(2 / jnp.pi)
        centers = (edges[1:] + edges[:-1]) / 2
        centers = centers.at[0].set(edges[1] - low * away).at[-1].set(edges[-2] + high * away)
        spreads = jnp.diff(edges) ** 2 / 12
        spreads = spreads.at[0].set(low**2 * (1 - 2 / jnp.pi)).at[-1].set(high**2 * (1 - 2 / jnp.pi))
        masses = jnp.exp(logs)
        mean = masses @ centers
        gaps = centers.reshape((1,) * mean.ndim + (-1,)) - mean[..., None]
        variance = jnp.sum(masses * (gaps**2 + spreads.reshape((1,) * mean.ndim + (-1,))), -1)
        repeated = jnp.broadcast_to(edges[None], (lead[0], edges.size))
        return BarPrediction(mean=mean, variance=variance, log_masses=logs, edges=repeated)

    def log_density(self, prediction: Prediction, ys: Array, space: Space) -> Float[Array, "*n"]:
        assert isinstance(prediction, BarPrediction)
        return prediction.log_density(ys)


def tails(edges: Float[Array, "M"]) -> tuple[Any, Any]:
    """Standard deviations of the half-normal tails of the first and the last bar."""
    return (edges[1] - edges[0]) / HALFWAY, (edges[-1] - edges[-2]) / HALFWAY


def borders(task: FunctionClass, count: int) -> Float[Array, "M"]:
    """count + 1 numbers between which bars lie: quantiles of all outputs of `DRAWN` prompts, slightly blurred."""
    draws, blur = prng.stream(0, "bars"), jax.random.fold_in(prng.stream(0, "bars"), DRAWN)
    ys = jax.vmap(lambda i: task.sample(jax.random.fold_in(draws, i)).scores)(jnp.arange(DRAWN))
    flat = ys.reshape(-1).astype(jnp.float32)
    scale = jnp.sqrt(jnp.mean(flat**2))
    noise = jnp.where(scale > 0, scale, 1.0) * JITTER * jax.random.normal(blur, flat.shape)
    return jnp.quantile(flat + noise, jnp.linspace(0, 1, count + 1))
