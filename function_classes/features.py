"""Linear in fixed features of the input: y = w'phi(x) + noise_std e (Panwar et al. 2023, section 4; Guo et al. 2023).

Given phi the posterior is that of linear regression on phi(x), so Bayes is exact for Gaussian weights, and for finite
mixtures of them (unknown numbers of frequencies, unknown sets of monomials). Subclasses say what phi and the law of w
are.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prompt
from function_classes.fields import setting
from function_classes.inputs import Gaussian, InputLaw, unfit
from function_classes.linear_functions import Member, WeightPosterior
from function_classes.mixtures import Components, GaussianMixture, gaussian_components
from function_classes.posteriors import HIGHEST
from function_classes.spaces import Real


def one_gaussian(stds: Float[Array, "F"]) -> GaussianMixture:
    """w ~ N(0, diag(stds^2)), as a mixture of one component."""
    return GaussianMixture(jnp.zeros(1), jnp.zeros((1, stds.shape[0])), stds[None])


def equal_gaussians(stds: Float[Array, "M F"]) -> GaussianMixture:
    """Equally likely components around 0; a standard deviation 0 leaves the feature out."""
    count = stds.shape[0]
    return GaussianMixture(jnp.full(count, -jnp.log(count)), jnp.zeros_like(stds), stds)


class FeatureFunctions(WeightPosterior):
    """y = w'phi(x) + noise_std e with e ~ N(0, 1) and x from `inputs`. A latent is w and the component it came from."""

    points: int = setting(16, "positions in a prompt", at_least=1)
    inputs: InputLaw = setting(Gaussian(), "law of the inputs")

    def problems(self):
        yield from unfit(self.inputs, self.x_space.features)

    @property
    def x_space(self) -> Real:
        """One number, unless a subclass says otherwise."""
        return Real((1,))

    def feature_map(self, xs: Float[Array, "N D"]) -> Float[Array, "N F"]:
        """phi(x) of every row."""
        raise NotImplementedError

    def feature_squares(self) -> Float[Array, "F"]:
        """E[phi_f(x)^2] over inputs. Raises NotAvailable where there is no closed form."""
        raise NotAvailable(f"{self.name} has no closed form of E[f(x)^2]")

    @property
    def mean_square(self) -> Float[Array, ""]:
        """E[f(x)^2] = sum_f E[w_f^2] E[phi_f^2], for weights that are uncorrelated with mean 0."""
        return jnp.sum(jnp.diag(self.prior().second_moment()) * self.feature_squares())

    def components(self, prompt: Prompt) -> Components:
        return gaussian_components(self.prior(), self.feature_map(prompt.xs), prompt.ys, self.noise_std)

    def sample_latent(self, key: PRNGKeyArray) -> Member:
        prior, (which, noise) = self.prior(), jax.random.split(key)
        index = jax.random.categorical(which, prior.log_probs).astype(jnp.int32)
        unit = jax.random.normal(noise, prior.stds.shape[1:])
        return Member(index, prior.means[index] + prior.stds[index] * unit)

    def sample_inputs(self, latent: Any, key: PRNGKeyArray) -> Float[Array, "P D"]:
        return self.inputs.sample(key, self.points, self.x_space.features)

    def evaluate(self, latent: Member, xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        return jnp.matmul(self.feature_map(xs), latent.weights, precision=HIGHEST)


@FunctionClass.registry.add("feature-regression", papers=("guo-2023",))
class FeatureRegression(FeatureFunctions):
    """phi is a fixed random network: `layers` layers h -> leaky(V h) of `size` units, the same in every prompt.

    V_ij ~ N(0, 2 / (1 + slope^2) fan-in) is drawn once by `network_seed`, so that on average over seeds
    E[phi_f(x)^2] = |x|^2 / dim; w ~ N(0, weight_std^2 / size I). Bayes is ridge on phi(x): to reach it, a learner has
    to compute phi first. The law of the matrices is ours.

    Features are nearly collinear: the condition number of E[phi phi'] (`condition`) is 146 with one layer and 1,400
    with two, at the other defaults. Slope .01, the default of older runs, has 134 and 114,000: rectifiers that follow
    one another switch whole directions off, and a little slope keeps them. Medians over 20 networks of one, two and
    three layers: 166, 680 and 4,000 at slope .1; 146, 1,100 and 118,000 at .01.

    >>> task = FeatureRegression(points=3, noise_std=0.0)
    >>> phi = task.feature_map(jnp.ones((1, 4)))
    >>> print(phi.shape, bool(jnp.all(phi == FeatureRegression(weight_std=2.0).feature_map(jnp.ones((1, 4))))))
    (1, 8) True
    """

    lesson = "Ridge on the network's features is Bayes; ridge on x itself stays far above it."

    dim: int = setting(4, "number of input coordinates", at_least=1)
    size: int = setting(8, "units in every layer, hence features", at_least=1)
    layers: int = setting(1, "layers of the network", at_least=1, at_most=1024)
    slope: float = setting(0.1, "of the leaky units below 0", absent=0.01)
    network_seed: int = setting(0, "of the network", at_least=0, at_most=2**32 - 1)
    weight_std: float = setting(1.0, "standard deviation of every weight, times sqrt(size)", above=0)

    @property
    def x_space(self) -> Real:
        return Real((self.dim,))

    def prior(self) -> GaussianMixture:
        return one_gaussian(self.weight_std / jnp.sqrt(self.size) * jnp.ones(self.size))

    def feature_map(self, xs: Float[Array, "N D"]) -> Float[Array, "N F"]:
        gain = 2 / (1 + self.slope**2)
        hidden = xs
        for key in jax.random.split(jax.random.key(self.network_seed), self.layers):
            fan_in = hidden.shape[1]
            matrix = jnp.sqrt(gain / fan_in) * jax.random.normal(key, (fan_in, self.size))
            hidden = jnp.matmul(hidden, matrix, precision=HIGHEST)
            hidden = jnp.where(hidden > 0, hidden, self.slope * hidden)
        return hidden

    def condition(self, draws: int = 20_000) -> float:
        """The condition number of E[phi phi'] over that many inputs: how nearly collinear the features are."""
        xs = self.inputs.sample(jax.random.key(0), draws, self.dim)
        phi = np.asarray(self.feature_map(xs), np.float64)
        values = np.linalg.eigvalsh(phi.T @ phi / draws)
        return float(values[-1] / max(values[0], np.finfo(float).tiny))
