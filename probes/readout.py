"""What both read-out probes share: fits of a target to the residual stream, for every layer and number of examples.

Akyurek et al. 2022: one read-out for every layer and every k, f(sum_t softmax(s)_t h_t) with scores s that depend on
the position alone and f linear or with one hidden layer. Fitted on some prompts, scored on others, and once more on a
network with the same weights in random places, which shows what the read-out can compute by itself.
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from function_classes.base import FunctionClass, NotAvailable, Prompt
from function_classes.fields import as_data, setting
from icl import programs, taps
from icl.models import Learner
from icl.programs import compiled
from icl.resampling import apply, limits, mean_intervals, resamples
from icl.tables import Table
from icl.training.optimizers import Adam
from probes.base import Probe, ProbeResult, vectors_to_a_number
from probes.pictures import draw_readouts

BATCH = 256
FORMS = {"linear": "linear", "mlp": "one hidden layer"}
DECODED = 0.5
PENALTIES = (1e-6, 1e-4, 1e-2, 1.0)


class Readout(Probe):
    """A target, decoded from the residual stream. A subclass says which."""

    what: ClassVar[str] = ""
    rule = (
        "an error is a held-out mean square over that of the target, averaged over k >= 1; decoded where it is below "
        "half, and below half of what the same read-out reaches on the shuffled network; cannot tell where the 95 % "
        "interval of a ratio of both holds one half; first layer: the first within 10 % of the best"
    )
    read: Literal["attention", "token"] = setting("attention", "scores over all tokens seen, or the read token alone")
    train: int = setting(1024, "prompts that read-outs are fitted on", at_least=64)
    hidden: int = setting(128, "hidden units of the nonlinear read-out", at_least=1)
    steps: int = setting(300, "optimizer steps of every fit", at_least=1)
    learning_rate: float = setting(5e-3, "of Adam, falling to 0 by a cosine", above=0)

    def target(self, task: FunctionClass, prompt: Prompt) -> Float[Array, "P D"]:
        """What is decoded after k examples."""
        raise NotImplementedError

    def refuses(self, task: FunctionClass) -> str | None:
        reason = vectors_to_a_number(task, "no linear weights")
        return reason or ("needs at least 3 points" if task.points < 3 else None)

    def lacks(self, predictor: Any) -> str | None:
        return without_residual(predictor)

    def measure(self, predictor: Any, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> ProbeResult:
        _, mixing, _ = jax.random.split(key, 3)
        subjects = {"": predictor, " control": shuffled(predictor, mixing)}
        fitted = {suffix: self.fits(subject, task, key, prompts) for suffix, subject in subjects.items()}
        found = {f"{form}{suffix}": fitted[suffix][form] for form in FORMS for suffix in subjects}
        draws, rows = resamples(prompts), []
        for name, (errors, _) in found.items():
            for layer in range(len(errors)):
                metric = f"error_{name.replace(' ', '_')}"
                for k, interval in enumerate(mean_intervals(errors[layer].T, draws), 1):
                    rows.append((f"layer {layer}", -1, k, metric, "per_null", *interval, prompts))
        arrays = {name.replace(" ", "_"): errors.mean(-1) for name, (errors, _) in found.items()}
        axes: dict[str, tuple[str, ...]] = {name: ("layer", "position") for name in arrays}
        arrays["scores"], axes["scores"] = found["linear"][1], ("layer", "position", "token")
        single = {name.replace(" ", "_"): errors.mean(1) for name, (errors, _) in found.items()}
        answer, decision = self._answer(arrays, single, self._sizes(task, key, prompts), draws)
        return ProbeResult(self.name, self.question, self.rule, answer, Table.from_rows(rows), arrays, axes, decision)

    @classmethod
    def draw(cls, result: ProbeResult) -> Any:
        return draw_readouts(result.arrays, FORMS)

    def fits(
        self, predictor: Any, task: FunctionClass, key: PRNGKeyArray, prompts: int
    ) -> dict[str, tuple[Float[np.ndarray, "L P N"], Float[np.ndarray, "L P T"]]]:
        """Of both forms: held-out errors over the target's mean square (layer, k >= 1, prompt), and the scores of
        tokens. The same key gives every predictor the same prompts and the same start."""
        fit = jax.random.split(key, 3)[2]
        batch, targets = self._drawn(task, key, prompts)
        activations = residuals(predictor, batch)
        mask = readable(predictor, task, self.read)[1:]
        return {form: self._errors(activations, targets, mask, form, fit) for form in FORMS}

    def _drawn(self, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> tuple[Prompt, Float[np.ndarray, "N P D"]]:
        """The prompts, those that are held out last, and what is decoded at every k >= 1."""
        batch = programs.draw(task, jax.random.split(key, 3)[0], 0, self.train + prompts)
        return batch, np.asarray(_targets(self, as_data(task), batch))[:, 1:]

    def _sizes(self, task: FunctionClass, key: PRNGKeyArray, prompts: int) -> Float[np.ndarray, "N"]:
        """The squares of the targets of single prompts in the unit of errors, averaged over positions; their mean is
        1."""
        squares = np.sum(self._drawn(task, key, prompts)[1][self.train :].astype(np.float64) ** 2, -1)
        return np.mean(squares / squares.mean(0), 1)

    def _answer(
        self, arrays: dict[str, np.ndarray], single: dict[str, np.ndarray], sizes: np.ndarray, draws: np.ndarray
    ) -> tuple[str, str]:
        """The sentence, and the decision: what the linear read-out decodes comes first. `single`: errors of every
        prompt, averaged over positions (layer, prompt)."""
        said, verdicts = [], {}
        for form, words in zip(FORMS, ("linear read-out", "one hidden layer"), strict=True):
            own, control = arrays[form].mean(1), arrays[f"{form}_control"].mean(1)
            best = int(own.argmin())
            first = int(np.flatnonzero(own <= 1.1 * own[best])[0])
            verdicts[form] = _verdict(single[form][first], [sizes, single[f"{form}_control"][first]], draws)
            said.append(
                f"{words}: {verdicts[form]} from layer {first} on, error {own[first]:.3g}, control {control[first]:.3g}"
            )
        alone = "decoded by a hidden layer alone" if verdicts["mlp"] == "decoded" else "not decoded"
        decision = alone if verdicts["linear"] == "not decoded" else verdicts["linear"]
        return f"{self.what}: " + "; ".join(said), decision

    def _errors(
        self, activations: np.ndarray, targets: np.ndarray, mask: np.ndarray, form: str, key: PRNGKeyArray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Squared errors over the target's mean square (layer, position, held-out prompt), and scores (layer,
        position, token)."""
        # A layer that overflows, as deep products of shuffled weights may, holds nothing: the best answer to it is 0.
        activations = np.where(np.isfinite(activations).all((1, 2, 3), keepdims=True), activations, 0)
        train, test = activations[:, : self.train], activations[:, self.train :]
        middle = train.mean((1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
        spread = np.maximum(train.std((1, 2), keepdims=True, dtype=np.float64), 1e-6).astype(np.float32)
        unit = np.sqrt(np.mean(targets[: self.train] ** 2, (0, 2)))[None, :, None]
        fit = _fitter(form, self.hidden, self.steps, float(self.learning_rate))
        goals, seen = jnp.asarray(targets[: self.train] / unit), jnp.asarray(mask)
        scaled = [jnp.asarray((part - middle) / spread) for part in (train, test)]
        params = fit(scaled[0], goals, seen, key)
        if form == "linear":
            mixed = np.asarray(_weights_of_layers(params.scores, seen), np.float64)
            answers = [
                _refit(mix, fitted, held, goals)
                for mix, fitted, held in zip(mixed, *map(np.asarray, scaled), strict=True)
            ]
        else:
            answers = np.asarray(_answers(params, scaled[1], seen), np.float64)
        gaps = [np.sum((answer * unit - targets[self.train :]) ** 2, -1) for answer in answers]
        size = np.mean(np.sum(targets[self.train :] ** 2, -1), 0)
        return np.stack([(gap / size).T for gap in gaps]), np.asarray(_weights_of_layers(params.scores, seen))


def _verdict(errors: Float[np.ndarray, "N"], others: list[np.ndarray], draws: np.ndarray) -> str:
    """Whether the mean error is below half of every other's: prompts are resampled together, since few of them have
    large targets, and make most of both."""
    shares = [limits(apply(draws, errors) / np.maximum(apply(draws, other), 1e-30)) for other in others]
    if any(low >= DECODED for low, _ in shares):
        return "not decoded"
    return "decoded" if all(high < DECODED for _, high in shares) else "cannot tell"


@compiled
def _targets(readout: Readout, task: FunctionClass, batch: Prompt) -> Float[Array, "N P D"]:
    return jax.vmap(lambda prompt: readout.target(task, prompt))(batch)


class Params(NamedTuple):
    """Scores of tokens, and an affine map or two with a gelu between; a first axis over positions."""

    scores: Float[Array, "P T"]
    layers: tuple[tuple[Array, Array], ...]


def without_residual(predictor: Any) -> str | None:
    """None for a learner with a residual stream in which every prediction is read; else what it is or does instead."""
    if isinstance(predictor, Learner):
        alone = predictor.trained(2) is not None
        return "needs all predictions in one pass; train with layout joint and query every" if alone else None
    return f"needs a learner with a residual stream, not {type(predictor).__name__}; give it a trained run"


def residual_names(learner: Learner, batch: Prompt) -> list[str]:
    """The sites of the residual stream, first to last. NotAvailable where the network names none."""
    one = jax.tree.map(lambda a: a[0], batch)
    names = [name for name in taps.sites(learner, one) if name.split(".")[-1] == "residual"]
    if not names:
        raise NotAvailable("this learner names no residual stream; taps.sites(learner, prompt) lists what there is")
    return names


def residuals(predictor: Any, batch: Prompt) -> Float[np.ndarray, "L N T E"]:
    """The residual stream before the first layer and after every layer or loop."""
    seen = _seen(as_data(predictor), batch, tuple(residual_names(predictor, batch)))
    return np.swapaxes(np.asarray(seen, np.float32), 0, 1)


@compiled
def _seen(predictor: Any, batch: Prompt, names: tuple[str, ...]) -> Float[Array, "N L T E"]:
    def one(prompt: Prompt) -> Float[Array, "L T E"]:
        _, seen = taps.capture(predictor, prompt, at=list(names))
        # Loops of one layer come as a leading axis of its one name.
        return jnp.concatenate([seen[name].reshape(-1, *seen[name].shape[-2:]) for name in names])

    return jax.vmap(one)(batch)


def readable(learner: Learner, task: FunctionClass, read: str) -> Bool[np.ndarray, "P T"]:
    """Which tokens a read-out after k examples may use: those the token of prediction k may attend to, or it alone."""
    length = learner.layout.length(task.points, learner.signature)
    at = learner.layout.read(task.points, learner.signature)
    own = np.zeros((task.points, length), bool)
    own[np.arange(task.points), at] = True
    if read == "token":
        return own
    visible = learner.layout.visible(task.points, learner.signature)
    seen = np.tril(np.ones((length, length), bool)) if visible is None else np.asarray(visible)
    return seen[at] | own


def shuffled(learner: Learner, key: PRNGKeyArray) -> Learner:
    """The learner with the entries of every parameter array in random order."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    leaves, structure = jax.tree.flatten(learner)
    # In NumPy: for JAX every shape of parameters would be another program.
    mix = lambda leaf: jnp.asarray(rng.permutation(np.asarray(leaf).reshape(-1)).reshape(leaf.shape))  # noqa: E731
    return jax.tree.unflatten(structure, [mix(leaf) if eqx.is_inexact_array(leaf) else leaf for leaf in leaves])


def _weights(scores: Float[Array, "P T"], mask: Bool[Array, "P T"]) -> Float[Array, "P T"]:
    return jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), -1)


def _apply(params: Params, inputs: Float[Array, "N T E"], mask: Bool[Array, "P T"]) -> Float[Array, "N P D"]:
    values = jnp.einsum("pt,nte->pne", _weights(params.scores, mask), inputs)
    *hidden, (weight, bias) = params.layers
    for w, b in hidden:
        values = jax.nn.gelu(values @ w + b[:, None, :])
    return jnp.swapaxes(values @ weight + bias[:, None, :], 0, 1)


@functools.lru_cache(maxsize=8)
def _fitter(form: str, hidden: int, steps: int, rate: float) -> Callable[..., Params]:
    """Fits the read-outs of every layer and position at once by Adam on the mean square, all layers from one start."""
    rule = Adam().transform()

    def fit(inputs: Array, goals: Array, mask: Array, key: PRNGKeyArray) -> Params:
        positions, width = mask.shape[0], inputs.shape[-1]
        sizes = (width, goals.shape[-1]) if form == "linear" else (width, hidden, goals.shape[-1])
        start, order = jax.random.split(key)
        keys = jax.random.split(start, len(sizes) - 1)
        layers = tuple(
            (jax.random.normal(k, (positions, i, o)) / np.sqrt(i), jnp.zeros((positions, o)))
            for k, i, o in zip(keys, sizes, sizes[1:], strict=False)
        )
        params = Params(jnp.zeros(mask.shape), layers)

        def loss(params: Params, chosen: Array) -> Array:
            return jnp.mean(jnp.square(_apply(params, inputs[chosen], mask) - goals[chosen])) * positions

        def step(index: Array, carry: Any) -> Any:
            params, state = carry
            chosen = jax.random.randint(jax.random.fold_in(order, index), (BATCH,), 0, len(inputs))
            direction, state = rule.update(jax.grad(loss)(params, chosen), state, params)
            now = rate * 0.5 * (1 + jnp.cos(jnp.pi * index.astype(jnp.float32) / steps))
            return jax.tree.map(lambda p, d: p - now * d, params, direction), state

        return jax.lax.fori_loop(0, steps, step, (params, rule.init(params)))[0]

    return jax.jit(jax.vmap(fit, in_axes=(0, None, None, None)))


@jax.jit
def _answers(params: Params, inputs: Array, mask: Array) -> Array:
    return jax.vmap(_apply, in_axes=(0, 0, None))(params, inputs, mask)


@jax.jit
def _weights_of_layers(scores: Float[Array, "L P T"], mask: Array) -> Array:
    return jax.vmap(_weights, in_axes=(0, None))(scores, mask)


def _refit(mix: np.ndarray, train: np.ndarray, test: np.ndarray, goals: Array) -> np.ndarray:
    """Answers of the linear map that is exactly best for these weights of tokens: ridge in float64, its penalty chosen
    on a quarter of the prompts that it was not fitted on."""
    fitted, held = (np.einsum("pt,nte->pne", mix, np.asarray(a, np.float64), optimize=True) for a in (train, test))
    wanted = np.swapaxes(np.asarray(goals, np.float64), 0, 1)
    fitted, held = (np.concatenate([a, np.ones((*a.shape[:2], 1))], -1) for a in (fitted, held))
    cut = 3 * fitted.shape[1] // 4
    best: tuple[float, float] = (np.inf, PENALTIES[0])
    for penalty in PENALTIES:
        weights = _ridge(fitted[:, :cut], wanted[:, :cut], penalty)
        best = min(best, (float(np.mean((fitted[:, cut:] @ weights - wanted[:, cut:]) ** 2)), penalty))
    return np.swapaxes(held @ _ridge(fitted, wanted, best[1]), 0, 1)


def _ridge(inputs: np.ndarray, goals: np.ndarray, penalty: float) -> np.ndarray:
    transposed = np.swapaxes(inputs, -1, -2)
    gram = transposed @ inputs + penalty * inputs.shape[1] * np.eye(inputs.shape[-1])
    return np.linalg.solve(gram, transposed @ goals)
