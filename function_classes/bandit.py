"""Rewards of arms pulled by a fixed exploration policy: what a learner that acts must infer (Lee et al. 2023)."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.posteriors import log_normal
from function_classes.spaces import Real, Space, Symbols

_CELLS = 1024


@FunctionClass.registry.add("bandit", papers=("lee-2023",))
class Bandit(FunctionClass):
    """x is the arm that was pulled, y its reward; every prompt has its own arms.

    bernoulli: P(y = 1 | arm a) = p_a ~ Beta(alpha, beta). After s successes in n pulls of an arm the next one succeeds
        with probability (alpha + s) / (alpha + beta + n).
    gaussian: y = m_a + noise_std e with m_a ~ N(0, scale^2): the mean is shrunk, n scale^2 / (n scale^2 + noise_std^2).
    Arms are pulled uniformly at random, or in rounds that pull every arm once in random order; the policy does not
    read rewards, so pulls say nothing about the arms.

    >>> task = Bandit(points=3, arms=2)
    >>> prompt = Prompt(jnp.array([0, 0, 1]), jnp.array([1, 1, 0]))
    >>> print(*(f"{p:.3f}" for p in jnp.exp(task.bayes(prompt).log_probs[:, 1])))
    0.500 0.667 0.500
    """

    lesson = "Each arm is its own shrunken average: the error falls with the pulls of that arm alone."

    points: int = setting(16, "pulls in a prompt", at_least=1)
    arms: int = setting(4, "number of arms", at_least=2)
    rewards: Literal["bernoulli", "gaussian"] = setting("bernoulli", "law of the rewards")
    alpha: float = setting(1.0, "first parameter of the Beta law of p_a; read by bernoulli alone", above=0)
    beta: float = setting(1.0, "second parameter of the Beta law of p_a; read by bernoulli alone", above=0)
    scale: float = setting(1.0, "standard deviation of the means of arms; read by gaussian alone", above=0)
    noise_std: float = setting(0.5, "standard deviation of a reward; read by gaussian alone", at_least=0)
    policy: Literal["uniform", "rounds"] = setting("uniform", "how arms are chosen")

    @property
    def x_space(self) -> Symbols:
        return Symbols(self.arms)

    @property
    def y_space(self) -> Space:
        return Symbols(2) if self.rewards == "bernoulli" else Real()

    @property
    def unread(self) -> frozenset[str]:
        return frozenset(("scale", "noise_std") if self.rewards == "bernoulli" else ("alpha", "beta"))

    @property
    def input_law(self) -> tuple[str, str]:
        return "arms", self.policy

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "conjugate Beta" if self.rewards == "bernoulli" else "conjugate Gaussian")

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "A"]:
        """The mean reward of every arm."""
        if self.rewards == "gaussian":
            return self.scale * jax.random.normal(key, (self.arms,))
        alpha, beta = (jnp.asarray(a, jnp.float32) for a in (self.alpha, self.beta))
        return jax.random.beta(key, alpha, beta, (self.arms,))

    def sample_inputs(self, latent: Float[Array, "A"], key: PRNGKeyArray) -> Int[Array, "P"]:
        if self.policy == "rounds":
            keys = jax.random.split(key, -(-self.points // self.arms))
            arms = jnp.arange(self.arms, dtype=jnp.int32)
            return jax.vmap(lambda k: jax.random.permutation(k, arms))(keys).reshape(-1)[: self.points]
        return jax.random.randint(key, (self.points,), 0, self.arms)

    def evaluate(self, latent: Float[Array, "A"], xs: Int[Array, "N"]) -> Array:
        """The mean reward; of bernoulli arms the likelier one."""
        means = latent[xs]
        return means if self.rewards == "gaussian" else (means >= 0.5).astype(jnp.int32)

    def sample_outputs(self, latent: Float[Array, "A"], xs: Int[Array, "P"], key: PRNGKeyArray) -> Array:
        if self.rewards == "gaussian":
            return latent[xs] + self.noise_std * jax.random.normal(key, xs.shape)
        return jax.random.bernoulli(key, latent[xs]).astype(jnp.int32)

    def oracle(self, prompt: Prompt) -> Prediction:
        means = prompt.latent[prompt.xs]
        if self.rewards == "gaussian":
            return Prediction(mean=means)
        return Prediction(log_probs=jnp.log(jnp.stack([1 - means, means], -1)))

    def bayes(self, prompt: Prompt) -> Prediction:
        counts, sums = (jnp.take_along_axis(a, prompt.xs[:, None], 1)[:, 0] for a in self._told(prompt))
        if self.rewards == "gaussian":
            mean, variance = self._shrunk(counts, sums)
            return Prediction(mean=mean, variance=variance + self.noise_std**2)
        total = self.alpha + self.beta + counts
        lost = self.beta + counts - sums
        return Prediction(log_probs=jnp.log(jnp.stack([lost / total, (self.alpha + sums) / total], -1)))

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        if self.rewards == "bernoulli":
            return super().log_predictive(prompt)
        found = self.bayes(prompt)
        assert found.mean is not None
        assert found.variance is not None
        return log_normal(prompt.ys, found.mean, found.variance, self.scale**2 * jnp.ones(prompt.points))

    def best_arm_probs(self, prompt: Prompt) -> Float[Array, "P A"]:
        """P(arm a is the best | the first k pulls) at every k.

        The integral of dF_a prod_{b != a} F_b over 1,024 cells, by differences of the distribution functions F, so that
        narrow and unbounded densities do no harm; normalized over the arms.
        """
        counts, sums = self._told(prompt)
        unit = jnp.linspace(0.0, 1.0, _CELLS + 1)
        if self.rewards == "bernoulli":
            won, lost = self.alpha + sums, self.beta + counts - sums
            below = betainc(won[..., None], lost[..., None], unit[None, None, :])
        else:
            mean, variance = self._shrunk(counts, sums)
            std = jnp.sqrt(jnp.maximum(variance, 1e-12 * self.scale**2))
            low = jnp.min(mean - 6 * std, 1, keepdims=True)[..., None]
            high = jnp.max(mean + 6 * std, 1, keepdims=True)[..., None]
            grid = low + (high - low) * unit[None, None, :]
            below = norm.cdf((grid - mean[..., None]) / std[..., None])
        steps, middle = jnp.diff(below, axis=-1), (below[..., 1:] + below[..., :-1]) / 2
        others = jnp.where(jnp.eye(self.arms, dtype=bool)[None, :, :, None], 1.0, middle[:, None])
        mass = jnp.sum(steps * jnp.prod(others, 2), -1)
        return mass / jnp.sum(mass, 1, keepdims=True)

    def _shrunk(self, counts: Float[Array, "*n"], sums: Float[Array, "*n"]) -> tuple[Array, Array]:
        """Posterior mean and variance of an arm's mean."""
        prior, noise = self.scale**2, self.noise_std**2
        total = jnp.where(counts > 0, counts * prior + noise, 1.0)
        return jnp.where(counts > 0, prior * sums / total, 0.0), jnp.where(counts > 0, prior * noise / total, prior)

    def _told(self, prompt: Prompt) -> tuple[Float[Array, "P A"], Float[Array, "P A"]]:
        """How often every arm was pulled before position k, and the sum of its rewards."""

        def step(carry, now):
            counts, sums = carry
            arm, reward = now
            return (counts.at[arm].add(1.0), sums.at[arm].add(reward)), carry

        start = jnp.zeros(self.arms), jnp.zeros(self.arms)
        return jax.lax.scan(step, start, (prompt.xs, prompt.ys.astype(jnp.float32)))[1]
