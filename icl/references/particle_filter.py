"""Bayes of a Boolean class by sampling, for sizes that no enumeration reaches (a particle filter: Chopin 2002).

    p(y_k = + | x_0..x_k, y_<k)  ~  sum_i w_i 1[f_i(x_k) = +],   w_i ~ p(x_k | f_i, past),   f_i ~ p(f | past)

Functions f_1..f_N are drawn from the prior. After every example they are weighted by how well it fits, drawn anew by
these weights, and moved by Metropolis steps that leave p(f | past) as it is: a few entries of a function are drawn anew
from the prior, or two entries exchanged, and the change is accepted with the ratio of the likelihoods.
"""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from function_classes.boolean import Enumerated
from function_classes.fields import setting
from icl.references.base import Reference

# Entries that a move draws anew, in the mean.
CHANGED = 1.5


@Reference.registry.add("particle-filter", papers=("chopin-2002",))
class ParticleFilter(Reference):
    """Estimates of Bayes of the class it is used on, with its law of inputs, from `particles` functions and `moves`
    moves of each after every example.

    Labels count as wrong with probability `slip`, so that a function which fails once is not lost before it is moved.
    Probabilities are (N p + 1/2) / (N + 1): no estimate from N functions is certain. Where enumeration is possible (dim
    3 to 10) they err as N independent draws from the posterior would, by sqrt(p (1 - p) / N). At dim 28 they are a
    bound: with twice the particles and moves .6 % more labels of majorities and conjunctions (30 points) are right,
    at .010 and .015 nats less, and single probabilities move by .06 and .10. Compare two sizes before you trust a gap.
    The estimates are worse than Bayes in the mean, so a learner that beats them has not beaten Bayes.
    """

    cost: ClassVar = "slow"
    jumps: ClassVar[bool] = True
    particles: int = setting(1024, "functions N", at_least=2)
    moves: int = setting(16, "of every function, after every example", at_least=0)
    slip: float = setting(1e-3, "probability that a label counts as wrong", above=0, below=0.5)
    particle_seed: int = setting(0, "of the functions and their moves, the same for all prompts", at_least=0)

    @property
    def label(self) -> str:
        return f"particle filter ({self.particles} functions, {self.moves} moves)"

    def applies(self, task: FunctionClass) -> str | None:
        if not isinstance(task, Enumerated):
            return f"{self.name} draws Boolean functions, {task.name} is another kind of class"
        if not task.independent:
            return f"{self.name} needs functions whose parts are independent, with inputs that do not teach them"
        return None

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        reason = self.applies(task)
        if reason is not None or not isinstance(task, Enumerated):
            raise NotAvailable(str(reason))
        return Particles(self, task)

    def __call__(self, prompt: Prompt) -> Prediction:
        raise NotAvailable("particle-filter does not know of which class: call .calibrate(task, key) first")


class Swarm(NamedTuple):
    """N functions, which are equally likely; how many labels each gets wrong, and log p(inputs | function, hidden)."""

    functions: PyTree
    wrong: Int[Array, "N"]
    inputs: Float[Array, "N S"]


class Particles(eqx.Module):
    """The filter for a known class."""

    settings: ParticleFilter
    task: Enumerated

    @property
    def found(self) -> dict[str, Any]:
        return {}

    def __call__(self, prompt: Prompt) -> Prediction:
        count, key = self.settings.particles, jax.random.key(self.settings.particle_seed)

        def step(swarm: Swarm, k: Int[Array, ""]) -> tuple[Swarm, Float[Array, ""]]:
            x, y = prompt.xs[k], prompt.ys[k]
            labels = self._labels(swarm.functions, x[None])[:, 0]
            inputs = swarm.inputs + self.task.log_inputs(swarm.functions, x, k)
            weights = jax.nn.softmax(self._evidence(inputs) - self._evidence(swarm.inputs))
            plus = jnp.sum(jnp.where(labels, weights, 0.0))
            fits = jnp.where(labels == (y > 0), weights, weights * jnp.exp(self._slipped))
            draw, move = jax.random.split(jax.random.fold_in(key, k))
            chosen = systematic(fits, draw)
            swarm = self._seen(jax.tree.map(lambda a: a[chosen], swarm.functions), prompt, k + 1)
            body = lambda index, swarm: self._moved(swarm, prompt, k + 1, jax.random.fold_in(move, index), index)  # noqa: E731
            return jax.lax.fori_loop(0, self.settings.moves, body, swarm), (count * plus + 0.5) / (count + 1)

        first = self._seen(self._drawn(key), prompt, jnp.int32(0))
        plus = jax.lax.scan(step, first, jnp.arange(prompt.points))[1]
        return Prediction(log_probs=jnp.stack([jnp.log1p(-plus), jnp.log(plus)], -1))

    @property
    def _slipped(self) -> Float[Array, ""]:
        """What a wrong label adds to the logarithm of the likelihood."""
        return jnp.log(self.settings.slip) - jnp.log1p(-self.settings.slip)

    def _drawn(self, key: PRNGKeyArray) -> PyTree:
        """N functions from the prior."""
        return jax.vmap(self.task.sample_latent)(jax.random.split(key, self.settings.particles))

    def _labels(self, functions: PyTree, xs: Float[Array, "M D"]) -> Bool[Array, "N M"]:
        return jax.vmap(lambda f: self.task.evaluate(f, xs) > 0)(functions)

    def _evidence(self, inputs: Float[Array, "N S"]) -> Float[Array, "N"]:
        """log p(inputs | function)."""
        return jax.nn.logsumexp(inputs + self.task.log_hidden()[None], -1)

    def _seen(self, functions: PyTree, prompt: Prompt, k: Int[Array, ""]) -> Swarm:
        """How functions fit the first k examples."""
        places = jnp.arange(prompt.points)
        wrong = (self._labels(functions, prompt.xs) != (prompt.ys > 0)[None]) & (places < k)[None]
        inputs = jax.vmap(lambda x, j: self.task.log_inputs(functions, x, j))(prompt.xs, places)
        inputs = jnp.sum(jnp.where((places < k)[:, None, None], inputs, 0.0), 0)
        return Swarm(functions, jnp.sum(wrong, -1), inputs)

    def _moved(
        self, swarm: Swarm, prompt: Prompt, k: Int[Array, ""], key: PRNGKeyArray, index: Int[Array, ""]
    ) -> Swarm:
        """After one Metropolis step: new entries at even moves, an exchange at odd ones."""
        fresh, where, places, luck = jax.random.split(key, 4)
        leaves, shape = jax.tree.flatten(swarm.functions)
        share = min(0.5, CHANGED / sum(int(np.prod(leaf.shape[1:])) for leaf in leaves))
        changed = [
            jnp.where(jax.random.bernoulli(one, share, old.shape), new, old)
            for one, old, new in zip(
                jax.random.split(where, len(leaves)), leaves, jax.tree.leaves(self._drawn(fresh)), strict=True
            )
        ]
        exchanged = [leaf if leaf.ndim == 1 else exchange(leaf, places) for leaf in leaves]
        moved = [jnp.where(index % 2 == 0, *pair) for pair in zip(changed, exchanged, strict=True)]
        other = self._seen(jax.tree.unflatten(shape, moved), prompt, k)
        gain = self._evidence(other.inputs) - self._evidence(swarm.inputs)
        gain = gain + self._slipped * (other.wrong - swarm.wrong).astype(jnp.float32)
        accepted = jnp.log(jax.random.uniform(luck, gain.shape)) < gain
        keep = lambda new, old: jnp.where(accepted.reshape(-1, *(1 for _ in old.shape[1:])), new, old)  # noqa: E731
        return jax.tree.map(keep, other, swarm)


def systematic(weights: Float[Array, "N"], key: PRNGKeyArray) -> Int[Array, "N"]:
    """N indices, each as often as its share of the weights says, up to one."""
    count = weights.shape[0]
    marks = (jax.random.uniform(key) + jnp.arange(count, dtype=jnp.float32)) / count * jnp.sum(weights)
    return jnp.minimum(jnp.searchsorted(jnp.cumsum(weights), marks), count - 1)


def exchange(values: Float[Array, "N *m D"], key: PRNGKeyArray) -> Float[Array, "N *m D"]:
    """Two places of the last axis exchanged, other ones for every row of the first."""
    count, size = values.shape[0], values.shape[-1]
    one, two = (a[:, None] for a in jax.random.randint(key, (2, count), 0, size))
    places = jnp.arange(size)[None]
    order = jnp.where(places == one, two, jnp.where(places == two, one, places))
    return jnp.take_along_axis(values, order.reshape(count, *(1 for _ in values.shape[1:-1]), size), -1)
