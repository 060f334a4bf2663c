"""Functions drawn from a Gaussian process: the class of Mueller et al. 2022 (PFN) and Nguyen and Grover 2022 (TNP)."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.inputs import InputLaw, Uniform
from function_classes.kernels import Kernel, KernelPosterior, Number, covariance, kernel_filter, kernel_predict
from function_classes.mixtures import Components, mixed_log_predictive, mixed_moments, running_log_weights
from function_classes.posteriors import log_normal
from function_classes.vectors import NoisyNumbers, VectorInputs

# Single precision cannot tell a smooth kernel's matrix from a singular one. This share of scale^2 stands on its
# diagonal, in the generator and in the posterior alike, so that Bayes stays exact. With 1e-6 rounding adds a quarter to
# a half to the squares of standardized residuals after 64 examples without noise; from 3e-6 on it is not seen there.
NUGGET = 1e-5
# Rounding grows with the number of inputs: with 1e-5 draws on a grid of 7 lengthscales are smooth for 212 inputs and
# explode for 412. With float32's epsilon for every input they have been seen to stay smooth up to 812.
EPSILON = 2.0**-23
# The folds of a function's seed that draw its lengthscale and its scale: no input has such an index.
_NO_INPUT, _NOR_THIS = 2**32 - 1, 2**32 - 2


class Draw(NamedTuple):
    """One function, as far as it is decided: its values at some inputs, and the seed of its values elsewhere."""

    seed: UInt32[Array, "W"]
    xs: Float[Array, "A D"]
    values: Float[Array, "A"]


@FunctionClass.registry.add("gaussian-process", papers=("mueller-2022", "nguyen-2022"))
class GaussianProcess(VectorInputs, NoisyNumbers):
    """f ~ GP(0, k), y = f(x) + N(0, noise_std^2), with k(x, x) = scale^2 (kernels: `function_classes.kernels`).

    With K = k(X, X) + noise I over the examples seen, mean = k_x' K^-1 y, variance = k(x, x) - k_x' K^-1 k_x + noise.
    noise is noise_std^2 + 1e-5 scale^2, 2^-23 times the number of inputs from 84 on: float32 needs that nugget, and the
    generator adds it too: f itself is rough by so much. Papers that quote "noise 1e-4" mean the variance; `noise_std`
    is its root.

    With `lengthscales` every prompt draws one of them uniformly, and likewise with `scales` (Nguyen and Grover draw
    both from intervals). Bayes is the average of the processes over the grid of both, weighted by the evidence of the
    examples seen; its log predictive is that of the mixture. The process that was drawn, an oracle, is better.

    A function of infinitely many values is drawn where it is asked for: `evaluate` draws f at all its inputs jointly,
    given the values at the prompt's inputs, which come back unchanged. Values are exact within one call; two calls at
    different new inputs agree with the prompt but not with each other, so ask for all inputs at once.

    >>> task = GaussianProcess(points=3, noise_std=0.0)
    >>> prompt = task.sample(jax.random.key(0))
    >>> print(bool(jnp.all(task.evaluate(prompt.latent, prompt.xs[::-1]) == prompt.ys[::-1])))
    True
    """

    lesson = "Smooth functions need neighbors: kernel regression is Bayes, every linear learner stays near the null."

    dim: int = setting(1, "number of input coordinates", at_least=1)
    points: int = setting(20, "positions in a prompt", at_least=1)
    kernel: Kernel = setting("rbf", "covariance function")
    lengthscale: float = setting(0.6, "distance over which f varies (periodic: relative to one period / pi)", above=0)
    scale: float = setting(1.0, "standard deviation of f(x)", above=0)
    period: float = setting(1.0, "period of every coordinate; read by the periodic kernel alone", above=0)
    inputs: InputLaw = setting(Uniform(low=-2.0, high=2.0), "law of the inputs")
    lengthscales: tuple[float, ...] = setting(
        (), "grid of lengthscales, one drawn for every function; none: lengthscale", above=0, absent=()
    )
    scales: tuple[float, ...] = setting(
        (), "grid of scales, one drawn for every function; none: scale", above=0, absent=()
    )

    @property
    def bayes_kind(self) -> BayesKind:
        grids = (self.lengthscales, "lengthscales"), (self.scales, "scales")
        over = " x ".join(f"{len(grid)} {words}" for grid, words in grids if grid)
        grid = f", averaged over {over}" if over else ""
        return BayesKind("exact", "conjugate Gaussian, with the generator's own nugget" + grid)

    @property
    def unread(self) -> frozenset[str]:
        drawn = ("lengthscale", self.lengthscales), ("scale", self.scales), ("period", self.kernel != "periodic")
        return frozenset(name for name, instead in drawn if instead)

    @property
    def mean_square(self) -> Float[Array, ""]:
        return jnp.mean(self.grid()[1] ** 2)

    @property
    def gridded(self) -> bool:
        """Whether hyper-parameters are drawn."""
        return bool(self.lengthscales or self.scales)

    def grid(self) -> tuple[Float[Array, "M"], Float[Array, "M"]]:
        """Lengthscale and scale of every process that a function may be drawn from; scales change fastest."""
        lengths, scales = (jnp.asarray(grid, jnp.float32) for grid in self._grids)
        return jnp.repeat(lengths, len(scales)), jnp.tile(scales, len(lengths))

    def process(self, lengthscale: Number, scale: Number) -> "GaussianProcess":
        """The class of the functions with these hyper-parameters."""
        return dataclasses.replace(self, lengthscales=(), scales=(), lengthscale=lengthscale, scale=scale)

    @property
    def version(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Until 1 the nugget was 1e-6, and the generator did not condition on values known to 3e-5, where Bayes did;
        until 2 it was 1e-5 for any number of inputs, as it still is up to 83."""
        return 2 if nugget(self.points) == NUGGET else 3

    def sample_latent(self, key: PRNGKeyArray) -> Draw:
        return Draw(jax.random.key_data(key), jnp.zeros((0, self.dim)), jnp.zeros(0))

    def evaluate(self, latent: Draw, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        """f at `xs`: decided values where the latent has them, elsewhere drawn jointly given those."""
        decided, new = latent.xs.shape[0], xs.shape[0]
        everything = jnp.concatenate([latent.xs, xs])
        start = jnp.concatenate([latent.values, jnp.zeros(new)])
        key = jax.random.wrap_key_data(latent.seed)
        if self.gridded:
            return self._drawn(key).evaluate(latent, xs)
        gram = self._covariance(everything, everything)
        posterior = kernel_filter(gram, start, nugget(decided + new) * self.scale**2)
        noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i)))(jnp.arange(decided, decided + new))
        white = jnp.concatenate([posterior.whitened[:decided], noise])
        drawn = jnp.matmul(jnp.tril(posterior.factor), white, precision=jax.lax.Precision.HIGHEST)[decided:]
        if decided == 0:
            return drawn
        same = jnp.all(xs[:, None, :] == latent.xs[None, :, :], -1)
        return jnp.where(jnp.any(same, 1), latent.values[jnp.argmax(same, 1)], drawn)

    def show(self, latent: Draw, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Prompt:
        values = self.evaluate(latent, xs)
        ys = values + self.noise_std * jax.random.normal(key, values.shape)
        decided = Draw(latent.seed, jnp.concatenate([latent.xs, xs]), jnp.concatenate([latent.values, values]))
        return Prompt(xs, ys, decided)

    def sample_outputs(self, latent: Draw, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P"]:
        return self.show(latent, xs, key).ys

    def posterior(self, prompt: Prompt) -> KernelPosterior:
        """Mean and variance of f(x_k) before y_k is seen, and the factor behind them, where no grid is averaged."""
        return kernel_filter(self._covariance(prompt.xs, prompt.xs), prompt.ys, self._noise(prompt))

    def components(self, prompt: Prompt) -> Components:
        """What every process of the grid says of y, (M, P)."""

        def one(lengthscale: Float[Array, ""], scale: Float[Array, ""]) -> Components:
            task = self.process(lengthscale, scale)
            posterior = task.posterior(prompt)
            return Components(
                posterior.mean, posterior.variance + task._noise(prompt), task._log_normal(prompt, posterior)
            )

        return jax.vmap(one)(*self.grid())

    def lengthscale_posterior(self, prompt: Prompt) -> Float[Array, "P M"]:
        """P(lengthscale m of the grid | x_<k, y_<k) at every k."""
        return jnp.sum(self._beliefs(prompt), 1).T

    def scale_posterior(self, prompt: Prompt) -> Float[Array, "P M"]:
        """P(scale m of the grid | x_<k, y_<k) at every k."""
        return jnp.sum(self._beliefs(prompt), 0).T

    def bayes(self, prompt: Prompt) -> Prediction:
        if self.gridded:
            found = self.components(prompt)
            return mixed_moments(self._log_weights(found), found.mean, found.variance)
        posterior = self.posterior(prompt)
        return Prediction(mean=posterior.mean, variance=posterior.variance + self._noise(prompt))

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        if self.gridded:
            found = self.components(prompt)
            return mixed_log_predictive(self._log_weights(found), found.log_predictive)
        return self._log_normal(prompt, self.posterior(prompt))

    def predict_at(self, prompt: Prompt, k: Array | int, xs: Float[Array, "N D"]) -> Prediction:
        """Mean and variance (N,) of y at N queries after the first k <= P examples, in one solve per process."""
        if not self.gridded:
            cross, prior = self._covariance(prompt.xs, xs), self.scale**2 * jnp.ones(xs.shape[0])
            mean, variance = kernel_predict(self.posterior(prompt), k, cross, prior)
            return Prediction(mean=mean, variance=variance + self._noise(prompt))
        seen = jnp.arange(prompt.points)[None, :] < k
        evidence = jnp.sum(jnp.where(seen, self.components(prompt).log_predictive, 0.0), 1)
        found = jax.vmap(lambda *drawn: self.process(*drawn).predict_at(prompt, k, xs))(*self.grid())
        assert found.mean is not None
        assert found.variance is not None
        weights = jnp.broadcast_to(jax.nn.log_softmax(evidence)[:, None], found.mean.shape)
        return mixed_moments(weights, found.mean, found.variance)

    def _log_weights(self, found: Components) -> Float[Array, "M P"]:
        return running_log_weights(jnp.zeros(found.mean.shape[0]), found.log_predictive)

    def _beliefs(self, prompt: Prompt) -> Float[Array, "L S P"]:
        weights = jnp.exp(self._log_weights(self.components(prompt)))
        return weights.reshape(*map(len, self._grids), -1)

    def _log_normal(self, prompt: Prompt, posterior: KernelPosterior) -> Float[Array, "P"]:
        prior = (self.scale**2 + self._noise(prompt)) * jnp.ones(prompt.points)
        return log_normal(prompt.ys, posterior.mean, posterior.variance + self._noise(prompt), prior)

    def _drawn(self, key: PRNGKeyArray) -> "GaussianProcess":
        """The process of the function with this seed."""
        # Values of the function are drawn from folds of the same seed with the index of their input.
        lengthscale, scale = (
            jnp.asarray(grid)[jax.random.randint(jax.random.fold_in(key, fold), (), 0, len(grid))]
            for grid, fold in zip(self._grids, (_NO_INPUT, _NOR_THIS), strict=True)
        )
        return self.process(lengthscale, scale)

    @property
    def _grids(self) -> tuple[Sequence[Number], Sequence[Number]]:
        return self.lengthscales or (self.lengthscale,), self.scales or (self.scale,)

    def _noise(self, prompt: Prompt) -> Array | float:
        return self.noise_std**2 + nugget(prompt.points) * self.scale**2

    def _covariance(self, a: Float[Array, "N D"], b: Float[Array, "M D"]) -> Float[Array, "N M"]:
        return covariance(self.kernel, a, b, self.lengthscale, self.scale, self.period)


def nugget(count: int) -> float:
    """What is added to the diagonal for so many inputs, as a share of scale^2."""
    return max(NUGGET, EPSILON * count)
