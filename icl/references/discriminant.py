"""Gaussian classifiers with one covariance for all classes (Fisher 1936): linear discriminants and nearest means.

    log p(c | x) = log (n_c + alpha) / (k + alpha C) - 1/2 (x - mean_c)' S^{-1} (x - mean_c) + constant

A label not seen yet has the mean of all examples; at k = 0 all labels are alike.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prediction, Predictor, Prompt
from function_classes.fields import setting
from function_classes.spaces import Signs, Space, Symbols
from icl.references.base import Reference, vectors_to_labels
from icl.references.labels import Seen, scan


class Classifier(Reference):
    """What the two share: labels come from the class with `calibrate`."""

    reads = "vectors"

    alpha: float = setting(1.0, "added to the count of every label", above=0)
    shrinkage: float = setting(1.0, "examples that a unit covariance counts for beside those seen", above=0)

    @classmethod
    def standard(cls, task: FunctionClass) -> tuple[Reference, ...]:
        return (cls(),)

    def applies(self, task: FunctionClass) -> str | None:
        return vectors_to_labels(self.name, task)

    def calibrate(self, task: FunctionClass, key: PRNGKeyArray, prompts: int = 512) -> Predictor:
        if not isinstance(task.y_space, Signs | Symbols):
            raise NotAvailable(f"{self.name} predicts labels, outputs of {task.name} are {task.y_space}")
        return self.settled(task.y_space)

    def settled(self, space: Space) -> Predictor:
        """The predictor for outputs in this space."""
        raise NotImplementedError

    def __call__(self, prompt: Prompt) -> Prediction:
        raise NotAvailable(f"{self.name} does not know which labels there are: call .calibrate(task, key) first")


@Reference.registry.add("linear-discriminant", papers=("fisher-1936",))
class LinearDiscriminant(Classifier):
    """S = (W + shrinkage I) / (k + shrinkage), W the scatter within classes sum_i (x_i - mean_c)(x_i - mean_c)'.

    As shrinkage goes to 0 scikit-learn's LinearDiscriminantAnalysis(solver="lsqr") with priors (n_c + alpha) /
    (k + alpha C), at a distance in proportion to shrinkage and alpha: what is left between them is not rounding. Its
    own `shrinkage` mixes with the mean variance instead, which is 0 while classes have one example.
    """

    def settled(self, space: Space) -> Predictor:
        return Discriminant(jnp.float32(self.alpha), jnp.float32(self.shrinkage), space, False)


@Reference.registry.add("nearest-class-mean", papers=("fisher-1936",))
class NearestClassMean(Classifier):
    """S = s^2 I with s^2 = (trace W / dim + shrinkage) / (k + shrinkage): the likeliest label is that of the nearest
    mean, apart from the counts of labels."""

    def settled(self, space: Space) -> Predictor:
        return Discriminant(jnp.float32(self.alpha), jnp.float32(self.shrinkage), space, True)


class Discriminant(eqx.Module):
    """The classifier of labels in a known space; `round`: the covariance is a multiple of I."""

    alpha: Float[Array, ""]
    shrinkage: Float[Array, ""]
    space: Space = eqx.field(static=True)
    round: bool = eqx.field(static=True)

    @property
    def found(self) -> dict[str, float]:
        """Nothing here was estimated from data."""
        return {}

    def __call__(self, prompt: Prompt) -> Prediction:
        return Prediction(log_probs=scan(prompt, self.space, self._log_probs))

    def _log_probs(self, seen: Seen, x: Float[Array, "D"]) -> Float[Array, "C"]:
        gaps = x[None, :] - seen.means()
        eye = jnp.eye(x.shape[0])
        within = jnp.trace(seen.scatter) / x.shape[0] * eye if self.round else seen.scatter
        total = jnp.sum(seen.counts) + self.shrinkage
        factor = jnp.linalg.cholesky((within + self.shrinkage * eye) / total)
        white = jax.scipy.linalg.solve_triangular(factor, gaps.T, lower=True)
        return jax.nn.log_softmax(seen.log_prior(self.alpha) - 0.5 * jnp.sum(white**2, 0))
