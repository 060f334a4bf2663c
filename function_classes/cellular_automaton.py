"""Cellular automata in context: pairs of a state and the next under an unknown rule (cf. Berkovich, Buehler 2024)."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.boolean import FreeSigns
from function_classes.fields import Problem, setting
from function_classes.spaces import Signs

_LARGEST_RADIUS = 5


@FunctionClass.registry.add("cellular-automaton", papers=("berkovich-2024",))
class CellularAutomaton(FunctionClass):
    """x is a state of cells, +1 alive and -1 dead, y the next state under the rule of the prompt; borders wrap around.

    elementary: a ring of `cells` cells; the next state of a cell is the entry of its 2 radius + 1 neighbors, the left
    one most significant (Wolfram's numbering; radius 1 has 256 rules). life-like: a torus of cells x cells; the entry
    of 9 alive + (living among 8 neighbors), hence 18 bits: birth 0..8, then survival 0..8 (Conway: 3, 9 + 2, 9 + 3).

    Every entry of the rule is 1 with probability `rule_density`, independently; every cell of a state with probability
    `density` (none: drawn uniformly for each state, the paper's broad entropy). So the posterior factorizes: an entry
    is known once a neighborhood has shown it, else it is as before. After s independent uniform neighborhoods the next
    bit is right with probability 1 - (7/8)^s / 2 at radius 1 and rule_density 1/2; cells of one state are not
    independent. `log_predictive` is of whole states: cells that share an unknown entry are equal.

    The paper's model learns one rule, Conway's, in its weights; the class in context is ours.

    >>> task = CellularAutomaton(cells=5)
    >>> rule = (110 >> jnp.arange(8)) % 2 == 1
    >>> print(task.evaluate(rule, jnp.array([[-1.0, -1.0, -1.0, 1.0, -1.0]])))
    [[-1. -1.  1.  1. -1.]]
    """

    lesson = "A table is filled by looking: each neighborhood seen once is known, an unseen one is a coin."

    points: int = setting(6, "pairs of states in a prompt", at_least=1)
    rules: Literal["elementary", "life-like"] = setting("elementary", "what a rule reads")
    cells: int = setting(8, "cells of the ring, or of one side of the torus", at_least=3)
    radius: int = setting(1, "neighbors on each side; of elementary rules", at_least=0, at_most=_LARGEST_RADIUS)
    density: float | None = setting(0.5, "probability that a cell lives; none: uniform, per state", above=0, below=1)
    rule_density: float = setting(0.5, "probability that an entry of the rule is 1", above=0, below=1)

    def problems(self):
        if self.rules == "elementary" and self.cells < 2 * self.radius + 1:
            yield Problem("cells", f"a neighborhood has {2 * self.radius + 1} different cells, got {self.cells}")

    @property
    def x_space(self) -> Signs:
        return Signs((self.cells,) if self.rules == "elementary" else (self.cells, self.cells))

    @property
    def y_space(self) -> Signs:
        return self.x_space

    @property
    def input_law(self) -> FreeSigns:
        return FreeSigns(self.density)

    @property
    def entries(self) -> int:
        """Bits of a rule."""
        return 2 ** (2 * self.radius + 1) if self.rules == "elementary" else 18

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "entries of the rule are independent: seen ones are known")

    def sample_latent(self, key: PRNGKeyArray) -> Bool[Array, "R"]:
        return jax.random.bernoulli(key, self.rule_density, (self.entries,))

    def sample_inputs(self, latent: Bool[Array, "R"], key: PRNGKeyArray) -> Float[Array, "P *x"]:
        first, second = jax.random.split(key)
        shape = (self.points, *self.x_space.shape)
        lead = (self.points, *(1 for _ in self.x_space.shape))
        density = jax.random.uniform(first, lead) if self.density is None else self.density * jnp.ones(lead)
        return _signs(jax.random.uniform(second, shape) < density)

    def neighborhoods(self, xs: Float[Array, "N *x"]) -> Int[Array, "N *x"]:
        """The entry of the rule that every cell reads."""
        alive = (xs > 0).astype(jnp.int32)
        if self.rules == "elementary":
            shifts = range(self.radius, -self.radius - 1, -1)
            return sum(jnp.roll(alive, s, 1) * 2 ** (self.radius + s) for s in shifts) + jnp.zeros_like(alive)
        around = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
        return sum(jnp.roll(alive, step, (1, 2)) for step in around) + 9 * alive

    def evaluate(self, latent: Bool[Array, "R"], xs: Float[Array, "N *x"]) -> Float[Array, "N *x"]:
        return _signs(latent[self.neighborhoods(xs)])

    def bayes(self, prompt: Prompt) -> Prediction:
        codes, known = self._known(prompt)
        bits = jnp.take_along_axis(known, codes, 1).reshape(prompt.ys.shape)
        alive = jnp.full(bits.shape, self.rule_density)
        prior = jnp.log(jnp.stack([1 - alive, alive], -1))
        return Prediction(log_probs=jnp.where(bits[..., None] == 0, prior, self._certain(bits)))

    def oracle(self, prompt: Prompt) -> Prediction:
        return Prediction(log_probs=self._certain(self.evaluate(prompt.latent, prompt.xs)))

    def log_predictive(self, prompt: Prompt) -> Float[Array, "P"]:
        """Of the whole next state: one factor for each entry that is new; -inf where cells contradict each other or
        what was seen."""
        codes, known = self._known(prompt)
        ys = prompt.ys.reshape(prompt.points, -1)
        shows = jax.vmap(lambda code, y: jnp.zeros(self.entries, bool).at[code].max(y))
        alive, dead = shows(codes, ys > 0), shows(codes, ys <= 0)
        wrong = (alive & dead) | (alive & (known < 0)) | (dead & (known > 0))
        fresh = jnp.where(alive, jnp.log(self.rule_density), jnp.where(dead, jnp.log1p(-self.rule_density), 0.0))
        logs = jnp.where(wrong, -jnp.inf, jnp.where(known == 0, fresh, 0.0))
        return jnp.sum(logs, -1)

    def _certain(self, states: Float[Array, "*n"] | Int[Array, "*n"]) -> Float[Array, "*n 2"]:
        alive = states > 0
        return jnp.where(jnp.stack([~alive, alive], -1), 0.0, -jnp.inf)

    def _known(self, prompt: Prompt) -> tuple[Int[Array, "P W"], Int[Array, "P R"]]:
        """The entries read at every position, and what is known of the rule before it: 1 alive, -1 dead, 0 unseen."""
        codes = self.neighborhoods(prompt.xs).reshape(prompt.points, -1)

        def step(known, now):
            code, y = now
            return known.at[code].set(jnp.where(y > 0, 1, -1)), known

        ys = prompt.ys.reshape(prompt.points, -1)
        return codes, jax.lax.scan(step, jnp.zeros(self.entries, jnp.int32), (codes, ys))[1]


def _signs(alive: Bool[Array, "..."]) -> Float[Array, "..."]:
    return 2 * alive.astype(jnp.float32) - 1
