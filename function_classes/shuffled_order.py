"""Prompts whose examples or symbols stand in random order: what is left when order says nothing.

A learner that reads the sequence (a window of inputs, a chain) loses what it knew; one that treats examples alike does
not notice (Campbell, Guo, Hu, Vir, Hsiao 2023 ask which of the two a trained model is).
"""

from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree, Shaped

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prompt
from function_classes.fields import Problem, setting
from function_classes.shifts import Shift
from function_classes.sliding_window import SlidingWindow
from function_classes.wrapped import Wrapped


@FunctionClass.registry.add("shuffled-order", papers=("campbell-2023",))
class ShuffledOrder(Wrapped):
    """A prompt of the base class with its positions in random order: inputs, outputs, targets and weights together.

    Outputs are those of the order in which they were made, so y is a function of inputs that may now stand anywhere,
    also later. Bayes would average over all P! orders.

    >>> from function_classes.fixed_markov import FixedMarkov
    >>> task = ShuffledOrder(points=8, base=FixedMarkov(p=1.0, q=1.0))  # a chain that always changes its symbol
    >>> print(sorted(task.sample(jax.random.key(0)).ys.tolist()))
    [0, 0, 0, 0, 1, 1, 1, 1]
    """

    lesson = "Nothing is left to read from the order: what still helps is what the examples say one by one."

    points: int = setting(32, "positions in a prompt", at_least=1)
    base: FunctionClass = setting(SlidingWindow(), "the class whose prompts are shuffled; it has these points too")

    def problems(self):
        if self.base.exchangeable:
            yield Problem("base", f"the examples of {self.base.name} are exchangeable: their order says nothing")

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("none", "the posterior is an average over all orders of the prompt")

    @property
    def oracle_known(self) -> bool:
        return False

    @property
    def exchangeable(self) -> bool:
        return True

    def sample_inputs(self, latent: PyTree, key: PRNGKeyArray) -> Shaped[Array, "P *x"]:
        raise NotAvailable(f"{self.name} draws whole prompts: outputs belong to the order before shuffling")

    def evaluate(self, latent: PyTree, xs: Shaped[Array, "N *x"]) -> Shaped[Array, "N *y"]:
        raise NotAvailable(f"{self.name} has no function of x: outputs belong to the order before shuffling")

    def oracle(self, prompt: Prompt) -> Any:
        raise NotAvailable(f"{self.name} has no oracle: outputs belong to the order before shuffling")

    def sample_prompt(self, latent: PyTree, key: PRNGKeyArray) -> Prompt:
        made, order = jax.random.split(key)
        prompt = self.base.sample_prompt(latent, made)
        places = jax.random.permutation(order, self.points)
        targets, scored = (None if a is None else a[places] for a in (prompt.targets, prompt.scored))
        return Prompt(prompt.xs[places], prompt.ys[places], prompt.latent, targets, scored)


@Shift.registry.add("shuffled-order", papers=("campbell-2023",))
class Shuffle(Shift):
    """The examples or symbols of every prompt in random order."""

    def apply(self, task: FunctionClass) -> FunctionClass:
        if task.exchangeable:
            raise NotAvailable(
                f"{self.name} changes nothing of {task.name}: its examples are exchangeable; sliding-window is not"
            )
        return ShuffledOrder(points=task.points, base=task)
