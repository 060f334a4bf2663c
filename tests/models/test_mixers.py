"""What every registered mixer promises: one function on both paths, and nothing from tokens it may not see."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from icl.models import Learner, ModelConfig
from icl.models.mixers import Mixer, MixerConfig
from icl.models.mixers.linear import weigh
from tests.harness import Interventions

T, E = 6, 8
MASKS = {"causal": None, "pairs": np.eye(T, dtype=bool) | (np.arange(T) < 2)[None, :]}
TASK = fc.get("linear-regression", dim=3, points=4)
MEMBERS: dict[str, dict] = {name: {} for name in MixerConfig.registry.names()}
MEMBERS["linear by scores"] = {"name": "linear", "normalizer": "scores", "bias": True}


def make(member: str) -> Mixer:
    fields = {"name": member, **MEMBERS[member]}
    mixer = MixerConfig.registry.get(fields.pop("name"), **fields).make(E, 2, 1, "fan-in", key=jax.random.key(0))
    noise = lambda a: a + 0.3 * jax.random.normal(jax.random.key(1), a.shape)  # noqa: E731
    return jax.tree.map(lambda a: noise(a) if eqx.is_inexact_array(a) else a, mixer)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", MEMBERS)
def test_both_paths_agree_and_hidden_tokens_add_nothing(name, mask):
    mixer, visible = make(name), MASKS[mask]
    if visible is not None and not mixer.supports_visibility:
        pytest.skip("causal only")
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
                assert same == (not seen[i, j]), (i, j, value)
        assert np.isnan(np.asarray(run(x.at[:, j].set(jnp.nan))[0])[:, seen[:, j]]).all()


@pytest.mark.parametrize("name", [n for n in MixerConfig.registry.names() if n != "softmax"])
def test_a_transformer_with_it_leaks_nothing(name):
    """With softmax, its usual mixer, the transformer has tests of its own."""
    config = ModelConfig.registry.get("transformer", depth=2, width=E, heads=2, mixer=name)
    learner: Learner = config.make(TASK, key=jax.random.key(3))
    prompts = TASK.batch(jax.random.key(4), 2)
    assert not any(Interventions(learner, prompts).leaks().values())
    one, fast = jax.jit(lambda p: (jax.vmap(learner)(p).mean, learner.batched(p).mean))(prompts)
    np.testing.assert_allclose(one, fast, atol=1e-5 * float(jnp.max(jnp.abs(one))))


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
