"""Piecewise constant functions on [0, 1): sums of Haar wavelets (Panwar et al. 2023, section 4.2)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, NotAvailable
from function_classes.features import FeatureFunctions, one_gaussian
from function_classes.fields import setting
from function_classes.inputs import InputLaw, Uniform
from function_classes.mixtures import GaussianMixture


@FunctionClass.registry.add("haar", papers=("panwar-2023",))
class Haar(FeatureFunctions):
    """f = (a + sum_{j < levels} sum_{m < 2^j} w_jm psi_jm) / sqrt(2^levels), a and w ~ N(0, weight_std^2), with
    psi_jm = 2^(j/2) on the first and -2^(j/2) on the second half of [m, m + 1) / 2^j, and 0 elsewhere.

    With 2^levels functions f is constant on 2^levels pieces of [0, 1), and its values there are independent
    N(0, weight_std^2): the basis is orthogonal. So one example decides its piece and says nothing about the others.
    Outside [0, 1) only the constant is left. The paper has levels = 4; its code has x in place of the constant, and
    divides by the number of functions, not its root.

    >>> task = Haar(levels=2)
    >>> print(jnp.round(task.feature_map(jnp.array([[0.1], [0.3], [0.6]])), 2))
    [[ 1.    1.    1.41  0.  ]
     [ 1.    1.   -1.41  0.  ]
     [ 1.   -1.    0.    1.41]]
    """

    lesson = "Pieces are independent: what was seen in one says nothing of the next, and the error falls by covering."

    inputs: InputLaw = setting(Uniform(low=0.0, high=1.0), "law of the inputs")
    levels: int = setting(3, "levels of wavelets", at_least=0, at_most=10)
    weight_std: float = setting(1.0, "standard deviation of f(x)", above=0)

    def prior(self) -> GaussianMixture:
        count = 2**self.levels
        return one_gaussian(self.weight_std / jnp.sqrt(count) * jnp.ones(count))

    def feature_map(self, xs: Float[Array, "N 1"]) -> Float[Array, "N F"]:
        columns = [jnp.ones_like(xs)]
        for level in range(self.levels):
            place = xs * 2**level - jnp.arange(2**level, dtype=jnp.float32)[None, :]
            first, second = (place >= 0) & (place < 0.5), (place >= 0.5) & (place < 1)
            columns.append(2 ** (level / 2) * (first.astype(jnp.float32) - second.astype(jnp.float32)))
        return jnp.concatenate(columns, 1)

    @property
    def mean_square(self) -> Float[Array, ""]:
        """Squares of all functions sum to 2^levels on [0, 1), to 1 elsewhere. Raises NotAvailable for inputs that are
        not uniform."""
        if not isinstance(self.inputs, Uniform):
            raise NotAvailable(f"the share of [0, 1) is known for uniform inputs, not for {self.inputs.name!r}")
        low, high = self.inputs.low, self.inputs.high
        inside = jnp.maximum(jnp.minimum(high, 1.0) - jnp.maximum(low, 0.0), 0.0) / (high - low)
        return self.weight_std**2 * (inside + (1 - inside) / 2**self.levels)
