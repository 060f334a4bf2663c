"""Newton's iteration for the inverse of X'X + penalty I, the second-order rival of gradient descent (Fu et al. 2023).

    S_k = sum_{i<k} x_i x_i' + penalty I      M_0 = a S_k,   M <- 2M - M S_k M, `iterations` times      w_k = M X'y

I - M S is squared by every iteration, so K of them do what 2^K terms of a gradient method do; they converge for
0 < a < 2 / |S|^2 (Ben-Israel and Cohen 1966), to the pseudoinverse where S is singular. At a = 2 / |S|^2 itself the
residual is -1 along the largest eigenvector, and 1 for ever after.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.linear import LinearRegression
from icl.references.base import HIGHEST, LinearReference, Path, Reference
from icl.references.gradient_descent import decompose

ITERATIONS = tuple(range(1, 17))


@Reference.registry.add("newton", papers=("fu-2023",))
class Newton(LinearReference):
    """`iterations` iterations for every prefix from M_0 = S / |S|^2; limit: ridge with this penalty.

    In the eigenbasis of S, with r = (s / |S|)^2:  w_j = (1 - (1 - r_j)^(2^iterations)) / s_j  (X'y)_j. |S| is the
    spectral norm, or that of Frobenius: sums and products alone, for log2(dim) more iterations at most.
    """

    family_parameter: ClassVar[str | None] = "iterations"
    family_words: ClassVar[str] = "{} iterations of Newton's method for the inverse"

    iterations: int = setting(4, "iterations for every prefix; 0: the start alone", at_least=0, at_most=24)
    penalty: float = setting(0.0, "multiplies I in X'X + penalty I", at_least=0)
    start: Literal["spectral", "frobenius"] = setting("spectral", "the norm of S in M_0", absent="spectral")

    @property
    def label(self) -> str:
        start = "" if self.start == "spectral" else f", {self.start} start"
        return f"newton-{self.iterations} (penalty {float(self.penalty):g}{start})"

    @classmethod
    def example(cls, task: FunctionClass) -> Reference:
        """With the penalty of Bayes, where the class has one: its limit is then the best there is."""
        known = isinstance(task, LinearRegression)
        return cls(penalty=float(task.noise_std / task.weight_std) ** 2) if known else cls()

    def family_values(self, task: FunctionClass) -> tuple[float, ...]:
        return ITERATIONS

    def family_path(self, task: FunctionClass, key: PRNGKeyArray, prompts: Prompt) -> Path:
        modes = decompose(prompts.xs.astype(jnp.float32), prompts.ys.astype(jnp.float32))
        seen = np.maximum(np.arange(prompts.ys.shape[1]), 1.0)[None, :, None]
        values = seen * np.asarray(modes.curvatures, np.float64) + float(self.penalty)
        loads, order = seen * np.asarray(modes.loads, np.float64), np.inf if self.start == "spectral" else 2
        size = np.linalg.norm(values, order, -1, keepdims=True)
        ratios = np.square(values / np.where(size > 0, size, 1))

        def path(iterations: Sequence[float]) -> list[Prediction]:
            return [Prediction(mean=jnp.asarray(mean(int(count)), jnp.float32)) for count in iterations]

        def mean(count: int) -> np.ndarray:
            left = -np.expm1(2.0**count * np.log1p(-np.minimum(ratios, 1 - 1e-16)))
            return np.sum(loads * left / np.where(values > 0, values, 1), -1)

        return path

    def weights(self, prompt: Prompt) -> Float[Array, "P D"]:
        """As a S (I + R)(I + R^2)(I + R^4)... X'y with R = I - a S^2, the same and accurate in float32: in M, rounding
        outside the row space doubles with every iteration, here the last factor S removes it."""
        xs, ys = prompt.xs.astype(jnp.float32), prompt.ys.astype(jnp.float32)
        eye = jnp.eye(xs.shape[-1])
        product = lambda a, b: jnp.matmul(a, b, precision=HIGHEST)  # noqa: E731

        def position(carry: tuple[Array, Array], example: tuple[Array, Array]):
            second, moment = carry
            x, y = example
            system = second + self.penalty * eye
            size = self._size(system)
            scaled = system / size

            def iterate(_: Array | int, state: tuple[Array, Array]) -> tuple[Array, Array]:
                vector, residual = state
                return vector + product(residual, vector), product(residual, residual)

            start = moment, eye - product(scaled, scaled)
            vector, _ = jax.lax.fori_loop(0, self.iterations, iterate, start)
            w = product(scaled, vector) / size
            return (second + x[:, None] * x[None, :], moment + x * y), w

        return jax.lax.scan(position, (jnp.zeros_like(eye), jnp.zeros_like(xs[0])), (xs, ys))[1]

    def _size(self, system: Float[Array, "D D"]) -> Float[Array, ""]:
        """|S|, or 1 where S = 0."""
        if self.start == "spectral":
            largest = jnp.linalg.eigvalsh(system)[-1]
            return jnp.where(largest > 0, largest, 1)
        square = jnp.sum(system**2)
        # The derivative of the root of 0 would be infinite.
        return jnp.sqrt(jnp.where(square > 0, square, 1))
