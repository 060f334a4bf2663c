"""Linear functions from finite sets of weight vectors: pools (Raventos et al. 2023), fixed regressors (Pathak et al.
2023) and sign vectors (Panwar et al. 2023). Bayes is a softmax of minus the squared residuals / 2 s^2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prompt
from function_classes.fields import setting
from function_classes.linear_functions import Member, MixtureOfWeights, improper, log_probabilities, too_many
from function_classes.mixtures import Components, GaussianMixture, point_components

_LARGEST_DIM = 12

_FINITE = BayesKind("exact", "finite set of weight vectors; noiseless evidence has a floor of 1e-6")


class KnownWeights(MixtureOfWeights):
    """One of finitely many weight vectors: the components of `MixtureOfWeights` have no spread.

        mean_k = sum_m p_m w_m'x_k,     p_m ∝ pi_m exp(-sum_{j<k} (y_j - w_m'x_j)^2 / 2 noise_std^2)

    Without noise, residues are scored with variance 1e-6 of that of y under the whole prior: in exact arithmetic one
    generic example names w, in float32 and here two or three do, depending on how many candidates there are.
    """

    def candidates(self) -> Float[Array, "M D"]:
        raise NotImplementedError

    def log_probs(self, count: int) -> Float[Array, "M"]:
        """Of the candidates: all alike unless a class says otherwise."""
        return log_probabilities((), count)

    @property
    def bayes_kind(self) -> BayesKind:
        return _FINITE

    def prior(self) -> GaussianMixture:
        candidates = self.candidates()
        return GaussianMixture(self.log_probs(candidates.shape[0]), candidates, jnp.zeros_like(candidates))

    def components(self, prompt: Prompt) -> Components:
        square = jnp.einsum("pi,ij,pj->p", prompt.xs, self.weight_square(), prompt.xs, precision="highest")
        return point_components(self.candidates(), prompt.xs, prompt.ys, self.noise_std, square)

    def sample_latent(self, key: PRNGKeyArray) -> Member:
        candidates = self.candidates()
        count = candidates.shape[0]
        index = jax.random.categorical(key, self.log_probs(count)).astype(jnp.int32)
        return Member(index, candidates[index])


@FunctionClass.registry.add("linear-pool", papers=("raventos-2023",))
class LinearPool(KnownWeights):
    """w uniform on a pool w_1..w_M drawn once from N(0, weight_std^2 I) by `pool_seed`; otherwise linear regression.

    Bayes is the discrete minimum mean squared error predictor (dMMSE): the pool's mean at k = 0, the residual-weighted
    mean after. Unseen tasks are prompts of `linear-regression`. The pool is that of the hand-set transformer
    `finite-pool` with the same size and seed.

    >>> task = LinearPool(dim=2, points=3, pool_size=1, noise_std=0.0)
    >>> prompt = task.sample(jax.random.key(0))
    >>> print(bool(jnp.all(task.bayes(prompt).mean == prompt.ys)))
    True
    """

    lesson = (
        "A few examples name the task of the pool; ridge, which does not know the pool, needs as many as dimensions."
    )

    pool_size: int = setting(64, "M, the number of weight vectors", at_least=1, at_most=2**20)
    pool_seed: int = setting(0, "of the pool", at_least=0, at_most=2**32 - 1)
    weight_std: float = setting(1.0, "standard deviation of the law the pool is drawn from", above=0)

    def pool(self) -> Float[Array, "M D"]:
        """The weight vectors that were drawn."""
        key = jax.random.key(self.pool_seed)
        return self.weight_std * jax.random.normal(key, (self.pool_size, self.dim), jnp.float32)

    def candidates(self) -> Float[Array, "M D"]:
        return self.pool()


@FunctionClass.registry.add("linear-mixture", papers=("pathak-2023",))
class LinearMixture(KnownWeights):
    """w is one of `regressors` fixed vectors of norm `scale`, drawn uniformly on the sphere by `regressor_seed`, the
    j-th with probability pi_j (Pathak et al. 2023: "batched" mixtures, one component per prompt).

    At k = 0 the squared error of Bayes is sum_j pi_j |w_j|^2 - |sum_j pi_j w_j|^2 + noise_std^2, for x ~ N(0, I).

    >>> task = LinearMixture(dim=3, points=4, regressors=2, scale=2.0)
    >>> print(jnp.round(jnp.linalg.norm(task.candidates(), axis=1), 4))
    [2. 2.]
    """

    lesson = "Before the labels have named the regressor Bayes averages over all of them, afterwards it is one line."

    regressors: int = setting(5, "m, the number of weight vectors", at_least=1)
    probabilities: tuple[float, ...] = setting((), "pi_j of every weight vector; none given: all alike", above=0)
    regressor_seed: int = setting(0, "of the weight vectors", at_least=0, at_most=2**32 - 1)
    scale: float = setting(1.0, "norm of every weight vector", above=0)

    def problems(self):
        yield from super().problems()
        yield from improper(self.probabilities, self.regressors)

    def log_probs(self, count: int) -> Float[Array, "M"]:
        return log_probabilities(self.probabilities, count)

    def candidates(self) -> Float[Array, "M D"]:
        draws = jax.random.normal(jax.random.key(self.regressor_seed), (self.regressors, self.dim), jnp.float32)
        return self.scale * draws / jnp.linalg.norm(draws, axis=1, keepdims=True)

    def separation(self) -> Float[Array, ""]:
        """The least distance of two weight vectors; infinite with one."""
        gaps = self.candidates()[:, None] - self.candidates()[None]
        return jnp.min(jnp.linalg.norm(gaps, axis=-1) + jnp.where(jnp.eye(self.regressors) > 0, jnp.inf, 0.0))


@FunctionClass.registry.add("sign-vector", papers=("panwar-2023",))
class SignVector(KnownWeights):
    """w uniform on {-weight_std, +weight_std}^dim (Panwar et al. 2023, where weight_std is 1 / sqrt(dim)).

    Bayes enumerates all 2^dim vectors, at most 2^12. The paper compares with L-infinity minimization, which needs about
    dim / 2 examples: a relaxation, and not Bayes, which needs two or three at small noise. How many depends on the
    noise, and without noise on the floor under the evidence; neither goes without saying.

    >>> print(SignVector(dim=2).candidates())
    [[-1. -1.]
     [-1.  1.]
     [ 1. -1.]
     [ 1.  1.]]
    """

    lesson = "Finitely many vectors are told apart long before least squares could, even with noise."

    weight_std: float = setting(1.0, "size of every weight; dim^(-1/2) makes E[f^2] = 1", above=0)

    @property
    def bayes_kind(self) -> BayesKind:
        reason = too_many(2 ** min(self.dim, 100_000), "sign vectors", 2**_LARGEST_DIM)
        return BayesKind("none", reason) if reason else _FINITE

    def candidates(self) -> Float[Array, "M D"]:
        bits = np.arange(2**self.dim)[:, None] >> np.arange(self.dim)[None, ::-1] & 1
        return self.weight_std * jnp.asarray(2.0 * bits - 1, jnp.float32)

    def weight_square(self) -> Float[Array, "D D"]:
        return self.weight_std**2 * jnp.eye(self.dim)

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "D"]:
        return self.weight_std * jax.random.rademacher(key, (self.dim,), jnp.float32)
