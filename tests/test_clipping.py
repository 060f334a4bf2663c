"""Errors are clipped at ten times the null risk of their own position."""

import jax
import jax.numpy as jnp
import numpy as np

from function_classes import FunctionClass, Prediction, Real
from icl.evaluation import evaluate


class Growing(FunctionClass):
    """y_k = (k + 1) * sign: the prediction 0 errs by (k + 1)^2 at position k."""

    points: int = 4
    x_space = Real((1,))
    y_space = Real()

    def sample_latent(self, key):
        return jax.random.rademacher(key, (), jnp.float32)

    def sample_inputs(self, latent, key):
        return jnp.zeros((self.points, 1))

    def evaluate(self, latent, xs):
        return latent * jnp.arange(1.0, len(xs) + 1)


def test_each_position_has_its_own_limit():
    far = {"far": lambda prompt: Prediction(mean=jnp.full(prompt.points, 1e6))}
    table = evaluate(far, Growing(), key=jax.random.key(0), prompts=16, normalization="raw")
    found = table.where(metric="clipped_squared_error", predictor="far", seed=-1)
    values = dict(zip(found["position"].tolist(), found["value"].tolist(), strict=True))
    wanted = 10 * np.arange(1.0, 5) ** 2
    np.testing.assert_allclose([values[k] for k in range(4)], wanted, rtol=1e-5)
    np.testing.assert_allclose(values[-1], wanted.mean(), rtol=1e-5)
