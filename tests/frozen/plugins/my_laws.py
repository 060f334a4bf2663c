"""Laws that other classes take: inputs, a shift of them, and a tokenizer."""

import jax
import jax.numpy as jnp

from function_classes.fields import setting
from function_classes.inputs import InputLaw
from function_classes.shifts import InputShift, Shift
from function_classes.tokenizers import Blocks, Tokenizer


@InputLaw.registry.add("my-signs")
class SignInputs(InputLaw):
    """x in {-s, s}^d."""

    size: float = setting(1.0, "s", above=0)

    def sample(self, key, points, dim):
        return self.size * jax.random.rademacher(key, (points, dim), jnp.float32)

    def moments(self, dim):
        return jnp.zeros(dim), self.size**2 * jnp.ones(dim)

    def log_density(self, xs):
        return jnp.full(xs.shape[0], -xs.shape[-1] * jnp.log(2.0))


@Shift.registry.add("my-flip")
class Flip(InputShift):
    value: float = setting(1.0, "factor on -x", above=0)

    def transform(self, xs, key):
        return -self.value * xs


@Tokenizer.registry.add("my-pairs")
class Pairs(Blocks):
    """Blocks of two."""
