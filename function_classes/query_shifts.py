"""Shifts in which the query differs from the examples before it (Garg et al. 2022, section 4).

Every prompt has one query, its last example, and that alone is scored: an evaluation says what a learner does after
P - 1 examples. Bayes is that of the class, conditioned on these inputs.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass
from function_classes.fields import setting
from function_classes.posteriors import HIGHEST
from function_classes.shifts import InputShift, Shift, needs_two_coordinates


class QueryShift(InputShift):
    """A change of the last input against the others."""

    query_alone = True

    def refuses(self, task: FunctionClass) -> str:
        return "" if task.points > 1 else "it has one point, and a query needs examples before it; use --points"


@Shift.registry.add("scale-query", papers=("garg-2022",))
class ScaleQuery(QueryShift):
    """x_{P-1} -> value x_{P-1}; the examples stay."""

    value: float = setting(2.0, "factor on every coordinate of the query", above=0)

    def transform(self, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        return xs.at[-1].multiply(self.value)


@Shift.registry.add("orthants", papers=("garg-2022",))
class Orthants(QueryShift):
    """x -> s |x| for the examples, one random vector of signs s a prompt; the query is an ordinary one."""

    def transform(self, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        signs = jax.random.rademacher(key, xs.shape[-1:], xs.dtype)
        return xs.at[:-1].set(signs[None, :] * jnp.abs(xs[:-1]))


@Shift.registry.add("orthogonal-query", papers=("garg-2022",))
class OrthogonalQuery(QueryShift):
    """The query without its part in the span of the examples, at its own length. Nothing is known of f there: with
    Gaussian weights no predictor does better than 0. Needs P - 1 < dim."""

    def refuses(self, task: FunctionClass) -> str:
        room = task.x_space.features
        if task.points > room:
            return f"{task.points - 1} examples span all {room} dimensions; use at most --points {room}"
        return needs_two_coordinates(task) or super().refuses(task)

    def transform(self, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        basis, _ = jnp.linalg.qr(xs[:-1].T)
        query = xs[-1]
        for _ in range(2):  # once more removes what rounding left of the first
            inside = jnp.matmul(query, basis, precision=HIGHEST)
            query = query - jnp.matmul(basis, inside, precision=HIGHEST)
        return xs.at[-1].set(query * jnp.linalg.norm(xs[-1]) / jnp.linalg.norm(query))


@Shift.registry.add("repeated-query", papers=("garg-2022",))
class RepeatedQuery(QueryShift):
    """The query is one of the examples, each as likely: a learner that remembers has an error of the noise alone."""

    def transform(self, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        return xs.at[-1].set(xs[jax.random.randint(key, (), 0, xs.shape[0] - 1)])
