"""Queries that fork a recurrence: every one is answered from the state after its own context, in one pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from icl.config import Config
from icl.layouts import Interleaved, Joint, Signature
from icl.models import ModelConfig
from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.fork import Fork, fork_of, mask_of
from tests.conftest import rotate
from tests.harness import Interventions
from tests.models.test_mixers import MEMBERS, make

P, E = 5, 8
TASK = fc.get("linear-regression", dim=3, points=P)
PLACE = Place(width=E, heads=2, depth=1, length=2 * P - 1)
# They divide by the number of context tokens, which a mask tells and the causal order does not.
COUNTING = {"merged-linear", "relu"}
MASK = Joint().visible(P, Signature.of(TASK))


def pytest_generate_tests(metafunc):
    """A share of the mixers, with all their variants."""
    if "member" in metafunc.fixturenames:
        names = rotate(metafunc.config, MixerConfig.registry.names())
        metafunc.parametrize("member", [m for m, fields in MEMBERS.items() if fields.get("name", m) in names])


def test_one_pass_is_as_many_passes_as_there_are_queries(member):
    """Row k of the passes: the context before query k, the query, and blanks, which no causal map reads."""
    mixer = make(member, PLACE)
    if member in COUNTING:
        pytest.skip("the number of context tokens is a matter of the mask")
    assert MixerConfig.registry.get(MEMBERS[member].get("name", member)).forks or mixer.supports_visibility
    tokens = jax.random.normal(jax.random.key(0), (2, 2 * P - 1, E))

    @jax.jit
    def run(tokens):
        context, queries = tokens[: P - 1], tokens[P - 1 :]
        rows = jnp.concatenate([context, jnp.zeros((1, E))])[None] * jnp.tri(P, k=-1)[:, :, None]
        passes = jax.vmap(mixer)(rows + jnp.eye(P)[:, :, None] * queries[:, None])
        return mixer(tokens, MASK), jnp.concatenate([mixer(context), passes[jnp.arange(P), jnp.arange(P)]])

    for one in tokens:
        found, wanted = run(one)
        np.testing.assert_allclose(found, wanted, atol=1e-5 * float(jnp.max(jnp.abs(wanted))))


def test_a_network_of_forks_leaks_nothing(member):
    """Below softmax, whose context tokens see each other causally."""
    mixers = {"name": member, **MEMBERS[member]}, "softmax"
    sizes = {"depth": 2, "width": E, "heads": 2, "activation": "none"}
    config = ModelConfig.registry.get("transformer", **sizes, mixers=mixers, layout="joint")
    assert config.refuses(TASK) == []
    learner, prompts = config.make(TASK, key=jax.random.key(1)), TASK.batch(jax.random.key(2), 2)
    assert not any(Interventions(learner, prompts).leaks().values())
    one, fast = jax.jit(lambda p: (jax.vmap(learner)(p).mean, learner.batched(p).mean))(prompts)
    np.testing.assert_allclose(one, fast, atol=1e-5 * float(jnp.max(jnp.abs(one))))


def test_masks_of_forks_are_recognized_and_no_others():
    signature = Signature.of(TASK)
    for fork in (Fork(4, np.arange(-1, 4)), Fork(3, np.array([1, 1, -1])), Fork(2, np.array([], int))):
        found = fork_of(mask_of(fork))
        assert found is not None
        assert found.trunk == fork.trunk
        np.testing.assert_array_equal(found.follows, fork.follows)
    found = fork_of(MASK)
    assert found is not None
    np.testing.assert_array_equal(found.places, Joint().position_ids(P, signature))
    np.testing.assert_array_equal(mask_of(found), MASK)
    assert fork_of(np.tril(np.ones((3, 3), bool))) == (3, pytest.approx([]))
    blind, ahead, gap = np.tri(3, dtype=bool), np.tri(3, dtype=bool), np.tri(4, dtype=bool)
    blind[1, 1], ahead[0, 2], gap[3, 1] = False, True, False
    others = [Joint(query="last"), Joint(sees_itself=False), Interleaved(query="last")]
    for mask in (blind, ahead, gap, np.eye(3, dtype=bool)[::-1], *(one.visible(P, signature) for one in others)):
        assert fork_of(mask) is None


def test_other_masks_are_refused_with_the_way_out():
    for layout in ("joint", "interleaved"):
        options = {"model.layout": layout, "model.layout.query": "last", "mixer": "mamba"}
        with pytest.raises(
            fc.ConfigError, match="tokens that see later ones, or not themselves, which mamba cannot do"
        ):
            Config.create("linear-regression", **options)
    options = {"model.layout": "joint", "model.layout.sees_itself": False, "mixer": "gru"}
    with pytest.raises(fc.ConfigError, match="use query every where a query sees itself"):
        Config.create("linear-regression", **options, points=2)
    mixer = make("gru", PLACE)
    with pytest.raises(ValueError, match="honours no mask but a NumPy array"):
        mixer(jnp.zeros((3, E)), np.ones((3, 3), bool))
