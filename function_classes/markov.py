"""In-context Markov chains: every stream has its own transition table (Edelman et al. 2024, Makkuva et al. 2024)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import BayesKind, FunctionClass, Prediction, Prompt
from function_classes.counts import context_codes, kgram_log_probs
from function_classes.fields import Problem, setting
from function_classes.spaces import Nothing, Symbols

_LARGEST_TABLE = 1_000_000


@FunctionClass.registry.add("markov", papers=("edelman-2024", "makkuva-2024", "rajaraman-2024"))
class Markov(FunctionClass):
    """A chain of order k over `symbols` symbols with rows P_s ~ Dirichlet(alpha 1), independent for every context s.

    The first k symbols are uniform, hence say nothing about the rows, and Bayes is exactly the add-alpha k-gram:
    alpha = 1 is Laplace's rule, alpha = 1/2 Krichevsky and Trofimov's. (Papers that start in the stationary law have
    no conjugate posterior; the difference decays like 1/t.) The mean row entropy is
    psi(S alpha + 1) - psi(alpha + 1) nats.

    >>> task = Markov(points=4, symbols=2)
    >>> stream = Prompt(jnp.zeros((4, 0)), jnp.array([0, 0, 0, 0]))
    >>> print(*(f"{p:.3f}" for p in jnp.exp(task.bayes(stream).log_probs[:, 0])))
    0.500 0.500 0.667 0.750
    """

    lesson = "Add-alpha counts of the right order are Bayes; fewer orders keep a gap, more learn slowly."

    points: int = setting(32, "symbols in a stream", at_least=1)
    symbols: int = setting(3, "size of the alphabet", at_least=2)
    order: int = setting(1, "how many symbols the next one depends on", at_least=0)
    alpha: float = setting(1.0, "Dirichlet concentration of every transition row", above=0)

    def problems(self):
        if self.symbols ** (self.order + 1) > _LARGEST_TABLE:
            size = f"{self.symbols}^{self.order + 1}"
            yield Problem("order", f"the transition table would have {size} entries, at most {_LARGEST_TABLE}")

    @property
    def x_space(self) -> Nothing:
        return Nothing()

    @property
    def y_space(self) -> Symbols:
        return Symbols(self.symbols)

    @property
    def bayes_kind(self) -> BayesKind:
        return BayesKind("exact", "conjugate Dirichlet rows, uniform start")

    def sample_latent(self, key: PRNGKeyArray) -> Float[Array, "N C"]:
        """The transition table: row `context_codes(...)` is the law of the next symbol."""
        concentration = self.alpha * jnp.ones(self.symbols)
        return jax.random.dirichlet(key, concentration, (self.symbols**self.order,))

    def sample_prompt(self, latent: Float[Array, "N C"], key: PRNGKeyArray) -> Prompt:
        """A stream of `points` symbols; symbol t depends on (key, t) and the context alone."""
        rows = latent.shape[0]

        def step(code, t):
            logits = jnp.where(t < self.order, 0.0, jnp.log(latent[code]))
            y = jax.random.categorical(jax.random.fold_in(key, t), logits).astype(jnp.int32)
            return (code * self.symbols + y) % rows, y

        ys = jax.lax.scan(step, jnp.int32(0), jnp.arange(self.points))[1]
        return Prompt(jnp.zeros((self.points, 0)), ys, latent)

    def bayes(self, prompt: Prompt) -> Prediction:
        return Prediction(log_probs=kgram_log_probs(prompt.ys, self.symbols, self.order, self.alpha))

    def oracle(self, prompt: Prompt) -> Prediction:
        """The true transition rows, log (P, C); uniform at the first `order` symbols."""
        rows = prompt.latent[context_codes(prompt.ys, self.symbols, self.order)]
        started = jnp.arange(prompt.points) >= self.order
        return Prediction(log_probs=jnp.log(jnp.where(started[:, None], rows, 1 / self.symbols)))
