"""A class and a module as somebody types them in a notebook: two cells."""

CLASS = """
import equinox as eqx, jax, jax.numpy as jnp, icl
from function_classes import FunctionClass, Prediction, Real

class Slope(FunctionClass):
    points: int = 4
    @property
    def x_space(self): return Real((1,))
    @property
    def y_space(self): return Real()
    def sample_latent(self, key): return jax.random.normal(key)
    def sample_inputs(self, latent, key): return jax.random.normal(key, (self.points, 1))
    def evaluate(self, latent, xs): return {factor} * latent * xs[:, 0]
"""
MODULE = """
class Weight(eqx.Module):
    weight: jax.Array
    def __call__(self, prompt): return Prediction(mean=prompt.xs @ self.weight)
"""
