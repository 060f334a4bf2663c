"""Random multi-layer networks with their intermediate layers as a chain of thought (Gao et al. 2024, task 4)."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import setting
from function_classes.posteriors import linear_filter, log_normal
from function_classes.spaces import Real
from function_classes.vectors import VectorInputs


class LayerPosterior(NamedTuple):
    """Before y[k, s] is seen: its pre-activation is N(mean, variance), alike for all coordinates; `prior` is the
    variance before any example."""

    mean: Float[Array, "P S D"]
    variance: Float[Array, "P S"]
    prior: Float[Array, "P S"]


@FunctionClass.registry.add("chain-of-thought", papers=("gao-2024",))
class ChainOfThought(VectorInputs):
    """s^0 = x, s^l = leaky(W_l s^{l-1} + noise_std e) for l = 1..layers, e ~ N(0, I), leaky(z) = z or slope z (z < 0).

    W_l has entries N(0, gain^2 / dim), fresh in every prompt, with gain^2 = 2 / (1 + slope^2) - noise_std^2, which
    makes E|s^l|^2 = dim at every layer when E|x|^2 = dim. The paper publishes no constants: these are ours.

    Shown: y[k] = (s^1, ..., s^layers), revealed one after another. leaky is invertible, so every layer is a Bayesian
    linear regression of its pre-activations on the layer before, given exactly; the mean and variance of
    leaky(N(m, v)) are closed forms of m and v. Hidden: y[k] = s^layers alone, whose posterior has no closed form.
    One layer has nothing to hide and no axis S.

    >>> task = ChainOfThought(dim=2, points=5, layers=3)
    >>> task.sample(jax.random.key(0)).ys.shape
    (5, 3, 2)
    """

    lesson = (
        "Shown intermediates turn one deep regression into shallow ones; hidden ones leave no Bayes predictor known."
    )

    dim: int = setting(5, "number of coordinates of the input and of every layer", at_least=1)
    points: int = setting(20, "positions in a prompt", at_least=1)
    layers: int = setting(3, "number of layers of the random network", at_least=1, at_most=1024)
    intermediates: Literal["shown", "hidden"] = setting("shown", "whether the layers before the last are targets too")
    noise_std: float = setting(0.1, "standard deviation of the noise on every pre-activation", at_least=0, below=1)
    slope: float = setting(0.1, "slope of the leaky ReLU at negative values", above=0, at_most=1)

    @property
    def y_space(self) -> Real:
        return Real((self.dim,))

    @property
    def steps(self) -> int:
        return self.layers if self.intermediates == "shown" else 1

    @property
    def bayes_kind(self) -> BayesKind:
        if self.steps == self.layers:
            return BayesKind("exact", "one conjugate linear regression per layer")
        return BayesKind("none", "hidden layers leave no closed form; intermediates='shown' has one")

    @property
    def weight_std(self) -> Array:
        """Standard deviation of every weight: gain / sqrt(dim)."""
        return jnp.sqrt((2 / (1 + self.slope**2) - self.noise_std**2) / self.dim)

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "L D D"]:
        return self.weight_std * jax.random.normal(key, (self.layers, self.dim, self.dim))

    def evaluate(self, latent: Float[Array, "L D D"], xs: Float[Array, "N D"]) -> Float[Array, "N *y"]:
        """The network without noise: all its layers (N, S, D), or the last one (N, D)."""
        return self._run(latent, xs, jnp.zeros((self.layers, *xs.shape)))

    def sample_outputs(
        self, latent: Float[Array, "L D D"], xs: Float[Array, "P D"], key: PRNGKeyArray
    ) -> Float[Array, "P *y"]:
        return self._run(latent, xs, self.noise_std * jax.random.normal(key, (self.layers, *xs.shape)))

    def oracle(self, prompt: Prompt) -> Prediction:
        """E[y | W, what is shown] and its variance. With hidden layers the noiseless network, which is that
        expectation for noise_std = 0 only."""
        if self.steps != self.layers:
            return Prediction(mean=self.evaluate(prompt.latent, prompt.xs))
        before, _ = self._chain(prompt)
        pre = jnp.einsum("psj,sij->psi", before, prompt.latent, precision=jax.lax.Precision.HIGHEST)
        return self._activated(pre, jnp.zeros(pre.shape[:2]))

    def posterior(self, prompt: Prompt) -> LayerPosterior:
        """Each layer's linear regression. Raises NotAvailable where layers are hidden."""
        if self.steps != self.layers:
            raise NotAvailable(f"{self.name} has no posterior: {self.bayes_kind.detail}")
        before, pre = self._chain(prompt)

        def layer(inputs, outputs):
            """One regression with D outputs, which share one covariance."""
            return jax.vmap(lambda z: linear_filter(inputs, z, self.weight_std, self.noise_std), 1, 1)(outputs)

        result = jax.vmap(layer, 1, 1)(before, pre)
        return LayerPosterior(result.mean, result.variance[..., 0], self.weight_std**2 * jnp.sum(before**2, -1))

    def bayes(self, prompt: Prompt) -> Prediction:
        posterior = self.posterior(prompt)
        return self._activated(posterior.mean, posterior.variance)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P *s"]:
        """(P, S): the density of the pre-activations over the D coordinates, by change of variables."""
        posterior = self.posterior(prompt)
        _, pre = self._chain(prompt)
        variance = jnp.broadcast_to(posterior.variance[..., None] + self.noise_std**2, pre.shape)
        prior = jnp.broadcast_to(posterior.prior[..., None] + self.noise_std**2, pre.shape)
        density = log_normal(pre, posterior.mean, variance, prior)
        logs = jnp.sum(density - jnp.where(pre < 0, jnp.log(self.slope), 0.0), -1)
        return logs if self.steps > 1 else logs[:, 0]

    def _run(self, latent: Array, xs: Array, noise: Array) -> Array:
        states = [xs]
        for weights, error in zip(latent, noise, strict=True):
            pre = jnp.matmul(states[-1], weights.T, precision=jax.lax.Precision.HIGHEST) + error
            states.append(jnp.where(pre < 0, self.slope * pre, pre))
        return jnp.stack(states[1:], 1) if self.steps > 1 else states[-1]

    def _chain(self, prompt: Prompt) -> tuple[Float[Array, "P S D"], Float[Array, "P S D"]]:
        """What each layer read, and its pre-activations."""
        ys = prompt.ys if self.steps > 1 else prompt.ys[:, None]
        before = jnp.concatenate([prompt.xs[:, None], ys[:, :-1]], 1)
        return before, jnp.where(ys < 0, ys / self.slope, ys)

    def _activated(self, mean: Float[Array, "P S D"], variance: Float[Array, "P S"]) -> Prediction:
        """Mean and variance of leaky(Z), Z ~ N(mean, variance + noise_std^2), with t = mean / std:

        E[Z+] = mean Phi + std phi;  leaky(Z) = slope Z + (1 - slope) Z+;  Cov(Z, Z+) = std^2 Phi (Stein);
        Var Z+ = std^2 (Phi + t^2 Phi (1 - Phi) + t phi (1 - 2 Phi) - phi^2), which does not cancel at large t.
        """
        total = (variance + self.noise_std**2)[..., None]
        std = jnp.sqrt(jnp.where(total > 0, total, 1.0))
        # Beyond 30 standard deviations everything below is constant in float32, and t^2 stays finite.
        t = jnp.where(total > 0, jnp.clip(mean / std, -30, 30), 30 * jnp.sign(mean))
        upper, lower, density = norm.cdf(t), norm.cdf(-t), norm.pdf(t)
        spread = jnp.where(total > 0, std, 0.0)
        positive = mean * upper + spread * density
        share = upper + t**2 * upper * lower + t * density * (lower - upper) - density**2
        a, b = self.slope, 1 - self.slope
        moments = a * mean + b * positive, total * (a**2 + 2 * a * b * upper + b**2 * share)
        return Prediction(*moments) if self.steps > 1 else Prediction(*(m[:, 0] for m in moments))
