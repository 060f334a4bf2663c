"""Choices inside a transformer: products in the MLP, no norms, another mixer in every block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import ConfigError
from icl.config import Config
from icl.console.options import configs
from icl.models.parts import MLP
from icl.training.engine import Program
from tests.harness import Interventions

TASK = fc.get("linear-regression", dim=3, points=4)
FIELDS = {"depth": 2, "width": 8, "heads": 2, "norm": "none", "activation": "bilinear", "mixers": ("linear", "softmax")}


def learner():
    return Config.create(TASK, **FIELDS).model.make(TASK, key=jax.random.key(0))


def test_a_bilinear_hidden_layer_is_a_product():
    mlp = MLP(5, 2, "bilinear", 1, "fan-in", key=jax.random.key(1))
    mlp = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(2), a.shape), mlp)
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    up, gate, down = ((np.asarray(m.weight, float), np.asarray(m.bias, float)) for m in (mlp.up, mlp.gate, mlp.down))
    wanted = ((x @ up[0] + up[1]) * (x @ gate[0] + gate[1])) @ down[0] + down[1]
    np.testing.assert_allclose(mlp(jnp.asarray(x)), wanted, rtol=1e-5, atol=1e-5)


def test_both_paths_agree_and_nothing_leaks():
    made, prompts = learner(), TASK.batch(jax.random.key(3), 3)
    one, fast = jax.jit(lambda p: (jax.vmap(made)(p).mean, made.batched(p).mean))(prompts)
    np.testing.assert_allclose(one, fast, atol=2e-6 * float(jnp.max(jnp.abs(one))), rtol=0)
    assert not any(Interventions(made, prompts).leaks().values())


def test_without_norms_the_network_is_its_linear_maps_and_products():
    """Without the softmax block it is a polynomial: no norm makes it forget the scale of its input."""
    config = Config.create(TASK, **{**FIELDS, "depth": 1, "mixers": ("linear",), "positions": "none"})
    network = config.model.make(TASK, key=jax.random.key(4)).network
    names = {str(path) for path, _ in jax.tree_util.tree_leaves_with_path(network)}
    assert not any("norm" in name for name in names)
    tokens = jax.random.normal(jax.random.key(5), (4, 7))
    block = network.blocks[0]
    x = network.embed(tokens)
    x = x + block.mixer(x)
    np.testing.assert_allclose(network(tokens, np.arange(4)), network.head(x + block.mlp(x)), rtol=1e-6)


def test_every_block_has_the_mixer_it_was_given():
    kinds = [type(block.mixer).__name__ for block in learner().network.blocks]
    assert kinds == ["LinearHeads", "Attention"]
    with pytest.raises(ConfigError, match="one for each of the 3 layers, got 2"):
        Config.create(TASK, **{**FIELDS, "depth": 3})
    with pytest.raises(ConfigError, match="did you mean 'softmax'"):
        Config.create(TASK, depth=1, mixers=("softmaxx",))
    with pytest.raises(ConfigError, match="does not divide"):
        Config.create(TASK, depth=2, heads=3, mixers=("merged-linear", "linear"))


def test_mixers_are_a_list_in_the_shell_and_in_files(tmp_path):
    typed = configs("linear-regression", [("depth", "2"), ("mixers", "linear,softmax")], None, None)
    file = tmp_path / "own.toml"
    file.write_text('[task]\nname = "linear-regression"\n[model]\ndepth = 2\nmixers = ["linear", {name = "softmax"}]')
    written = configs(None, [], None, file)
    created = Config.create("linear-regression", depth=2, mixers=["linear", "softmax"])
    assert typed == written == [created]
    assert Config.from_tree(created.dump()) == created
    assert created.identity != Config.create("linear-regression", depth=2).identity


def test_such_a_network_trains_with_muon():
    program = Program(config := Config.create(TASK, **FIELDS, steps=2, batch=4, validation_prompts=8))
    _, data = program.prepare([config], program.data([config]))
    state = program.start(data)
    before = jax.tree.map(np.array, state.params)
    after = program.chunk(state, 0, 2, data).params
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(after))
    blocks = zip(jax.tree.leaves(before.network.blocks), jax.tree.leaves(after.network.blocks), strict=True)
    assert all(np.any(a != b) for a, b in blocks if a.ndim > 2)


@pytest.mark.parametrize("init", ["gpt2", "fan-in"])
def test_what_writes_into_the_residual_stream_starts_smaller_by_the_root_of_twice_the_depth(init):
    """Each of the L blocks writes twice. Spreads of 32,768 weights are known to 0.4 %."""
    shallow, deep = (MLP(64, 8, "gelu", depth, init, key=jax.random.key(0)) for depth in (1, 9))
    usual = {"gpt2": 0.02, "fan-in": 512**-0.5}[init]
    for mlp, depth in ((shallow, 1), (deep, 9)):
        assert float(jnp.std(mlp.down.weight)) == pytest.approx(usual / np.sqrt(2 * depth), rel=0.02)
    assert float(jnp.std(deep.up.weight)) == pytest.approx({"gpt2": 0.02, "fan-in": 1 / 8}[init], rel=0.02)
