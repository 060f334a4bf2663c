"""Read-outs on a network whose residual stream is known: it holds the target, rotated, from one layer on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
import probes
from function_classes import NotAvailable
from icl import layouts, references
from icl.layouts import Signature
from icl.models import Learner
from icl.models.heads import MeanHead
from icl.resampling import resamples
from icl.taps import tap
from probes.readout import readable, shuffled

TASK = fc.get("linear-regression", dim=2, points=6, noise_std=0.4)
WIDTH = 2 * TASK.dim + 1
SIZES = {"train": 512, "steps": 200, "hidden": 16}


class Layer(eqx.Module):
    """Appends a function of the tokens seen so far, then rotates."""

    rotation: jax.Array
    target: str = eqx.field(static=True)

    def __call__(self, tokens):
        shown = jnp.concatenate([tokens[1:, TASK.dim :], jnp.zeros((1, TASK.dim + 1))])
        xs, ys = shown[:, : TASK.dim], shown[:, TASK.dim]
        prompt = fc.Prompt(xs, ys)
        names = {"weights": TASK.posterior(prompt).weights, "moment": probes.get("moment-readout").target(TASK, prompt)}
        extra = names.get(self.target, jnp.zeros_like(xs))
        return tap(jnp.concatenate([tokens, extra], -1) @ self.rotation, "residual")


class Known(eqx.Module):
    """The target is absent from layer 0 and present in layer 1."""

    layers: tuple[Layer, Layer]

    def __init__(self, target):
        turn = lambda seed: jnp.linalg.qr(jax.random.normal(jax.random.key(seed), (WIDTH + 2, WIDTH + 2)))[0]  # noqa: E731
        self.layers = Layer(turn(0), "none"), Layer(turn(1), target)

    def __call__(self, tokens, position_ids, visible=None, rows=None):
        return sum(layer(tokens)[:, :1] for layer in self.layers)


def learner(target):
    return Learner(Known(target), layouts.Paired(), Signature.of(TASK), MeanHead())


@pytest.mark.parametrize(("name", "target"), [("weight-readout", "weights"), ("moment-readout", "moment")])
@pytest.mark.parametrize("read", ["token", "attention"])
def test_the_layer_that_holds_the_target_is_found(name, target, read):
    result = probes.get(name, read=read, **SIZES)(learner(target), task=TASK, key=jax.random.key(1), prompts=64)
    absent, present = result.arrays["linear"]
    assert np.all(present < (1e-3 if read == "token" else 0.3))
    assert np.all(absent > 0.3)
    if read == "token":
        # A gelu layer has to learn the identity that the linear read-out is given.
        assert np.mean(result.arrays["mlp"][1]) < 0.5 * np.mean(result.arrays["mlp"][0])


def decide(readout, arrays, spread=0.0):
    """Errors by layer, of 40 prompts; those of the network's own differ by this share."""
    each = np.resize([1.0, -1.0], 40)
    single = {
        name: values.mean(1, keepdims=True) * (1 + (0 if name.endswith("control") else spread) * each)
        for name, values in arrays.items()
    }
    return readout._answer(arrays, single, np.ones(40), resamples(40))


def test_decoded_means_better_than_on_the_shuffled_network():
    readout = probes.get("weight-readout")
    own, control = np.array([[0.9], [0.11], [0.1]]), np.array([[0.9], [0.8], [0.8]])
    arrays = {"linear": own, "linear_control": control, "mlp": own, "mlp_control": 1.5 * own}
    answer, decision = decide(readout, arrays)
    assert "linear read-out: decoded from layer 1 on, error 0.11, control 0.8" in answer
    assert "one hidden layer: not decoded" in answer
    assert decision == "decoded"
    swapped = {"linear": own, "linear_control": 1.5 * own, "mlp": own, "mlp_control": control}
    assert decide(readout, swapped)[1] == "decoded by a hidden layer alone"
    assert decide(readout, swapped | {"mlp_control": 1.5 * own})[1] == "not decoded"


def test_an_error_is_above_half_of_both_below_it_or_it_cannot_be_told():
    """A target that is not decoded is not called so because a shuffled network does worse than predicting 0."""
    readout = probes.get("weight-readout")
    own, control = np.array([[0.9]]), np.array([[9.0]])
    arrays = {"linear": own, "linear_control": control, "mlp": own, "mlp_control": control}
    assert decide(readout, arrays)[1] == "not decoded"
    half = arrays | {"linear": np.array([[0.5]]), "linear_control": np.array([[1.0]])}
    assert decide(readout, half, 0.5)[1] == "cannot tell"
    assert decide(readout, half | {"linear": np.array([[0.2]])}, 0.5)[1] == "decoded"
    assert decide(readout, half | {"linear": np.array([[0.9]])}, 0.5)[1] == "not decoded"


def test_a_layer_that_overflows_holds_nothing():
    rng = np.random.default_rng(0)
    readout = probes.get("moment-readout", train=64, steps=20, hidden=4)
    targets = rng.normal(size=(96, 5, 2)).astype(np.float32)
    stream = rng.normal(size=(2, 96, 6, 3)).astype(np.float32)
    stream[1, 70, 2, 1] = np.inf
    errors, _ = readout._errors(stream, targets, np.tril(np.ones((6, 6), bool))[1:], "linear", jax.random.key(0))
    assert np.all(np.isfinite(errors))
    np.testing.assert_allclose(errors[1].mean(), 1, atol=0.1)


def test_the_shuffled_network_has_the_same_numbers_elsewhere():
    before = learner("none")
    after = shuffled(before, jax.random.key(2))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(np.sort(a, None), np.sort(b, None))
        assert np.any(a != b)


def test_tokens_that_a_readout_may_use_have_been_seen():
    seen = readable(learner("none"), TASK, "attention")
    np.testing.assert_array_equal(seen, np.tril(np.ones((6, 6), bool)))
    np.testing.assert_array_equal(readable(learner("none"), TASK, "token"), np.eye(6, dtype=bool))


def test_refusals():
    readout = probes.get("weight-readout")
    with pytest.raises(NotAvailable, match="residual stream, not Ridge"):
        readout(references.get("ridge"), task=TASK, key=jax.random.key(3))
    with pytest.raises(NotAvailable, match="posterior over linear weights"):
        readout(references.get("null"), task=fc.get("markov"), key=jax.random.key(3))
    with pytest.raises(NotAvailable, match="at least 3 points"):
        readout(references.get("null"), task=fc.get("linear-regression", points=2), key=jax.random.key(3))
