"""Linear classification: labels are signs of w'x, certain or through a link (Garg et al. 2022, in code)."""

from typing import Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import setting
from function_classes.mixtures import mixed_log_probs, running_log_weights
from function_classes.spaces import Signs
from function_classes.vectors import VectorInputs

# Equally spaced nodes per dimension, over 5 standard deviations of the prior on either side: for smooth integrands that
# vanish at both ends they are far better than Gauss-Hermite nodes, which miss a posterior narrower than the prior.
_NODES = {1: 512, 2: 64, 3: 36}
# Neighbors whose scores w'x differ by more, at a typical x, miss posteriors after 64 labels: links turn within a unit.
_APART = {"logistic": 0.6, "probit": 0.38}

# Rounding of angles leaves no probability of a sign below this.
_LEAST = 1e-7


@FunctionClass.registry.add("linear-classification", papers=("garg-2022",))
class LinearClassification(VectorInputs):
    """P(y = +1 | x) = link(w'x), w ~ N(0, weight_std^2 I): logistic 1 / (1 + e^-f), probit Phi(f), threshold f >= 0.

    threshold (Garg et al.): only the direction of w counts. In two dimensions its angle is uniform, and after k
    examples uniform on an arc, so P(+) is exactly the share of the arc on the positive side of x; one dimension has two
    directions. logistic, probit: a lattice of w, up to three dimensions. Beyond, probabilities are
    those of orthants of a Gaussian, or have no closed form at all. Where weights are so large that the lattice steps
    over the turn of the link, `bayes_kind` promises nothing (error 1); threshold is the limit of large weights.

    >>> task = LinearClassification(dim=2, points=2, link="threshold")
    >>> prompt = Prompt(jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.array([1.0, 1.0]))
    >>> print(jnp.exp(task.bayes(prompt).log_probs[:, 1]))  # 3/4 of the half plane right of x_0 lies above x_1
    [0.5  0.75]
    """

    lesson = "Signs say less than numbers: probabilities sharpen slowly, and the direction is found before certainty."

    dim: int = setting(2, "number of input coordinates", at_least=1)
    link: Literal["logistic", "probit", "threshold"] = setting("logistic", "P(y = +1) as a function of w'x")
    weight_std: float = setting(2.0, "standard deviation of every weight; read by logistic and probit", above=0)

    @property
    def y_space(self) -> Signs:
        return Signs()

    @property
    def unread(self) -> frozenset[str]:
        return frozenset(("weight_std",) if self.link == "threshold" else ())

    @property
    def bayes_kind(self) -> BayesKind:
        if self.link == "threshold":
            if self.dim <= 2:
                return BayesKind("exact", "the direction of w is uniform on an arc")
            return BayesKind("none", "shares of a sphere cut by k planes have no closed form beyond two dimensions")
        if self.dim not in _NODES:
            return BayesKind("none", f"quadrature in {self.dim} dimensions is too large, at most {max(_NODES)}")
        nodes = _NODES[self.dim]
        mean, variance = self.inputs.moments(self.dim)
        apart = 10 / (nodes - 1) * self.weight_std * jnp.sqrt(jnp.max(mean**2 + variance))
        lattice = f"{nodes}^{self.dim} lattice nodes"
        # Where fields are data, under jit, the kind is known but the error is not.
        if isinstance(apart, jax.core.Tracer):
            return BayesKind("quadrature", lattice)
        if apart <= _APART[self.link]:
            return BayesKind("quadrature", lattice, 1e-2)
        most = self.weight_std * _APART[self.link] / float(apart)
        return BayesKind("quadrature", f"{lattice}, too coarse for weight_std above {most:.3g}", 1.0)

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "D"]:
        return self.weight_std * jax.random.normal(key, (self.dim,))

    def evaluate(self, latent: Float[Array, "D"], xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        """The likelier label, sign(w'x)."""
        return jnp.where(self._score(latent, xs) >= 0, 1.0, -1.0)

    def sample_outputs(
        self, latent: Float[Array, "D"], xs: Float[Array, "P D"], key: PRNGKeyArray
    ) -> Float[Array, "P"]:
        if self.link == "threshold":
            return self.evaluate(latent, xs)
        plus = jnp.log(jax.random.uniform(key, xs.shape[:1])) < self._log_link(self._score(latent, xs))
        return jnp.where(plus, 1.0, -1.0)

    def oracle(self, prompt: Prompt) -> Prediction:
        score = self._score(prompt.latent, prompt.xs)
        if self.link == "threshold":
            return Prediction(log_probs=jnp.log(jnp.stack([score < 0, score >= 0], -1).astype(jnp.float32)))
        return Prediction(log_probs=jnp.stack([self._log_link(-score), self._log_link(score)], -1))

    def bayes(self, prompt: Prompt) -> Prediction:
        if self.bayes_kind.kind == "none":
            raise NotAvailable(f"{self.name} has no Bayes predictor: {self.bayes_kind.detail}")
        if self.link == "threshold" and self.dim == 2:
            plus = jnp.clip(self._arc(prompt), _LEAST, 1 - _LEAST)
            return Prediction(log_probs=jnp.log(jnp.stack([1 - plus, plus], -1)))
        log_prior, weights = self._nodes()
        scores = jnp.matmul(weights, prompt.xs.T, precision=jax.lax.Precision.HIGHEST)
        said = self._log_link(prompt.ys[None] * scores)
        logs = jnp.stack([self._log_link(-scores), self._log_link(scores)], -1)
        return mixed_log_probs(running_log_weights(log_prior, said), logs)

    def _score(self, latent: Float[Array, "D"], xs: Float[Array, "N D"]) -> Float[Array, "N"]:
        return jnp.matmul(xs, latent, precision=jax.lax.Precision.HIGHEST)

    def _log_link(self, scores: Float[Array, "*n"]) -> Float[Array, "*n"]:
        if self.link == "threshold":
            return jnp.log(jnp.where(scores >= 0, 1 - _LEAST, _LEAST))
        return jax.nn.log_sigmoid(scores) if self.link == "logistic" else log_ndtr(scores)

    def _nodes(self) -> tuple[Float[Array, "M"], Float[Array, "M D"]]:
        """Log weights and nodes of the lattice for N(0, weight_std^2 I); the two directions of a line."""
        if self.link == "threshold":
            return jnp.log(jnp.full(2, 0.5)), jnp.array([[-1.0], [1.0]])
        nodes = np.linspace(-5, 5, _NODES[self.dim])
        grid = np.stack(np.meshgrid(*[nodes] * self.dim, indexing="ij"), -1).reshape(-1, self.dim)
        logs = -0.5 * np.sum(grid**2, 1)
        return jnp.asarray(logs - np.log(np.exp(logs).sum()), jnp.float32), self.weight_std * jnp.asarray(
            grid, jnp.float32
        )

    def _arc(self, prompt: Prompt) -> Float[Array, "P"]:
        """P(y_k = +1): the share of the arc of directions left by the labels before that has w'x_k >= 0.

        The first label leaves the half circle around y x; every later one meets an arc of at most a half circle, so
        what is left is an arc again, carried as its middle and half its width.
        """
        angles = jnp.arctan2(prompt.xs[:, 1], prompt.xs[:, 0])

        def step(carry, now):
            middle, half, started = carry
            angle, y = now
            low, high = _meet(half, angle - middle)
            plus = jnp.where(started, jnp.maximum(high - low, 0.0) / (2 * half), 0.5)
            shown = angle + jnp.where(y > 0, 0.0, jnp.pi)
            low, high = _meet(half, shown - middle)
            # Labels that rounding makes contradict each other leave a point, not a negative width.
            rest = jnp.where(started, jnp.maximum((high - low) / 2, _LEAST), jnp.pi / 2)
            middle = _turn(jnp.where(started, middle + (low + high) / 2, shown))
            return (middle, rest, jnp.ones((), bool)), plus

        start = jnp.zeros(()), jnp.full((), jnp.pi), jnp.zeros((), bool)
        return jax.lax.scan(step, start, (angles, prompt.ys))[1]


def _turn(angle: Float[Array, ""]) -> Float[Array, ""]:
    """The same direction between -pi and pi."""
    return jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi


def _meet(half: Float[Array, ""], angle: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Ends of what the arc of half width `half` around 0 shares with the half circle around `angle`."""
    angle = _turn(angle)
    return jnp.maximum(-half, angle - jnp.pi / 2), jnp.minimum(half, angle + jnp.pi / 2)
