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
from function_classes.linear_functions import too_many
from function_classes.mixtures import mixed_log_predictive, mixed_log_probs, running_log_weights
from function_classes.posteriors import HIGHEST
from function_classes.spaces import Real, Symbols

_MOST_TASKS = 4096


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

    With limited tasks, at most 4,096, it averages over them, whose means and labels it knows. Orthogonal projections
    change nothing in the law. Items tell their classes, hence `log_input_density`.

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
        return Gaussian(std=(self.mean_std**2 + self.noise_std**2) ** 0.5)

    @property
    def bayes_kind(self) -> BayesKind:
        if self.data == "digits":
            return BayesKind("none", "the law of the digits is not known")
        if self.projection == "gaussian":
            return BayesKind("none", "after a Gaussian A the covariance is s^2 AA' with A unknown")
        if self.tasks is not None:
            reason = too_many(self.tasks, "tasks", _MOST_TASKS)
            return BayesKind("none", reason) if reason else BayesKind("exact", f"average over {self.tasks} tasks")
        return BayesKind("exact", "conjugate Gaussian class means")

    def sample_latent(self, key: PRNGKeyArray) -> Projected:
        if self.tasks is not None:
            return self._task(jax.random.randint(key, (), 0, self.tasks))
        return self._draw(key)

    def _task(self, index: Int[Array, ""]) -> Projected:
        """One of the limited tasks."""
        return self._draw(jax.random.fold_in(jax.random.key(self.task_seed), index))

    def _draw(self, key: PRNGKeyArray) -> Projected:
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
        labels = jax.nn.log_softmax(joint, axis=-1)
        return mixed_log_probs(running_log_weights(*self._evidence(prompt, joint)), labels)

    def log_input_density(self, prompt: Prompt) -> Float[Array, "P"]:
        """log p(x_k | x_<k, y_<k) - log N(x_k; 0, (t^2 + s^2) I) in nats: relative to items of unknown classes."""
        prior, said, items = self._evidence(prompt, self._log_joint(prompt))
        own = mixed_log_predictive(running_log_weights(prior, said + items), items)
        return own - self.input_law.log_density(prompt.xs)

    def _evidence(
        self, prompt: Prompt, joint: Float[Array, "M P C"]
    ) -> tuple[Float[Array, "M"], Float[Array, "M P"], Float[Array, "M P"]]:
        """Log prior of the tasks, and what every task says of every label and of every item."""
        said = jnp.take_along_axis(jax.nn.log_softmax(joint, axis=-1), prompt.ys[None, :, None], 2)[..., 0]
        return jnp.zeros(joint.shape[0]), said, logsumexp(joint, axis=-1) - jnp.log(self.classes)

    def _log_joint(self, prompt: Prompt) -> Float[Array, "M P C"]:
        """log p(x_k | label, task, examples before) of each of the limited tasks; one row where they are unlimited."""
        if self.bayes_kind.kind == "none":
            raise NotAvailable(f"{self.name} has no Bayes predictor: {self.bayes_kind.detail}")
        if self.tasks is not None:
            return jax.vmap(lambda index: self._log_known(self._task(index), prompt.xs))(jnp.arange(self.tasks))
        return self._log_fresh(prompt)[None]

    def _log_known(self, task: Projected, xs: Float[Array, "P D"]) -> Float[Array, "P C"]:
        centers = jnp.matmul(task.means, task.matrix.T, precision=HIGHEST)
        centers = jnp.zeros_like(centers).at[task.labels].set(centers)
        distance = jnp.sum((xs[:, None, :] - centers[None, :, :]) ** 2, -1)
        return -0.5 * (self.dim * jnp.log(2 * jnp.pi * self.noise_std**2) + distance / self.noise_std**2)

    def _log_fresh(self, prompt: Prompt) -> Float[Array, "P C"]:
        """The posterior predictive of every class."""
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
        from sklearn.datasets import load_digits  # pyright: ignore[reportMissingImports] (an extra, not always there)
    except ImportError:
        raise NotAvailable("the digits come with scikit-learn: pip install 'icl-workbench[digits]'") from None
    pixels, labels = load_digits(return_X_y=True)
    train = pixels[:1347]
    spread = train.std(0)
    pixels = np.where(spread > 0, (pixels - train.mean(0)) / np.where(spread > 0, spread, 1), 0)
    part = slice(0, 1347) if images == "train" else slice(1347, None)
    return pixels[part].astype(np.float32), labels[part].astype(np.int32)
