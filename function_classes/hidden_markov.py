"""Hidden Markov models, one for all streams or one of several: in-context learning as inference (Xie et al. 2021)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import setting
from function_classes.pools import pool_log_weights, pooled
from function_classes.streams import SymbolStream


class Model(NamedTuple):
    """Rows of hidden states: where they go next, and what they show."""

    transition: Float[Array, "*m Z Z"]
    emission: Float[Array, "*m Z C"]


class Path(NamedTuple):
    """Which model made a stream, and its hidden states."""

    model: Int[Array, ""]
    states: Int[Array, "P"]


def forward_filter(
    ys: Int[Array, "P"], start: Float[Array, "Z"], transition: Float[Array, "Z Z"], emission: Float[Array, "Z C"]
) -> Float[Array, "P C"]:
    """log p(y_t = j | y_<t) by the forward recursion, normalized at every step, in log space:

    log b_t(z) = log p(z_t = z | y_<t);  p(y_t = j) = sum_z b_t(z) E_zj;  b_{t+1}(w) propto sum_z b_t(z) E_{z y_t} T_zw.

    Probabilities may be 0. After a stream that cannot be, states are uniform.
    """
    log_transition, log_emission = jnp.log(transition), jnp.log(emission)

    def step(belief, y):
        predicted = jax.nn.logsumexp(belief[:, None] + log_emission, 0)
        after = jax.nn.logsumexp((belief + log_emission[:, y])[:, None] + log_transition, 0)
        total = jax.nn.logsumexp(after)
        possible = total > -jnp.inf
        after = jnp.where(possible, after - jnp.where(possible, total, 0.0), -jnp.log(after.shape[0]))
        return after, predicted

    return jax.lax.scan(step, jnp.log(start), ys)[1]


@FunctionClass.registry.add("hmm-mixture", papers=("xie-2021",))
class HMMMixture(SymbolStream):
    """One of `pool_size` hidden Markov models per stream, uniformly; the models are drawn once by `pool_seed`.

    z_0 uniform, z_{t+1} ~ T[z_t], y_t ~ E[z_t]; rows of T are Dirichlet(transition_alpha 1), rows of E
    Dirichlet(emission_alpha 1). Bayes runs the forward recursion of every model and weights them by how well they
    predicted the stream so far: the model is the concept that a prompt reveals, the state is where the stream is.
    The oracle knows the model and its hidden state.

    >>> task = HMMMixture(points=3)
    >>> print(jnp.exp(task.log_weights(task.sample(jax.random.key(0)))[:, 0]))
    [0.25 0.25 0.25 0.25]
    """

    lesson = "Two things are inferred at once: which model speaks, once for all, and where it is, again and again."

    points: int = setting(32, "symbols in a stream", at_least=1)
    states: int = setting(3, "number of hidden states of every model", at_least=1)
    symbols: int = setting(4, "size of the alphabet", at_least=2)
    pool_size: int = setting(4, "number of models", at_least=1)
    pool_seed: int = setting(0, "draws the models", at_least=0, at_most=2**32 - 1)
    transition_alpha: float = setting(0.3, "Dirichlet concentration of the rows of T", above=0)
    emission_alpha: float = setting(0.3, "Dirichlet concentration of the rows of E", above=0)

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", f"forward recursions of {self.pool_size} known models, weighted by their evidence")

    @property
    def models(self) -> Model:
        """The models, stacked along the first axis."""
        transition, emission = jax.random.split(jax.random.key(self.pool_seed))
        shape = (self.pool_size, self.states)
        return Model(
            jax.random.dirichlet(transition, self.transition_alpha * jnp.ones(self.states), shape),
            jax.random.dirichlet(emission, self.emission_alpha * jnp.ones(self.symbols), shape),
        )

    def sample_latent(self, key: PRNGKeyArray) -> Path:
        """The model and its path through the hidden states."""
        choose, begin, walk = jax.random.split(key, 3)
        model = jax.random.randint(choose, (), 0, self.pool_size)
        moves = jnp.log(self.models.transition[model])

        def step(state, t):
            following = jax.random.categorical(jax.random.fold_in(walk, t), moves[state]).astype(jnp.int32)
            return following, state

        first = jax.random.randint(begin, (), 0, self.states)
        return Path(model, jax.lax.scan(step, first, jnp.arange(self.points))[1])

    def sample_prompt(self, latent: Path, key: PRNGKeyArray) -> Prompt:
        logits = jnp.log(self.models.emission[latent.model][latent.states])
        ys = jax.random.categorical(key, logits).astype(jnp.int32)
        return Prompt(jnp.zeros((self.points, 0)), ys, latent)

    def filters(self, prompt: Prompt) -> Float[Array, "M P C"]:
        """What every model alone predicts."""
        start = jnp.full(self.states, 1 / self.states)
        return jax.vmap(lambda model: forward_filter(prompt.ys, start, *model))(self.models)

    def log_weights(self, prompt: Prompt) -> Float[Array, "M P"]:
        """The log posterior of every model before each symbol."""
        return pool_log_weights(self.filters(prompt), prompt.ys)

    def bayes(self, prompt: Prompt) -> Prediction:
        return Prediction(log_probs=pooled(self.filters(prompt), prompt.ys))

    def oracle(self, prompt: Prompt) -> Prediction:
        """What the true hidden state shows."""
        return Prediction(log_probs=jnp.log(self.models.emission[prompt.latent.model][prompt.latent.states]))


@FunctionClass.registry.add("hmm", papers=("xie-2021",))
class HMM(HMMMixture):
    """One hidden Markov model for all streams, drawn by `pool_seed`: Bayes is its forward recursion.

    z_0 uniform, z_{t+1} ~ T[z_t], y_t ~ E[z_t], as in `hmm-mixture` with one model. Nothing is learned about the model
    in context; what is inferred is the hidden state. No k-gram is exact, however long its context.

    >>> task = HMM(points=3)
    >>> prompt = task.sample(jax.random.key(0))
    >>> print(bool(jnp.allclose(jnp.sum(jnp.exp(task.bayes(prompt).log_probs), -1), 1)))
    True
    """

    lesson = "The belief about the hidden state is updated symbol by symbol; a window of symbols only approximates it."

    pool_size: int = setting(1, "number of models", at_least=1, at_most=1)
