"""Tasks between those of a pool: does a learner that knows the pool follow a task that is not in it?

Raventos, Paul, Chen, Ganguli 2023, section 3: interpolation between the tasks of the pretraining pool.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable
from function_classes.fields import setting
from function_classes.linear_functions import Member, too_many
from function_classes.linear_pool import LinearPool
from function_classes.shifts import Shift

_MOST_PAIRS = 2**16


@FunctionClass.registry.add("interpolated-pool", papers=("raventos-2023",))
class InterpolatedPool(LinearPool):
    """w = (|w_i| + |w_j|) / 2 u / |u| with u = (1 - share) w_i + share w_j for a random ordered pair i != j of a pool.

    share = 0 and 1 have the directions of the pool, with norms in between. Bayes knows the pool and averages over all
    M (M - 1) pairs, at most 65,536. What Bayes of the pool itself does here is `bayes-of` a `linear-pool`.

    >>> task = InterpolatedPool(dim=2, points=3, pool_size=3)
    >>> print(task.candidates().shape)
    (6, 2)
    """

    lesson = "Between two tasks of the pool, Bayes of the pool answers with one of the two; ridge does not care."

    pool_size: int = setting(32, "M, the number of weight vectors", at_least=2, at_most=2**20)
    share: float = setting(0.5, "how far from the first task of a pair to the second", at_least=0, at_most=1)

    @property
    def bayes_kind(self) -> BayesKind:
        reason = too_many(self.pool_size * (self.pool_size - 1), "pairs of tasks", _MOST_PAIRS)
        return BayesKind("none", reason) if reason else super().bayes_kind

    def candidates(self) -> Float[Array, "M D"]:
        """One weight vector for every ordered pair, the second task changing fastest. Raises NotAvailable where they
        are too many."""
        if self.bayes_kind.kind == "none":
            raise NotAvailable(f"{self.name} does not list its tasks: {self.bayes_kind.detail}")
        first, second = np.nonzero(~np.eye(self.pool_size, dtype=bool))
        pool = self.pool()
        return self._between(pool[first], pool[second])

    def sample_latent(self, key: PRNGKeyArray) -> Member:
        first, other = jax.random.split(key)
        i = jax.random.randint(first, (), 0, self.pool_size)
        step = jax.random.randint(other, (), 0, self.pool_size - 1)
        pool = self.pool()
        j = jnp.where(step >= i, step + 1, step)
        return Member(i * (self.pool_size - 1) + step, self._between(pool[i], pool[j]))

    def _between(self, first: Float[Array, "*m D"], second: Float[Array, "*m D"]) -> Float[Array, "*m D"]:
        between = (1 - self.share) * first + self.share * second
        a, b, own = (jnp.linalg.norm(w, axis=-1, keepdims=True) for w in (first, second, between))
        return (a + b) / 2 * between / own


@Shift.registry.add("interpolate-tasks", papers=("raventos-2023",))
class InterpolateTasks(Shift):
    """Tasks between two of the pool, at the norm between theirs."""

    value: float = setting(0.5, "how far from the first task of a pair to the second", at_least=0, at_most=1)

    def apply(self, task: FunctionClass) -> FunctionClass:
        if not isinstance(task, LinearPool):
            raise NotAvailable(
                f"{self.name} goes between the tasks of a pool, which {task.name} does not have; linear-pool does"
            )
        if task.pool_size < 2:
            raise NotAvailable(f"{self.name} needs two tasks, and the pool has one; use --pool-size")
        fields = {name: getattr(task, name) for name in ("points", "dim", "noise_std", "inputs", "weight_std")}
        return InterpolatedPool(**fields, pool_size=task.pool_size, pool_seed=task.pool_seed, share=self.value)
