"""The same function with other weights: outputs agree to rounding, no matrix does, and what is effective stays."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes.base import NotAvailable
from icl.models import Learner, ModelConfig
from icl.models.constructions import Construction
from icl.models.constructions.disguise import invertible, orthogonal, rotated
from icl.models.constructions.products import effective, products

TASK = fc.get("linear-regression", dim=4, points=7, noise_std=0.3)
STREAM = fc.get("markov", points=6)
MIXED = ({"name": "merged-linear", "normalizer": "none"}, "softmax")
SMALL = {"depth": 2, "width": 8, "heads": 2}
LINEAR = {"name": "linear", "key_size": 3, "bias": True}
CODES = {"layout": {"name": "interleaved", "channels": "separate", "query": "last"}, "positions": "sinusoidal"}
CODES |= {"depth": 2, "mixers": ("softmax", LINEAR)}
MODELS = {
    "raw-linear": ("attention-only", TASK, {"mixer": LINEAR, "heads": 2, "depth": 2}),
    "raw-merged": ("attention-only", TASK, {"mixer": {"name": "merged-linear", "start": 1.0}, "heads": 2}),
    "raw-softmax": ("attention-only", TASK, {"mixer": {"name": "softmax", "key_size": 3}, "heads": 3, "damping": 0.5}),
    "raw-loops": ("attention-only", TASK, {"mixer": LINEAR, "depth": 3, "recurrent": True, "reads": "minus-y"}),
    "raw-codes": ("attention-only", TASK, CODES),
    "layer-norm": ("transformer", TASK, SMALL),
    "stream": (
        "transformer",
        STREAM,
        SMALL | {"mixer": {"name": "linear", "normalizer": "count"}, "positions": "none"},
    ),
    "no-norm": ("transformer", TASK, SMALL | {"norm": "none", "activation": "relu"}),
    "bilinear": ("transformer", STREAM, SMALL | {"norm": "none", "activation": "bilinear", "mixers": MIXED}),
    "scores": ("transformer", TASK, SMALL | {"norm": "none", "mixer": LINEAR | {"normalizer": "scores"}}),
    "layer-norm-merged": ("transformer", TASK, SMALL | {"mixer": "merged-linear", "mlp_ratio": 2}),
}
CONSTRUCTIONS = {
    "gradient-descent": {"steps": 2, "rate": 0.4},
    "gradient-descent-plus-plus": {"rates": (0.5, 0.7), "gammas": (0.02, 0.04)},
    "zhang-optimum": {},
}


def random(case: str) -> tuple[Learner, fc.FunctionClass]:
    """A learner with no weight at a special value: biases, scales and shifts differ from their start."""
    name, task, settings = MODELS[case]
    learner = ModelConfig.registry.get(name, **settings).make(task, key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(eqx.filter(learner, eqx.is_inexact_array))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [a + 0.3 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, moved), learner), task


def outputs(learner: Learner, task: fc.FunctionClass) -> np.ndarray:
    prediction = eqx.filter_jit(lambda m: jax.vmap(m)(task.batch(jax.random.key(2), 20)))(learner)
    return np.asarray(prediction.mean if prediction.log_probs is None else prediction.log_probs)


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))


def matrices(learner: Learner) -> list[np.ndarray]:
    return [np.asarray(a) for a in jax.tree.leaves(eqx.filter(learner.network, eqx.is_inexact_array)) if a.ndim > 1]


# A sum of scores of both signs comes near 0, where it multiplies the rounding: compared in float64.
@pytest.mark.parametrize("case", [case for case in MODELS if case != "scores"])
def test_a_disguised_learner_predicts_the_same_with_other_weights(case):
    learner, task = random(case)
    plain = outputs(learner, task)
    assert np.ptp(plain) > 0.1
    for seed in (0, 1):
        disguised = rotated(learner, jax.random.key(seed))
        assert relative(outputs(disguised, task), plain) < 1e-5
        for a, b in zip(matrices(learner), matrices(disguised), strict=False):
            assert np.linalg.norm(a - b) > 0.3 * np.linalg.norm(a)
    assert relative(outputs(rotated(disguised, jax.random.key(5)), task), plain) < 2e-5


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_hand_set_weights_no_longer_look_hand_set(name):
    made = Construction.registry.get(name, **CONSTRUCTIONS[name])
    learner = made.make(TASK)
    disguised = rotated(learner, jax.random.key(3))
    assert relative(outputs(disguised, TASK), outputs(learner, TASK)) < 1e-5
    for plain, turned in zip(learner.network.blocks, disguised.network.blocks, strict=True):
        for before, after in zip(products(plain.mixer), products(turned.mixer), strict=True):
            assert off_diagonal(before[0]) < 1e-6
            assert off_diagonal(after[0]) > 0.3


def off_diagonal(matrix: np.ndarray) -> float:
    """The part of the Frobenius norm outside the diagonal."""
    return float(np.linalg.norm(matrix - np.diag(np.diag(matrix))) / np.linalg.norm(matrix))


@pytest.mark.parametrize("case", ["raw-merged", "gradient-descent", "zhang-optimum"])
def test_what_is_effective_survives(case):
    learner = random(case)[0] if case in MODELS else Construction.registry.get(case).make(TASK)
    disguised = rotated(learner, jax.random.key(4))
    np.testing.assert_allclose(effective(disguised), effective(learner), atol=1e-5)
    unframed = dataclasses.replace(disguised, network=dataclasses.replace(disguised.network, frame=None))
    assert np.max(np.abs(effective(unframed) - effective(learner))) > 0.01


def test_in_float64_the_outputs_agree_to_ten_digits():
    """Of linear attention, as softmax and norms compute in float32."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        made = [Construction.registry.get(name, **fields) for name, fields in CONSTRUCTIONS.items()]
        for learner in [*(m.make(TASK) for m in made), random("raw-linear")[0], random("scores")[0]]:
            visible = learner.layout.visible(7, learner.signature)
            tokens = jnp.asarray(rng.normal(size=(7, learner.layout.features(learner.signature))))
            run = eqx.filter_jit(lambda network, tokens, visible=visible: network(tokens, np.arange(7), visible))
            plain, turned = (run(m.network, tokens) for m in (learner, rotated(learner, jax.random.key(6))))
            assert plain.dtype == turned.dtype == jnp.float64
            assert relative(np.asarray(turned), np.asarray(plain)) < 1e-10


def test_both_paths_of_a_framed_network_agree():
    learner, task = random("raw-linear")
    disguised, prompts = rotated(learner, jax.random.key(7)), task.batch(jax.random.key(8), 3)
    fast = eqx.filter_jit(lambda m, p: m.batched(p))(disguised, prompts).mean
    one = eqx.filter_jit(lambda m, p: jax.vmap(m)(p))(disguised, prompts).mean
    assert relative(np.asarray(fast)[:, -1], np.asarray(one)[:, -1]) < 1e-5


def test_gauge_matrices():
    rng = np.random.default_rng(1)
    turn = orthogonal(rng, 6)
    np.testing.assert_allclose(turn @ turn.T, np.eye(6), atol=1e-12)
    assert np.linalg.cond(invertible(rng, 6)) <= 4 + 1e-9


def test_refusals():
    clipped = ModelConfig.registry.get("attention-only", clip_tokens=1.0).make(TASK, key=jax.random.key(0))
    with pytest.raises(NotAvailable, match="clipped at 1"):
        rotated(clipped, jax.random.key(0))
    learner, _ = random("layer-norm")
    flat = eqx.tree_at(lambda m: m.network.norm.scale, learner, jnp.zeros(8))
    with pytest.raises(NotAvailable, match="scale 0"):
        rotated(flat, jax.random.key(0))
    foreign = eqx.tree_at(lambda m: m.network, learner, lambda *a: a)
    with pytest.raises(NotAvailable, match="transformer or an attention-only"):
        rotated(foreign, jax.random.key(0))
