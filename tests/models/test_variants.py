"""Choices of a transformer's parts: norms, MLPs, positions, tied embeddings, kinds of attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from icl.config import Config
from icl.models import ModelConfig
from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.order import learned_bias, slopes
from icl.models.mixers.softmax import attend
from tests.harness import Interventions

TASK = fc.get("linear-regression", dim=3, points=5)
STREAM = fc.get("markov", symbols=3, points=6)
PROMPTS = TASK.batch(jax.random.key(0), 3)
VARIANTS = [
    {"norm": "post"},
    {"norm": "post", "activation": "none"},
    {"activation": "none"},
    {"activation": "swiglu"},
    {"positions": "sinusoidal"},
    {"positions": "rotary"},
    {"positions": "alibi"},
    {"positions": "relative"},
    {"positions": "rotary", "mixer": "momentum"},
    {"mixers": ("softmax", "s5")},
]


def made(task=TASK, **fields):
    layout = {"layout": "stream"} if task is STREAM else {}
    config = ModelConfig.registry.get("transformer", depth=2, width=8, heads=2, **layout, **fields)
    assert config.refuses(task) == []
    learner = config.make(task, key=jax.random.key(1))
    noise = lambda a: a + 0.1 * jax.random.normal(jax.random.key(2), a.shape)  # noqa: E731
    return jax.tree.map(lambda a: noise(a) if isinstance(a, jax.Array) and a.dtype == jnp.float32 else a, learner)


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_both_paths_are_one_causal_function(fields):
    learner = made(**fields)
    one, fast = jax.jit(lambda p: (jax.vmap(learner)(p).mean, learner.batched(p).mean))(PROMPTS)
    np.testing.assert_allclose(one, fast, atol=2e-6 * float(jnp.max(jnp.abs(one))))
    assert not any(Interventions(learner, PROMPTS).leaks().values())


def test_norms_stand_after_the_sums():
    learner = made(norm="post")
    block, x = learner.network.blocks[0], jax.random.normal(jax.random.key(3), (4, 8))

    def norm(x, part):
        centered = x - x.mean(-1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * np.asarray(part.scale) + np.asarray(part.shift)

    middle = norm(np.asarray(x + block.mixer(x)), block.norm_mixer)
    wanted = norm(middle + np.asarray(block.mlp(jnp.asarray(middle))), block.norm_mlp)
    np.testing.assert_allclose(block(x), wanted, atol=1e-5)
    assert not jax.tree.leaves(learner.network.norm)


def test_rotary_scores_depend_on_distances():
    """The same tokens later in a sequence attend to each other alike; learned positions do not."""
    mixer = MixerConfig.registry.get("softmax").make(Place(8, 2, 1, 9, order="rotary"), key=jax.random.key(4))
    pair = jax.random.normal(jax.random.key(5), (2, 8))
    # A token that all others ignore: its key is far below.
    first = jnp.zeros((3, 8))
    query, key = (mixer._split(linear(jnp.concatenate([first, pair]))) for linear in (mixer.query, mixer.key))
    late = np.einsum("hk,hk->h", mixer._placed(query, None)[:, 4], mixer._placed(key, None)[:, 3])
    query, key = (mixer._split(linear(pair)) for linear in (mixer.query, mixer.key))
    early = np.einsum("hk,hk->h", mixer._placed(query, None)[:, 1], mixer._placed(key, None)[:, 0])
    np.testing.assert_allclose(late, early, rtol=1e-4)
    assert not np.allclose(early, np.einsum("hk,hk->h", query[:, 1], key[:, 0]), rtol=1e-3)


def test_biases_of_distances():
    np.testing.assert_allclose(slopes(8), [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])
    bias = learned_bias(jnp.array([[1.0, 2.0, 3.0]]), 5)
    rows = [[1, 0, 0, 0, 0], [2, 1, 0, 0, 0], [3, 2, 1, 0, 0], [3, 3, 2, 1, 0], [3, 3, 3, 2, 1]]
    np.testing.assert_array_equal(np.tril(bias[0]), rows)


@pytest.mark.parametrize("heads", [1, 2])
def test_the_bias_of_scores_has_its_gradient(heads):
    """The backward pass of its own against automatic differentiation."""
    rng = np.random.default_rng(0)
    query, key, value = (jnp.asarray(rng.normal(size=(3, 2, 4, 5)), jnp.float32) for _ in range(3))
    bias = jnp.asarray(rng.normal(size=(heads, 4, 4)), jnp.float32)

    def plain(query, key, value, bias):
        scores = jnp.matmul(query, jnp.swapaxes(key, -1, -2)) + bias[None]
        return jnp.matmul(jax.nn.softmax(scores, -1), value)

    total = lambda f: lambda *a: jnp.sum(jnp.sin(f(*a)))  # noqa: E731
    found, wanted = (jax.grad(total(f), (0, 1, 2, 3))(query, key, value, bias) for f in (attend, plain))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_no_momentum_is_softmax_attention_bit_for_bit():
    place, x = Place(8, 2, 1, 6), jax.random.normal(jax.random.key(6), (2, 6, 8))
    plain = MixerConfig.registry.get("softmax").make(place, key=jax.random.key(7))
    still, moving = (
        MixerConfig.registry.get("momentum", momentum=m).make(place, key=jax.random.key(7)) for m in (0.0, 0.5)
    )
    assert np.asarray(still(x[0])).tobytes() == np.asarray(plain(x[0])).tobytes()
    assert np.asarray(still.batched(x, None, None)).tobytes() == np.asarray(plain.batched(x, None, None)).tobytes()
    # m_t = momentum (m_{t-1} + v_{t-1}), m_0 = 0
    value, sums = np.asarray(plain._split(plain.value(x[0]))), [np.zeros((2, 4))]
    for t in range(5):
        sums.append(0.5 * (sums[-1] + value[:, t]))
    added = moving._join(jnp.asarray(np.stack(sums, 1), jnp.float32)) @ plain.output.weight
    np.testing.assert_allclose(moving(x[0]) - plain(x[0]), added, atol=1e-5)


def test_tied_embeddings_read_out_with_the_read_in():
    learner = made(STREAM, tied=True)
    prompts = STREAM.batch(jax.random.key(8), 2)
    assert learner.network.head is None
    one, fast = jax.vmap(learner)(prompts).log_probs, learner.batched(prompts).log_probs
    np.testing.assert_allclose(one, fast, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"positions": "rotary", "mixer": "s5"}, "rotary acts on queries and keys of attention, which s5 has not"),
        ({"positions": "alibi", "layout": "joint"}, "needs tokens in causal order, which layout 'joint' has not"),
        ({"positions": "sinusoidal", "width": 9, "heads": 3}, "sinusoidal needs an even width, got 9"),
        ({"tied": True}, "only streams of symbols can be tied"),
        (
            {"mixer": "mamba", "layout": "joint", "model.layout.query": "last"},
            "later ones, or not themselves, which mamba",
        ),
        (
            {"mixers": ("softmax", "s5"), "depth": 3},
            "each of the 3 layers, got 2; give 3 of them, or depth = 2",
        ),
        ({"mixers": ("s5", "s5"), "depth": 2, "mixer": "lstm"}, "not read where mixers names .* leave lstm out"),
        ({"loops": 4}, "belongs to model algoformer or looped; choose one, say --model algoformer"),
        ({"spectrum": "linear"}, "mixer s4d; write it as a path, --set model.mixer.spectrum=..."),
        ({"mixer": "retention", "width": 10, "heads": 4}, "does not divide"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_built(options, words):
    options = {"model.layout" if k == "layout" else k: v for k, v in options.items()}
    with pytest.raises(fc.ConfigError, match=words):
        Config.create("linear-regression", **options)


def test_streams_of_numbers_have_no_embeddings_to_tie():
    with pytest.raises(fc.ConfigError, match="only streams of symbols can be tied"):
        Config.create("autoregressive", tied=True)
