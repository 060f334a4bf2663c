"""What classes of functions of real vectors share: how inputs are drawn, and the noise on a number y = f(x) + noise."""

from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass
from function_classes.fields import setting
from function_classes.inputs import Gaussian, InputLaw, unfit
from function_classes.spaces import Real


class VectorInputs(FunctionClass):
    """x in R^dim, every row drawn from `inputs`, whatever the task."""

    points: int = setting(16, "positions in a prompt", at_least=1)
    dim: int = setting(5, "number of input coordinates", at_least=1)
    inputs: InputLaw = setting(Gaussian(), "law of the inputs")

    def problems(self):
        yield from unfit(self.inputs, self.dim)

    @property
    def x_space(self) -> Real:
        return Real((self.dim,))

    def sample_inputs(self, latent: Any, key: PRNGKeyArray) -> Float[Array, "P D"]:
        return self.inputs.sample(key, self.points, self.dim)


class NoisyNumbers(FunctionClass):
    """y = f(x) + noise_std e with e ~ N(0, 1) independent of everything."""

    noise_std: float = setting(0.1, "standard deviation of the label noise, in the unit of y", at_least=0)

    @property
    def y_space(self) -> Real:
        return Real()

    def sample_outputs(self, latent: Any, xs: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P"]:
        return self.evaluate(latent, xs) + self.noise_std * jax.random.normal(key, xs.shape[:1])
