"""Repeated random sequences: the streams on which induction heads are measured (Olsson et al. 2022)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.fields import Problem, setting
from function_classes.mixtures import mixed_log_probs, running_log_weights
from function_classes.streams import SymbolStream


@FunctionClass.registry.add("induction", papers=("olsson-2022",))
class Induction(SymbolStream):
    """A block of n iid uniform symbols, repeated to the end; n is uniform on shortest..longest for every stream.

    From the second block on, y_t = y_{t-n} with probability 1 - noise, else it is a fresh uniform symbol (and is what
    the next block copies). Bayes averages over n,

        p(y_t | y_<t) = sum_n p(n | y_<t) [t < n: uniform,  else (1 - noise) 1[y_t = y_{t-n}] + noise / symbols]

    With one n a head that looks back n places is enough; with several, the last occurrence of the current symbol has to
    be found by its content. One block of `longest` symbols costs log(symbols) nats each, and later ones nearly nothing.

    >>> task = Induction(points=4, symbols=2, shortest=1, longest=2)
    >>> stream = Prompt(jnp.zeros((4, 0)), jnp.array([0, 1, 0, 1]))
    >>> print(jnp.exp(task.bayes(stream).log_probs[:, 0]))
    [0.5  0.75 1.   0.  ]
    """

    lesson = "The first block is unpredictable, the rest is copied: the loss drops once the period is known."

    points: int = setting(24, "symbols in a stream", at_least=1)
    symbols: int = setting(8, "size of the alphabet", at_least=2)
    shortest: int = setting(3, "least length of the block", at_least=1)
    longest: int = setting(8, "largest length of the block", at_least=1)
    noise: float = setting(0.0, "probability that a symbol is drawn anew and not copied", at_least=0, at_most=1)

    def problems(self):
        if self.longest < self.shortest:
            yield Problem("longest", f"must be at least shortest = {self.shortest}, got {self.longest}")

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", f"average over {self.longest - self.shortest + 1} lengths of the block")

    def sample_latent(self, key: PRNGKeyArray) -> Int[Array, ""]:
        """n."""
        return jax.random.randint(key, (), self.shortest, self.longest + 1)

    def sample_prompt(self, latent: Int[Array, ""], key: PRNGKeyArray) -> Prompt:
        anew, what = jax.random.split(key)
        drawn = jax.random.bernoulli(anew, jnp.clip(self.noise, 0.0, 1.0), (self.points,))
        fresh = jax.random.randint(what, (self.points,), 0, self.symbols)

        def step(block, now):
            t, drawn, fresh = now
            place = t % latent
            y = jnp.where(drawn | (t < latent), fresh, block[place])
            return block.at[place].set(y), y

        ys = jax.lax.scan(step, jnp.zeros(self.longest, fresh.dtype), (jnp.arange(self.points), drawn, fresh))[1]
        return Prompt(jnp.zeros((self.points, 0)), ys, latent)

    def bayes(self, prompt: Prompt) -> Prediction:
        return mixed_log_probs(*self._periods(prompt.ys))

    def period_posterior(self, prompt: Prompt) -> Float[Array, "P M"]:
        """P(n | y_<k) at every k, for n = shortest..longest."""
        return jnp.exp(self._periods(prompt.ys)[0]).T

    def oracle(self, prompt: Prompt) -> Prediction:
        """Who knows n."""
        return Prediction(log_probs=self._repeated(prompt.ys, prompt.latent))

    def _repeated(self, ys: Int[Array, "P"], period: Int[Array, ""]) -> Float[Array, "P C"]:
        """log p(y_t | y_<t, n)."""
        noise, index = jnp.clip(self.noise, 0.0, 1.0), jnp.arange(ys.shape[0])
        copied = (1 - noise) * self.y_space.encode(ys[jnp.maximum(index - period, 0)]) + noise / self.symbols
        return jnp.log(jnp.where((index < period)[:, None], 1 / self.symbols, copied))

    def _periods(self, ys: Int[Array, "P"]) -> tuple[Float[Array, "M P"], Float[Array, "M P C"]]:
        """log P(n | y_<k), and what every n says of y_k."""
        log_probs = jax.vmap(lambda n: self._repeated(ys, n))(jnp.arange(self.shortest, self.longest + 1))
        said = jnp.take_along_axis(log_probs, ys[None, :, None], 2)[..., 0]
        return running_log_weights(jnp.zeros(log_probs.shape[0]), said), log_probs
