"""A class of the user's own, as README shows it. Old runs know it by the hash of this file: it never changes."""

import jax

from function_classes import FunctionClass, Real, setting


class Cubic(FunctionClass):
    """y = a x^3 + b x with a, b ~ N(0, 1), x ~ N(0, 1)."""

    points: int = setting(12, "positions in a prompt", at_least=1)

    @property
    def x_space(self):
        return Real((1,))

    @property
    def y_space(self):
        return Real()

    def sample_latent(self, key):
        return jax.random.normal(key, (2,))

    def sample_inputs(self, latent, key):
        return jax.random.normal(key, (self.points, 1))

    def evaluate(self, latent, xs):
        return latent[0] * xs[:, 0] ** 3 + latent[1] * xs[:, 0]
