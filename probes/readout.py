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
from icl import taps
from icl.models import Learner
from icl.programs import compiled
from icl.resampling import mean_intervals, resamples
from icl.tables import Table
from icl.training.optimizers import Adam
from probes.base import Probe, ProbeResult, vectors_to_a_number
from probes.pictures import draw_readouts

BATCH = 256
FORMS = {"linear": "linear", "mlp": "one hidden layer"}
PENALTIES = (1e-6, 1e-4, 1e-2, 1.0)


class Readout(Probe):
    """A target, decoded from the residual stream. A subclass says which."""

    what: ClassVar[str] = ""
    rule = (
        "an error is a held-out mean square over that of the target, averaged over k >= 1; decoded where it is below "
        "half of what the same read-out reaches on the shuffled network; first layer: the first within 10 % of the best"
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
        answer, decision = self._answer(arrays)
        return ProbeResult(self.name, self.question, self.rule, answer, Table.from_rows(rows), arrays, axes, decision)

    @classmethod
    def draw(cls, result: ProbeResult) -> Any:
        return draw_readouts(result.arrays, FORMS)

    def fits(
        self, predictor: Any, task: FunctionClass, key: PRNGKeyArray, prompts: int
    ) -> dict[str, tuple[Float[np.ndarray, "L P N"], Float[np.ndarray, "L P T"]]]:
        """Of both forms: held-out errors over the target's mean square (layer, k >= 1, prompt), and the scores of
        tokens. The same key gives every predictor the same prompts and the same start."""
        draw, _, fit = jax.random.split(key, 3)
        batch = task.batch(draw, self.train + prompts)
        targets = np.asarray(jax.jit(jax.vmap(lambda p: self.target(task, p)))(batch))[:, 1:]
        activations = residuals(predictor, batch)
        mask = readable(predictor, task, self.read)[1:]
        return {form: self._errors(activations, targets, mask, form, fit) for form in FORMS}

    def _answer(self, arrays: dict[str, np.ndarray]) -> tuple[str, str]:
        """The sentence, and the decision: what the linear read-out decodes comes first."""
        said, decoded = [], {}
        for form, words in zip(FORMS, ("linear read-out", "one hidden layer"), strict=True):
            own, control = arrays[form].mean(1), arrays[f"{form}_control"].mean(1)
            best = int(own.argmin())
            first = int(np.flatnonzero(own <= 1.1 * own[best])[0])
            decoded[form] = bool(own[first] < 0.5 * control[first])
            verdict = "decoded" if decoded[form] else "not decoded"
            said.append(
                f"{words}: {verdict} from layer {first} on, error {own[first]:.3g}, control {control[first]:.3g}"
            )
        alone = "decoded by a hidden layer alone" if decoded["mlp"] else "not decoded"
        return f"{self.what}: " + "; ".join(said), "decoded" if decoded["linear"] else alone

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
        goals = jnp.asarray(targets[: self.train] / unit)
        errors, scores = [], []
        for layer in range(len(activations)):
            inputs = jnp.asarray((train[layer] - middle[layer]) / spread[layer])
            params = fit(inputs, goals, jnp.asarray(mask), key)
            held = jnp.asarray((test[layer] - middle[layer]) / spread[layer])
            answers = _refit(params, inputs, held, goals, mask) if form == "linear" else _answers(params, held, mask)
            gap = np.sum((answers * unit - targets[self.train :]) ** 2, -1)
            errors.append((gap / np.mean(np.sum(targets[self.train :] ** 2, -1), 0)).T)
            scores.append(np.asarray(_weights(params.scores, jnp.asarray(mask))))
        return np.stack(errors), np.stack(scores)


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
    leaves, structure = jax.tree.flatten(learner)
    keys = jax.random.split(key, len(leaves))
    mix = lambda leaf, k: jax.random.permutation(k, leaf.reshape(-1)).reshape(leaf.shape)  # noqa: E731
    mixed = [mix(a, k) if eqx.is_inexact_array(a) else a for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, mixed)


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
    """Fits every position's read-out at once by Adam on the mean square."""
    rule = Adam().transform()

    @jax.jit
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

    return fit


def _answers(params: Params, inputs: Array, mask: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(_apply)(params, inputs, jnp.asarray(mask)), np.float64)


def _refit(params: Params, train: Array, test: Array, goals: Array, mask: np.ndarray) -> np.ndarray:
    """Answers of the linear map that is exactly best for the scores found: ridge in float64, its penalty chosen on a
    quarter of the prompts that it was not fitted on."""
    mix = np.asarray(_weights(params.scores, jnp.asarray(mask)), np.float64)
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
