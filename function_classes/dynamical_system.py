"""Streams of noisy observations of a linear dynamical system, one system per prompt (Balim et al. 2023)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import setting
from function_classes.mixtures import Components, mixed_log_predictive, mixed_moments, running_log_weights
from function_classes.posteriors import HIGHEST, log_normal
from function_classes.streams import NumberStream


class System(NamedTuple):
    """z_{t+1} = transition z_t + process noise; what is seen is readout'z_t + noise."""

    transition: Float[Array, "D D"]
    readout: Float[Array, "D"]


@FunctionClass.registry.add("linear-dynamical-system", papers=("balim-2023",))
class LinearDynamicalSystem(NumberStream):
    """z_0 ~ N(0, state_std^2 I),  z_{t+1} = A z_t + process_std u_t,  y_t = c'z_t + noise_std e_t; only y is shown.

    A = radius Q with Q a random orthogonal matrix, |c| = 1: our choice, the paper's systems are more general. Systems
    come from a pool of `pool_size`, drawn by `pool_seed`: Bayes is the Kalman filter of every system, weighted by how
    well each predicted the stream so far; a pool of one is a known system, and Bayes its Kalman filter. With pool_size
    none every prompt has a fresh system, whose posterior has no closed form.

    >>> task = LinearDynamicalSystem(points=3, pool_size=1)
    >>> prompt = task.sample(jax.random.key(0))
    >>> print(bool(jnp.allclose(task.bayes(prompt).mean, task.oracle(prompt).mean, atol=1e-6)))
    True
    """

    lesson = "The Kalman filter of the right system is Bayes, and a short stream tells which system it is."

    points: int = setting(24, "observations in a stream", at_least=1)
    dim: int = setting(3, "number of hidden coordinates", at_least=1)
    pool_size: int | None = setting(8, "number of systems; none: a fresh one in every prompt", at_least=1)
    pool_seed: int = setting(0, "of the pool", at_least=0, at_most=2**32 - 1)
    radius: float = setting(0.95, "modulus of the eigenvalues of A", at_least=0, at_most=1)
    process_std: float = setting(0.3, "standard deviation of the noise on every hidden coordinate", at_least=0)
    noise_std: float = setting(0.2, "standard deviation of the noise on what is seen", at_least=0)
    state_std: float = setting(1.0, "standard deviation of every hidden coordinate at the start", above=0)

    @property
    def bayes_kind(self) -> BayesKind:
        if self.pool_size is None:
            return BayesKind("none", "a fresh system leaves no closed form; a pool of systems has one")
        return BayesKind("exact", f"{self.pool_size} Kalman filters, weighted by their evidence")

    def pool(self) -> System:
        """All systems, stacked."""
        if self.pool_size is None:
            raise NotAvailable(f"{self.name} with pool_size none has no pool")
        keys = jax.random.split(jax.random.key(self.pool_seed), self.pool_size)
        return jax.vmap(self._draw)(keys)

    def sample_latent(self, key: PRNGKeyArray) -> System:
        if self.pool_size is None:
            return self._draw(key)
        index = jax.random.randint(key, (), 0, self.pool_size)
        return jax.tree.map(lambda a: a[index], self.pool())

    def sample_prompt(self, latent: System, key: PRNGKeyArray) -> Prompt:
        start, process, seen = jax.random.split(key, 3)
        process = self.process_std * jax.random.normal(process, (self.points, self.dim))

        def step(state, noise):
            after = jnp.matmul(latent.transition, state, precision=HIGHEST) + noise
            return after, jnp.sum(latent.readout * state)

        first = self.state_std * jax.random.normal(start, (self.dim,))
        values = jax.lax.scan(step, first, process)[1]
        ys = values + self.noise_std * jax.random.normal(seen, (self.points,))
        return Prompt(jnp.zeros((self.points, 0)), ys, latent)

    def filter(self, system: System, ys: Float[Array, "P"]) -> Components:
        """The Kalman filter of one system: mean and variance of y_t given y_<t, and log p(y_t | y_<t), each (P,).

        Covariances do not depend on what is seen, and are updated in Joseph's form, which keeps them positive.
        """
        transition, readout = system

        def transported(covariance):
            moved = jnp.matmul(transition, covariance, precision=HIGHEST)
            moved = jnp.matmul(moved, transition.T, precision=HIGHEST)
            return (moved + moved.T) / 2 + self.process_std**2 * jnp.eye(self.dim)

        def step(carry, y):
            state, covariance, unseen = carry
            seen = jnp.matmul(covariance, readout, precision=HIGHEST)
            variance = jnp.maximum(jnp.sum(readout * seen), 0.0) + self.noise_std**2
            gain = jnp.where(variance > 0, seen / jnp.where(variance > 0, variance, 1.0), 0.0)
            mean = jnp.sum(readout * state)
            rest = jnp.eye(self.dim) - gain[:, None] * readout[None, :]
            posterior = jnp.matmul(jnp.matmul(rest, covariance, precision=HIGHEST), rest.T, precision=HIGHEST)
            posterior = posterior + self.noise_std**2 * gain[:, None] * gain[None, :]
            prior = jnp.sum(readout * jnp.matmul(unseen, readout, precision=HIGHEST))
            moved = jnp.matmul(transition, state + gain * (y - mean), precision=HIGHEST)
            log = log_normal(y, mean, variance, prior)
            return (moved, transported(posterior), transported(unseen)), Components(mean, variance, log)

        start = self.state_std**2 * jnp.eye(self.dim)
        return jax.lax.scan(step, (jnp.zeros(self.dim), start, start), ys)[1]

    def posterior(self, prompt: Prompt) -> tuple[Float[Array, "M P"], Components]:
        """log P(system m | y_<t), and the Kalman filter of every system. Raises NotAvailable without a pool."""
        if self.pool_size is None:
            raise NotAvailable(f"{self.name} has no Bayes predictor: {self.bayes_kind.detail}")
        found = jax.vmap(lambda system: self.filter(system, prompt.ys))(self.pool())
        return running_log_weights(jnp.zeros(self.pool_size), found.log_predictive), found

    def component_posterior(self, prompt: Prompt) -> Float[Array, "P M"]:
        """P(system m | y_<t) at every t."""
        return jnp.exp(self.posterior(prompt)[0]).T

    def bayes(self, prompt: Prompt) -> Prediction:
        log_weights, found = self.posterior(prompt)
        return mixed_moments(log_weights, found.mean, found.variance)

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        log_weights, found = self.posterior(prompt)
        return mixed_log_predictive(log_weights, found.log_predictive)

    def oracle(self, prompt: Prompt) -> Prediction:
        """The Kalman filter of the true system."""
        found = self.filter(prompt.latent, prompt.ys)
        return Prediction(mean=found.mean, variance=found.variance)

    def _draw(self, key: PRNGKeyArray) -> System:
        turn, read = jax.random.split(key)
        readout = jax.random.normal(read, (self.dim,))
        rotation = jax.random.orthogonal(turn, self.dim)
        return System(self.radius * rotation, readout / jnp.linalg.norm(readout))
