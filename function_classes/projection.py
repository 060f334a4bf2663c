"""Classification under a fresh projection and label permutation (Kirsch et al. 2022, GPICL)."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import Problem, setting
from function_classes.inputs import Gaussian
from function_classes.posteriors import HIGHEST
from function_classes.spaces import Real, Symbols


class Projected(NamedTuple):
    """A task: x = matrix z and y = labels[class of z]; the means of Gaussian classes (none of digits)."""

    matrix: Float[Array, "D D"]
    labels: Int[Array, "C"]
    means: Float[Array, "M D"]


class ShownProjected(NamedTuple):
    """The task, and the label of every item, which is what the oracle knows."""

    task: Projected
    labels: Int[Array, "P"]


@FunctionClass.registry.add("permuted-projection", papers=("kirsch-2022",))
class PermutedProjection(FunctionClass):
    """Items z of uniformly drawn classes, shown as x = A z with label rho(class); A and rho are drawn for every prompt.

    data = gaussian: z ~ N(m_c, noise_std^2 I) with fresh means m_c ~ N(0, mean_std^2 I). digits: the 8 x 8 digits of
    scikit-learn, standardized, classes uniform, `images` of train (the first 1,347) or test (450); needs dim = 64,
    classes = 10 and the extra `digits`.
    projection = none, orthogonal (Haar), or gaussian: A_ij ~ N(0, 1 / dim). `tasks` limits A and rho (and m_c) to that
    many, drawn from `task_seed`; none: unlimited. Accuracy at k = 0 is chance.

    Bayes for Gaussian classes and unlimited tasks, with n_c examples of label c and their mean xbar_c:

        P(c) ∝ N(x; n_c t^2 xbar_c / (n_c t^2 + s^2), (s^2 + s^2 t^2 / (n_c t^2 + s^2)) I),  t = mean_std, s = noise_std

    Orthogonal projections change nothing in that law. Items tell their classes, hence `log_input_density`.

    >>> task = PermutedProjection(points=2, dim=1, classes=2, noise_std=1.0, mean_std=3.0)
    >>> prompt = Prompt(jnp.array([[3.0], [3.0]]), jnp.array([1, 1]))
    >>> print(jnp.round(jnp.exp(task.bayes(prompt).log_probs), 2))
    [[0.5  0.5 ]
     [0.22 0.78]]
    """

    lesson = "Nothing can be known at the first item: all accuracy is learned in context, by class means if Gaussian."

    points: int = setting(24, "positions in a prompt", at_least=1)
    dim: int = setting(8, "number of coordinates; digits have 64", at_least=1)
    classes: int = setting(4, "number of classes; digits have 10", at_least=2)
    data: Literal["gaussian", "digits"] = setting("gaussian", "what is classified")
    images: Literal["train", "test"] = setting("train", "which digits; read by digits alone")
    projection: Literal["none", "orthogonal", "gaussian"] = setting("orthogonal", "law of the matrix A")
    tasks: int | None = setting(None, "number of different tasks; none: unlimited", at_least=1)
    task_seed: int = setting(0, "of the tasks, where they are limited", at_least=0, at_most=2**32 - 1)
    mean_std: float = setting(1.0, "t, of every coordinate of a class mean; read by gaussian data alone", above=0)
    noise_std: float = setting(0.5, "s, of every coordinate within a class; read by gaussian data alone", above=0)

    def problems(self):
        if self.data == "digits" and (self.dim, self.classes) != (64, 10):
            yield Problem("dim", f"digits need dim = 64 and classes = 10, got {self.dim} and {self.classes}")

    @property
    def x_space(self) -> Real:
        return Real((self.dim,))

    @property
    def y_space(self) -> Symbols:
        return Symbols(self.classes)

    @property
    def input_law(self) -> Gaussian:
        """Of Gaussian items when all classes are unknown."""
        return Gaussian(std=jnp.sqrt(self.mean_std**2 + self.noise_std**2))

    @property
    def bayes_kind(self) -> BayesKind:
        if self.data == "digits":
            return BayesKind("none", "the law of the digits is not known")
        if self.projection == "gaussian":
            return BayesKind("none", "after a Gaussian A the covariance is s^2 AA' with A unknown")
        if self.tasks is not None:
            return BayesKind("none", "the posterior over a limited number of tasks is not computed")
        return BayesKind("exact", "conjugate Gaussian class means")

    def sample_latent(self, key: PRNGKeyArray) -> Projected:
        if self.tasks is not None:
            index = jax.random.randint(key, (), 0, self.tasks)
            key = jax.random.fold_in(jax.random.key(self.task_seed), index)
        matrix, labels, means = jax.random.split(key, 3)
        number = self.classes if self.data == "gaussian" else 0
        return Projected(
            self._matrix(matrix),
            jax.random.permutation(labels, jnp.arange(self.classes, dtype=jnp.int32)),
            self.mean_std * jax.random.normal(means, (number, self.dim)),
        )

    def sample_prompt(self, latent: Projected, key: PRNGKeyArray) -> Prompt:
        which, what = jax.random.split(key)
        classes = jax.random.randint(which, (self.points,), 0, self.classes)
        items = self._digits(classes, what) if self.data == "digits" else self._items(latent.means[classes], what)
        xs = jnp.matmul(items, latent.matrix.T, precision=HIGHEST)
        labels = latent.labels[classes]
        return Prompt(xs, labels, ShownProjected(latent, labels))

    def oracle(self, prompt: Prompt) -> Prediction:
        """Who knows the class of every item."""
        return Prediction(log_probs=jnp.log(self.y_space.encode(prompt.latent.labels)))

    def bayes(self, prompt: Prompt) -> Prediction:
        joint = self._log_joint(prompt)
        return Prediction(log_probs=jax.nn.log_softmax(joint, axis=1))

    def log_input_density(self, prompt: Prompt) -> Float[Array, "P"]:
        """log p(x_k | x_<k, y_<k) - log N(x_k; 0, (t^2 + s^2) I) in nats: relative to items of unknown classes."""
        own = logsumexp(self._log_joint(prompt), axis=1) - jnp.log(self.classes)
        return own - self.input_law.log_density(prompt.xs)

    def _log_joint(self, prompt: Prompt) -> Float[Array, "P C"]:
        """log N(x_k; posterior predictive of every class)."""
        if self.bayes_kind.kind == "none":
            raise NotAvailable(f"{self.name} has no Bayes predictor: {self.bayes_kind.detail}")
        prior, noise = self.mean_std**2, self.noise_std**2

        def step(carry, now):
            counts, sums = carry
            x, y = now
            total = counts * prior + noise
            mean, variance = prior * sums / total[:, None], noise + noise * prior / total
            distance = jnp.sum((x[None, :] - mean) ** 2, 1)
            logs = -0.5 * (self.dim * jnp.log(2 * jnp.pi * variance) + distance / variance)
            return (counts.at[y].add(1.0), sums.at[y].add(x)), logs

        start = jnp.zeros(self.classes), jnp.zeros((self.classes, self.dim))
        return jax.lax.scan(step, start, (prompt.xs, prompt.ys))[1]

    def _items(self, means: Float[Array, "P D"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        return means + self.noise_std * jax.random.normal(key, means.shape)

    def _digits(self, classes: Int[Array, "P"], key: PRNGKeyArray) -> Float[Array, "P D"]:
        """A random image of every class."""
        images, labels = (jnp.asarray(a) for a in digits(self.images))
        logits = jnp.where(labels[None, :] == classes[:, None], 0.0, -jnp.inf)
        return images[jax.random.categorical(key, logits)]

    def _matrix(self, key: PRNGKeyArray) -> Float[Array, "D D"]:
        if self.projection == "none":
            return jnp.eye(self.dim)
        draws = jax.random.normal(key, (self.dim, self.dim))
        if self.projection == "gaussian":
            return draws / jnp.sqrt(self.dim)
        # The signs make Q of a Gaussian matrix Haar-distributed.
        rotation, triangle = jnp.linalg.qr(draws)
        return rotation * jnp.where(jnp.diag(triangle) < 0, -1.0, 1.0)[None, :]


def digits(images: str) -> tuple[Float[np.ndarray, "N D"], Int[np.ndarray, "N"]]:
    """scikit-learn's digits and their classes, standardized per pixel over the train part; constant pixels are 0.

    Raises NotAvailable without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise NotAvailable("the digits come with scikit-learn: pip install 'icl-workbench[digits]'") from None
    pixels, labels = load_digits(return_X_y=True)
    train = pixels[:1347]
    spread = train.std(0)
    pixels = np.where(spread > 0, (pixels - train.mean(0)) / np.where(spread > 0, spread, 1), 0)
    part = slice(0, 1347) if images == "train" else slice(1347, None)
    return pixels[part].astype(np.float32), labels[part].astype(np.int32)
