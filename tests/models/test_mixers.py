"""What every registered mixer promises: one function on both paths, and nothing from tokens it may not see."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from icl.models import Learner, ModelConfig
from icl.models.mixers import Mixer, MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.fork import Fork, mask_of
from icl.models.mixers.linear import weigh
from tests.conftest import rotate
from tests.harness import Interventions

T, E = 6, 8
PLACE = Place(width=E, heads=2, depth=1, length=T)
MASKS = {
    "causal": None,
    "fork": mask_of(Fork(4, np.array([1, -1]))),
    "pairs": np.eye(T, dtype=bool) | (np.arange(T) < 2)[None, :],
}
TASK = fc.get("linear-regression", dim=3, points=4)
MEMBERS: dict[str, dict] = {name: {} for name in MixerConfig.registry.names()}
MEMBERS |= {
    "linear by scores": {"name": "linear", "normalizer": "scores", "bias": True},
    "s4d-inv": {"name": "s4d", "spectrum": "inv", "modes": 3},
    "negative deltanet": {"name": "deltanet", "negative": True, "window": 2},
    "ttt in small batches": {"name": "ttt-linear", "minibatch": 2, "rate": 0.5},
    "ttt-mlp in small batches": {"name": "ttt-mlp", "minibatch": 4, "ratio": 2},
    "pooling of a window": {"name": "pooling", "window": 3},
    "hyena of order 3": {"name": "hyena", "order": 3, "hidden": 4},
}
# They do not respond to a token, or forget it after a while.
MUTE = {"identity", "pooling of a window"}


def pytest_generate_tests(metafunc):
    """Contracts of a share of the mixers, with all their variants."""
    if "name" in metafunc.fixturenames and "member" not in metafunc.fixturenames:
        names = rotate(metafunc.config, MixerConfig.registry.names())
        metafunc.parametrize("name", [m for m, fields in MEMBERS.items() if fields.get("name", m) in names])


def make(member: str, place: Place = PLACE) -> Mixer:
    fields = {"name": member, **MEMBERS[member]}
    mixer = MixerConfig.registry.get(fields.pop("name"), **fields).make(place, key=jax.random.key(0))
    noise = lambda a: a + 0.3 * jax.random.normal(jax.random.key(1), a.shape)  # noqa: E731
    return jax.tree.map(lambda a: noise(a) if eqx.is_inexact_array(a) else a, mixer)


def stepped(mixer: Mixer, x: jax.Array) -> jax.Array:
    """Token after token."""

    def step(state, row):
        y, state = mixer.step(row, state)
        return state, y

    return jax.lax.scan(step, mixer.init_state(x.shape[0]), x)[1]


@pytest.mark.parametrize("mask", MASKS)
def test_both_paths_agree_and_hidden_tokens_add_nothing(name, mask):
    mixer, visible = make(name), MASKS[mask]
    if mask == "pairs" and not mixer.supports_visibility:
        pytest.skip("masks of forks only")
    x = jax.random.normal(jax.random.key(2), (3, T, E))

    @jax.jit
    def run(x):
        one = jax.vmap(lambda a: mixer(a, visible))(x)
        return one, mixer.batched(x, visible, None), mixer.batched(x, visible, (1, T - 1))

    one, fast, some = map(np.asarray, run(x))
    size = np.abs(one).max()
    np.testing.assert_allclose(fast, one, atol=2e-6 * size)
    np.testing.assert_allclose(some, one[:, [1, T - 1]], atol=2e-6 * size)
    seen = np.tril(np.ones((T, T), bool)) if visible is None else visible
    for j in range(T):
        for value in (np.nan, 1e30):
            changed = np.asarray(run(x.at[:, j].set(value))[0])
            for i in np.flatnonzero(np.arange(T) != j):
                same = changed[:, i].tobytes() == one[:, i].tobytes()
                assert same == (not seen[i, j]) or (seen[i, j] and name in MUTE), (i, j, value)
        if name not in MUTE:
            assert np.isnan(np.asarray(run(x.at[:, j].set(jnp.nan))[0])[:, seen[:, j]]).all()


def test_steps_prefixes_and_the_parallel_form_are_one_function(name):
    mixer = make(name)
    x = jax.random.normal(jax.random.key(5), (T, E))
    whole, steps, prefix = jax.jit(lambda m, x: (m(x), stepped(m, x), m(x[:4])))(mixer, x)
    size = float(jnp.max(jnp.abs(whole)))
    np.testing.assert_allclose(steps, whole, atol=1e-5 * size)
    np.testing.assert_allclose(prefix, whole[:4], atol=1e-5 * size)


@pytest.mark.parametrize("member", ["s4d", "dss", "s5", "lru", "hyena", "base-conv"])
def test_long_sequences_take_another_way_to_the_same_outputs(member):
    """Blocks and the frequency domain beyond 256 tokens."""
    length = 300
    mixer = make(member, PLACE._replace(length=length))
    x = jax.random.normal(jax.random.key(6), (length, E))
    whole, first = jax.jit(lambda x: (mixer(x), mixer(x[:200])))(x)
    np.testing.assert_allclose(whole[:200], first, atol=1e-4 * float(jnp.max(jnp.abs(whole))))
    last = whole[-1] if member in ("hyena", "base-conv") else stepped(mixer, x)[-1]
    np.testing.assert_allclose(last, whole[-1], atol=1e-4 * float(jnp.max(jnp.abs(whole))))


def test_a_transformer_with_it_leaks_nothing(name):
    mixer = {"name": name, **MEMBERS[name]}
    config = ModelConfig.registry.get("transformer", depth=2, width=E, heads=2, mixer=mixer)
    learner: Learner = config.make(TASK, key=jax.random.key(3))
    prompts = TASK.batch(jax.random.key(4), 2)
    assert not any(Interventions(learner, prompts).leaks().values())
    one, fast = jax.jit(lambda p: (jax.vmap(learner)(p).mean, learner.batched(p).mean))(prompts)
    np.testing.assert_allclose(one, fast, atol=1e-5 * float(jnp.max(jnp.abs(one))))


def test_gradients_of_two_layers_are_finite_in_both_types(name):
    mixer, prompts = {"name": name, **MEMBERS[name]}, TASK.batch(jax.random.key(4), 2)
    sizes = {"depth": 2, "width": E, "heads": 2, "activation": "none", "mixer": mixer}

    def loss(learner):
        return jnp.mean((learner.batched(prompts).mean - prompts.ys) ** 2)

    types = "float32", "bfloat16"
    configs = [ModelConfig.registry.get("transformer", **sizes, compute=compute) for compute in types]
    learners = [config.make(TASK, key=jax.random.key(3)) for config in configs]
    for gradient in eqx.filter_jit(lambda *all: [eqx.filter_grad(loss)(one) for one in all])(*learners):
        leaves = jax.tree.leaves(gradient)
        assert all(leaf.dtype == np.float32 and np.all(np.isfinite(leaf)) for leaf in leaves)
        assert any(np.any(leaf) for leaf in leaves)


def test_division_by_the_scores_is_a_mean_and_nothing_where_they_sum_to_nothing():
    rng = np.random.default_rng(0)
    scores, value = rng.normal(size=(2, T, T)), rng.normal(size=(2, T, 3))
    scores[0, 4] = 0
    seen = np.tril(np.ones((T, T)))
    totals = np.sum(scores * seen[None], -1, keepdims=True)
    wanted = np.divide(np.matmul(scores * seen[None], value), totals, out=np.zeros((2, T, 3)), where=totals != 0)

    def run(scores, value):
        return weigh(scores, value, None, "scores")

    given = jnp.asarray(scores, jnp.float32), jnp.asarray(value, jnp.float32)
    np.testing.assert_allclose(run(*given), wanted, atol=1e-5 * np.abs(wanted).max())
    assert not np.any(run(*given)[0, 4])
    for gradient in jax.grad(lambda *a: jnp.sum(jnp.sin(run(*a))), (0, 1))(*given):
        assert np.all(np.isfinite(gradient))
        assert np.any(gradient)
