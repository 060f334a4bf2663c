"""Linear functions whose weights have several modes (Panwar et al. 2023, "GMM"; the simplest hierarchical prior)."""

import jax.numpy as jnp

from function_classes.base import FunctionClass
from function_classes.fields import Problem, setting
from function_classes.linear_functions import MixtureOfWeights, improper, log_probabilities
from function_classes.mixtures import GaussianMixture


@FunctionClass.registry.add("gaussian-mixture-regression", papers=("panwar-2023",))
class GaussianMixtureRegression(MixtureOfWeights):
    """w ~ scale N(c_m e_1, diag(axis_std^2, spread^2, ..., spread^2)) for component m with probability pi_m.

    The paper has centers 3 and -3, axis_std 1e-4, spread 1, dim 10 and no noise. Bayes is the mixture of the
    components' posterior means ("PME"); `component_posterior` is its beta. At k = 0 its squared error is the variance
    of y: 9 + 9 for the paper's numbers.

    >>> task = GaussianMixtureRegression(dim=2, points=3, axis_std=0.0)
    >>> print(task.prior().means)
    [[ 3.  0.]
     [-3.  0.]]
    """

    lesson = "Bayes weighs one ridge around every center, and after a few examples one center is left."

    noise_std: float = setting(0.1, "standard deviation of the label noise, in the unit of y", at_least=0)
    centers: tuple[float, ...] = setting((3.0, -3.0), "first coordinate of every component's mean")
    probabilities: tuple[float, ...] = setting((), "of every component; none given: all alike", above=0)
    axis_std: float = setting(1e-4, "standard deviation of the first weight within a component", at_least=0)
    spread: float = setting(1.0, "standard deviation of the other weights", at_least=0)
    scale: float = setting(1.0, "factor on the function", above=0)

    def problems(self):
        yield from super().problems()
        yield from improper(self.probabilities, len(self.centers))
        if not self.centers:
            yield Problem("centers", "needs at least one number")

    def prior(self) -> GaussianMixture:
        count = len(self.centers)
        means = jnp.zeros((count, self.dim)).at[:, 0].set(jnp.asarray(self.centers, jnp.float32))
        stds = (self.spread * jnp.ones((count, self.dim))).at[:, 0].set(self.axis_std)
        return GaussianMixture(log_probabilities(self.probabilities, count), self.scale * means, self.scale * stds)
