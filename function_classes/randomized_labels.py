"""Any class x -> y with part of its shown labels replaced at random (Campbell, Guo, Hu, Vir, Hsiao 2023)."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Shaped

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prompt
from function_classes.fields import Problem, setting
from function_classes.shifts import Shift
from function_classes.sliding_window import SlidingWindow
from function_classes.spaces import Nothing
from function_classes.wrapped import Wrapped


@FunctionClass.registry.add("randomized-labels", papers=("campbell-2023",))
class RandomizedLabels(Wrapped):
    """The base class; each shown label is replaced with probability `rate`; the target of every position stays intact.

    by "marginal": the label of another task at another input, which has the law of y and says nothing about the task
    (where the paper draws N(0, var y)). by "permutation": labels trade places within the prompt, among those chosen.

    Whether a label was replaced is hidden, so the posterior is a mixture over 2^k subsets: no Bayes. That of the
    base, which believes every label, is `references.get("bayes-of", task=base)`.

    >>> task = RandomizedLabels(points=4, rate=0.0)
    >>> prompt = task.sample(jax.random.key(0))
    >>> print(bool(jnp.all(prompt.ys == prompt.targets)))
    True
    """

    lesson = "Nothing says which labels are random: Bayes would average over all subsets, references believe them all."

    points: int = setting(32, "positions in a prompt", at_least=1)
    base: FunctionClass = setting(SlidingWindow(), "the class whose labels are replaced; it has these points too")
    rate: float = setting(0.5, "probability that a shown label is replaced", at_least=0, at_most=1)
    by: Literal["marginal", "permutation"] = setting("marginal", "what replaces a label")

    def problems(self):
        reason = _no_labels(self.base)
        if reason:
            yield Problem("base", f"the labels of {self.base.name} cannot be replaced: {reason}")

    @property
    def exchangeable(self) -> bool:
        return self.base.exchangeable

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("none", "the posterior is a mixture over all subsets of labels that may have been replaced")

    def sample_outputs(self, latent: PyTree, xs: Shaped[Array, "P *x"], key: PRNGKeyArray) -> Shaped[Array, "P *y"]:
        return self.show(latent, xs, key).ys

    def show(self, latent: PyTree, xs: Shaped[Array, "P *x"], key: PRNGKeyArray) -> Prompt:
        labels, choose, others = jax.random.split(key, 3)
        intact = self.base.show(latent, xs, labels)
        chosen = jax.random.bernoulli(choose, self.rate, (xs.shape[0],))
        if self.by == "marginal":
            keys = jax.random.split(others, xs.shape[0])
            # One label of each of as many other prompts, at its own position: labels may depend on where they are.
            strange = jax.vmap(lambda i, k: self.base.sample(k).ys[i])(jnp.arange(xs.shape[0]), keys)
            mask = chosen.reshape(-1, *(1 for _ in self.y_space.shape))
            shown = jnp.where(mask, strange, intact.ys)
        else:
            order = jnp.argsort(~chosen)
            shuffled = jnp.argsort(jnp.where(chosen, jax.random.uniform(others, chosen.shape), 2.0))
            shown = intact.ys.at[order].set(intact.ys[shuffled])
        return Prompt(xs, shown, intact.latent, intact.scores, intact.scored)


@Shift.registry.add("randomized-labels", papers=("campbell-2023",))
class RandomizeLabels(Shift):
    """A share of the shown labels is replaced by labels of other tasks; targets stay what they were."""

    value: float = setting(0.2, "probability that a shown label is replaced", at_least=0, at_most=1)

    def apply(self, task: FunctionClass) -> FunctionClass:
        reason = _no_labels(task)
        if reason:
            raise NotAvailable(f"{self.name} cannot change {task.name}: {reason}")
        return RandomizedLabels(points=task.points, base=task, rate=self.value)


def _no_labels(task: FunctionClass) -> str:
    """Why a class has no labels that could be replaced; empty where it has."""
    if isinstance(task.x_space, Nothing):
        return "it is a stream, without labels apart from what is predicted"
    return f"it reveals {task.steps} targets per example, not one" if task.steps > 1 else ""
