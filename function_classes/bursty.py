"""Classes that come in bursts: few-shot or in-weights classification (Chan et al. 2022; Reddy 2023, synthetic)."""

import dataclasses
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import Problem, setting
from function_classes.groupings import IMPOSSIBLE, Look, groupings, together
from function_classes.inputs import Gaussian
from function_classes.linear_functions import too_many
from function_classes.posteriors import HIGHEST
from function_classes.spaces import Real, Symbols

_MOST_GROUPINGS = 20_000
# Items of one class differ by at least this share of their norm when they are scored: without noise a density needs it.
_LEAST_NOISE = 1e-3


class NewClasses(NamedTuple):
    """Classes that no other prompt has: one mean and one label for every group of items. Empty for trained classes."""

    means: Float[Array, "G D"]
    labels: Int[Array, "G"]


class Shown(NamedTuple):
    """The task of a prompt, as far as it is decided: its new classes, and the label of every item."""

    new: NewClasses
    labels: Int[Array, "P"]


@FunctionClass.registry.add("bursty-classes", papers=("chan-2022", "reddy-2023"))
class BurstyClasses(FunctionClass):
    """Items x = (mu_c + spread e) / sqrt(1 + spread^2), e ~ N(0, I / dim), of class c, and its label c mod `labels`.

    The `classes` means mu_c ~ N(0, I / dim) are drawn once by `class_seed`; P(c) ∝ (c + 1)^-zipf. A prompt has N =
    points - 1 context items and a query. With probability `burst_probability` it is bursty: N / B classes (B =
    `burstiness`; rounded up) are drawn independently, each has B copies, the N copies shown are in random order, and
    the query is one of these N / B classes at random. Otherwise all N + 1 are drawn independently. The query alone is
    scored unless scoring = every.

    trial chooses what is tested (`in_context`, `in_weights` and `relabeled` give these classes):
    training        as above
    in-context      as above, with a new mean and a uniform label for every class that is drawn: only copying helps
    in-weights      the query's class is drawn first, and the context independently from the others: copying never helps
    in-weights-uniform  the same with every class equally likely to be the query: not weighted by Zipf's law
    label_shift = s changes the label to (c + s) mod `labels`: who answers c mod `labels` remembers, who copies adapts.

    Bayes knows means and laws. It averages over all groupings of the context into copies (N! / (B!^(N/B) (N/B)!): 105
    at N = 8, B = 2; at most 20,000), given which classes are independent: known ones are summed over, the means of new
    ones are integrated out. Items tell their classes, hence `log_input_density`.

    >>> task = BurstyClasses(points=5, burst_probability=1.0, spread=0.0)
    >>> prompt = task.sample(jax.random.key(0))
    >>> print(sorted(jnp.bincount(prompt.ys[:4], length=8).tolist())[-2:], bool(jnp.any(prompt.ys[:4] == prompt.ys[4])))
    [2, 2] True
    """

    lesson = "The query's label can be remembered or copied; trials with new, relabeled or absent classes tell which."

    points: int = setting(9, "positions in a prompt: context items and one query", at_least=1)
    dim: int = setting(16, "number of coordinates of an item", at_least=1)
    classes: int = setting(32, "number K of trained classes", at_least=2)
    labels: int = setting(8, "number L of labels", at_least=2)
    burstiness: int = setting(2, "copies B of every class in a bursty context", at_least=1, at_most=10_000)
    burst_probability: float = setting(0.9, "probability that a prompt is bursty", at_least=0, at_most=1)
    zipf: float = setting(0.0, "alpha: class c has probability proportional to (c + 1)^-alpha", at_least=0)
    spread: float = setting(0.1, "noise within a class, relative to the norm of its mean", at_least=0)
    class_seed: int = setting(0, "of the means of the trained classes", at_least=0, at_most=2**32 - 1)
    label_shift: int = setting(0, "added to the label of every trained class, modulo labels", at_least=0)
    trial: Literal["training", "in-context", "in-weights", "in-weights-uniform"] = setting("training", "what is tested")
    scoring: Literal["query", "every"] = setting("query", "the positions that count")

    def problems(self):
        if self.classes % self.labels:
            nearest = self.labels * max(1, round(self.classes / self.labels))
            yield Problem("classes", f"must be a multiple of labels = {self.labels}, got {self.classes}; try {nearest}")

    @property
    def x_space(self) -> Real:
        return Real((self.dim,))

    @property
    def y_space(self) -> Symbols:
        return Symbols(self.labels)

    @property
    def input_law(self) -> Gaussian:
        """Of items when all classes are unknown."""
        return Gaussian(std=self.dim**-0.5)

    @property
    def unread(self) -> frozenset[str]:
        unread = {"training": (), "in-context": ("zipf",)}
        return frozenset(unread.get(self.trial, ("burst_probability",)))

    @property
    def exchangeable(self) -> bool:
        return False

    @property
    def bayes_kind(self) -> BayesKind:
        reason = self._too_many(self.points)
        return BayesKind("none", reason) if reason else BayesKind("exact", "average over groupings of the context")

    def in_context(self) -> "BurstyClasses":
        """New classes in bursts: who has only learned the trained ones is right with probability 1 / labels."""
        return dataclasses.replace(self, trial="in-context", burst_probability=1.0)

    def relabeled(self, label_shift: int = 1) -> "BurstyClasses":
        """Trained classes in bursts, with other labels in the context."""
        return dataclasses.replace(self, trial="training", burst_probability=1.0, label_shift=label_shift)

    def in_weights(self, uniform: bool = False) -> "BurstyClasses":
        """Trained classes, the query's absent from the context; accuracy by Zipf's law, or every class alike."""
        return dataclasses.replace(self, trial="in-weights-uniform" if uniform else "in-weights")

    def class_means(self) -> Float[Array, "C D"]:
        draws = jax.random.normal(jax.random.key(self.class_seed), (self.classes, self.dim), jnp.float32)
        return draws / math.sqrt(self.dim)

    def class_log_probs(self) -> Float[Array, "C"]:
        ranks = jnp.arange(1, self.classes + 1, dtype=jnp.float32)
        return jax.nn.log_softmax(-self.zipf * jnp.log(ranks))

    def contamination(self) -> Float[Array, ""]:
        """P(the query's class is in a context of points - 1 independent classes): 1 - sum_c p_c (1 - p_c)^N."""
        probs = jnp.exp(self.class_log_probs())
        return 1 - jnp.sum(probs * (1 - probs) ** (self.points - 1))

    def sample_latent(self, key: PRNGKeyArray) -> NewClasses:
        """Means and labels of new classes; nothing, where prompts are about the trained ones."""
        number = self.points if self.trial == "in-context" else 0
        means, labels = jax.random.split(key)
        draws = jax.random.normal(means, (number, self.dim)) / math.sqrt(self.dim)
        return NewClasses(draws, jax.random.randint(labels, (number,), 0, self.labels))

    def sample_prompt(self, latent: NewClasses, key: PRNGKeyArray) -> Prompt:
        which, order, noise = jax.random.split(key, 3)
        if self.trial in ("training", "in-context"):
            groups = self._sample_groups(order)
            if self.trial == "in-context":
                means, labels = latent.means[groups], latent.labels[groups]
            else:
                drawn = jax.random.categorical(which, self.class_log_probs(), shape=(self.points,))
                means, labels = self._trained(drawn[groups])
        else:
            means, labels = self._trained(self._sample_apart(which))
        errors = self.spread / math.sqrt(self.dim) * jax.random.normal(noise, means.shape)
        xs = (means + errors) / jnp.sqrt(1 + self.spread**2)
        query = jnp.arange(self.points) == self.points - 1
        scored = query.astype(jnp.float32) if self.scoring == "query" else None
        return Prompt(xs, labels, Shown(latent, labels), None, scored)

    def oracle(self, prompt: Prompt) -> Prediction:
        """Who knows the class of every item."""
        return Prediction(log_probs=jnp.log(self.y_space.encode(prompt.latent.labels)))

    def bayes(self, prompt: Prompt) -> Prediction:
        return Prediction(log_probs=self._filter(prompt)[0])

    def log_input_density(self, prompt: Prompt) -> Float[Array, "P"]:
        """log p(x_k | x_<k, y_<k) - log N(x_k; 0, I / dim) in nats: relative to items of no class."""
        return self._filter(prompt)[1] - self.input_law.log_density(prompt.xs)

    def _trained(self, classes: Int[Array, "P"]) -> tuple[Float[Array, "P D"], Int[Array, "P"]]:
        return self.class_means()[classes], ((classes + self.label_shift) % self.labels).astype(jnp.int32)

    def _sample_groups(self, key: PRNGKeyArray) -> Int[Array, "P"]:
        """A number for every item; items with equal numbers are copies of one class."""
        burst, shuffle, ask = jax.random.split(key, 3)
        context = self.points - 1
        count = -(-context // self.burstiness)
        copies = jax.random.permutation(shuffle, jnp.repeat(jnp.arange(count), self.burstiness))[:context]
        query = jax.random.randint(ask, (1,), 0, max(count, 1))
        bursty = jax.random.bernoulli(burst, jnp.clip(self.burst_probability, 0.0, 1.0))
        return jnp.where(bursty, jnp.concatenate([copies, query]), jnp.arange(self.points))

    def _sample_apart(self, key: PRNGKeyArray) -> Int[Array, "P"]:
        """The query's class last, before it independent draws from the others."""
        ask, others = jax.random.split(key)
        query = jax.random.categorical(ask, self._query_log_probs())
        logs = jnp.where(jnp.arange(self.classes) == query, -jnp.inf, self.class_log_probs())
        return jnp.append(jax.random.categorical(others, logs, shape=(self.points - 1,)), query)

    def _query_log_probs(self) -> Float[Array, "C"]:
        return jnp.zeros(self.classes) if self.trial == "in-weights-uniform" else self.class_log_probs()

    def _too_many(self, points: int) -> str:
        if self.trial in ("in-weights", "in-weights-uniform") or points < 2:
            return ""
        size = self.burstiness
        count = -(-(min(points, 1000) - 1) // size)  # 1,000 are too many already
        number = math.factorial(count * size) // (math.factorial(size) ** count * math.factorial(count))
        return too_many(number, "groupings of the context into copies", _MOST_GROUPINGS)

    def _filter(self, prompt: Prompt) -> tuple[Float[Array, "P L"], Float[Array, "P"]]:
        """log p(y_k = label | x_<=k, y_<k) and log p(x_k | x_<k, y_<k)."""
        reason = self._too_many(prompt.points)
        if reason:
            raise NotAvailable(f"{self.name} has no Bayes predictor: {reason}")
        if self.trial in ("in-weights", "in-weights-uniform"):
            return self._filter_apart(prompt)
        return self._filter_groups(prompt)

    def _filter_groups(self, prompt: Prompt) -> tuple[Float[Array, "P L"], Float[Array, "P"]]:
        """A component is a grouping of the context, or the prompt of independent draws, which comes last. What a group
        has seen is a sum over its members, of rows of a memory that is 0 where nothing was seen yet."""
        context, count = prompt.points - 1, max(1, -(-(prompt.points - 1) // self.burstiness))
        groups = groupings(context, self.burstiness)
        alike = np.concatenate([groups[:, :, None] == groups[:, None, :], np.zeros((1, context, context), bool)])
        asked = (groups[:, None, :] == np.arange(count)[None, :, None]).reshape(len(groups) * count, context)
        asked = jnp.asarray(np.concatenate([asked, np.zeros((1, context), bool)]), jnp.float32)

        bursty = jnp.log(jnp.clip(self.burst_probability, 0.0, 1.0))
        apart = jnp.log1p(-jnp.clip(self.burst_probability, 0.0, 1.0))
        weights = jnp.append(jnp.full(len(groups), bursty - math.log(len(groups))), apart)

        def step(carry, now):
            memory, weights = carry
            k, same, x, y = now
            found = self._look(jnp.matmul(same, memory, precision=HIGHEST), weights, x)
            memory = memory.at[k].set(self._row(x, y))
            return (memory, jax.nn.log_softmax(found.weights + found.said[:, y])), (found.log_probs, found.density)

        same = jnp.asarray(np.swapaxes(alike, 0, 1), jnp.float32)
        row = jax.eval_shape(self._row, prompt.xs[-1], prompt.ys[-1])
        start = jnp.zeros((context, *row.shape)), jax.nn.log_softmax(jnp.maximum(weights, IMPOSSIBLE))
        steps = jnp.arange(context), same, prompt.xs[:-1], prompt.ys[:-1]
        shown = jnp.zeros((0, self.labels)), jnp.zeros(0)  # of a query alone, whose group is empty
        (memory, weights), (log_probs, density) = jax.lax.scan(step, start, steps) if context else (start, shown)
        choices = jnp.append(jnp.repeat(weights[:-1] - math.log(count), count), weights[-1])
        last = self._look(jnp.matmul(asked, memory, precision=HIGHEST), choices, prompt.xs[-1])
        return jnp.concatenate([log_probs, last.log_probs[None]]), jnp.append(density, last.density)

    def _filter_apart(self, prompt: Prompt) -> tuple[Float[Array, "P L"], Float[Array, "P"]]:
        """A component is the class of the query, which the context does not have."""
        own = jnp.eye(self.classes, dtype=bool)
        context = jnp.where(own, IMPOSSIBLE, self.class_log_probs()[None, :])
        query = jnp.where(own, 0.0, IMPOSSIBLE)

        def step(weights, now):
            x, y = now
            found = self._look_trained(context, weights, x)
            return jax.nn.log_softmax(found.weights + found.said[:, y]), (found.log_probs, found.density)

        start = jax.nn.log_softmax(self._query_log_probs())
        weights, (log_probs, density) = jax.lax.scan(step, start, (prompt.xs[:-1], prompt.ys[:-1]))
        last = self._look_trained(query, weights, prompt.xs[-1])
        return jnp.concatenate([log_probs, last.log_probs[None]]), jnp.append(density, last.density)

    def _row(self, x: Float[Array, "D"], y: Int[Array, ""]) -> Float[Array, "F"]:
        """What one member adds to its group: of trained classes the log likelihood of each, of new ones a count, the
        item, and its label."""
        if self.trial == "in-context":
            return jnp.concatenate([jnp.ones(1), x, self.y_space.encode(y)])
        labels = (jnp.arange(self.classes) + self.label_shift) % self.labels
        return self._log_likelihood(x) + jnp.where(labels == y, 0.0, IMPOSSIBLE)

    def _look(self, totals: Float[Array, "M F"], weights: Float[Array, "M"], x: Float[Array, "D"]) -> Look:
        if self.trial == "in-context":
            return self._look_new(totals, weights, x)
        return self._look_trained(self.class_log_probs()[None, :] + totals, weights, x)

    def _look_trained(self, prior: Float[Array, "M C"], weights: Float[Array, "M"], x: Float[Array, "D"]) -> Look:
        """`prior` has every component's log weights of the classes, up to a constant."""
        joint = prior + self._log_likelihood(x)[None, :]
        evidence = logsumexp(joint, axis=1)
        by_label = logsumexp(joint.reshape(joint.shape[0], -1, self.labels), axis=1) - evidence[:, None]
        return together(weights, evidence - logsumexp(prior, axis=1), jnp.roll(by_label, self.label_shift, axis=1))

    def _look_new(self, totals: Float[Array, "M F"], weights: Float[Array, "M"], x: Float[Array, "D"]) -> Look:
        """A group of n members around their mean, shrunk to 0; without members the prior, and any label."""
        number, sums, labels = jnp.split(totals, [1, 1 + self.dim], axis=1)
        noise, prior = self._item_variance(), 1 / (self.dim * (1 + self.spread**2))
        total = number * prior + noise
        mean, variance = prior * sums / total, noise + noise * prior / total
        density = -0.5 * jnp.sum(jnp.log(2 * jnp.pi * variance) + (x[None, :] - mean) ** 2 / variance, 1)
        share = labels / jnp.maximum(number, 1.0)
        known = jnp.where(share > 0, jnp.log(jnp.where(share > 0, share, 1.0)), IMPOSSIBLE)
        return together(weights, density, jnp.where(number > 0, known, -math.log(self.labels)))

    def _item_variance(self) -> Float[Array, ""]:
        """Of every coordinate of an item around its class."""
        square = jnp.maximum(self.spread**2, _LEAST_NOISE**2)
        return square / (self.dim * (1 + square))

    def _log_likelihood(self, x: Float[Array, "D"]) -> Float[Array, "C"]:
        variance = self._item_variance()
        centers = self.class_means() / jnp.sqrt(1 + self.spread**2)
        distance = jnp.sum((x[None, :] - centers) ** 2, 1)
        return -0.5 * (self.dim * jnp.log(2 * jnp.pi * variance) + distance / variance)
