import hashlib
import os

import equinox as eqx
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from icl.runs import Incompatible, NotARun, StorageError, atomic, checkpoints
from icl.runs.index import read_index
from icl.runs.leaves import name_leaves, rebuild
from icl.runs.strict_json import loads, seal


def tree(value=1.0):
    return {
        "weights": np.full((3, 2), value, np.float32),
        "bias": np.arange(4.0),
        "count": np.array(7, np.int32),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 5), np.float32),
    }


def equal(left, right):
    assert jax.tree_util.tree_structure(left) == jax.tree_util.tree_structure(right)
    for a, b in zip(jax.tree_util.tree_leaves(left), jax.tree_util.tree_leaves(right), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def reseal(path, change):
    """A hostile author knows how to compute checksums."""
    index = loads(path.read_bytes(), path)
    del index["checksum"]
    change(index)
    path.write_bytes(seal(index))


dtypes = st.sampled_from(["bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64"])
arrays = st.one_of(
    hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)),
    hnp.arrays(np.uint16, hnp.array_shapes(max_side=3)).map(lambda a: a.view(jnp.bfloat16)),
)
trees = st.recursive(
    arrays | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("abc_é ", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@hypothesis.given(tree=trees, step=st.integers(0, 10**9))
@hypothesis.settings(max_examples=40, deadline=None)
def test_round_trip(tree, step, tmp_path_factory):
    directory = tmp_path_factory.mktemp("round")
    path = checkpoints.save(directory, step, tree)
    equal(checkpoints.load(path, tree), tree)
    assert checkpoints.verify(path).step == step
    assert checkpoints.latest(directory) == path


class State(eqx.Module):
    model: eqx.nn.MLP
    optimizer: optax.OptState


def test_modules_and_optimizer_states(tmp_path):
    """Skeletons carry shapes only; what is loaded is JAX, bfloat16 included, equal bit for bit, under our own names."""
    model = eqx.filter(eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(0)), eqx.is_array)
    model = eqx.tree_at(lambda m: m.layers[0].bias, model, model.layers[0].bias.astype(jnp.bfloat16))
    state = State(model, optax.adam(1e-3).init(model))
    skeleton = jax.eval_shape(lambda: state)
    path = checkpoints.save(tmp_path, 5, state, {"seen": 320})
    loaded = checkpoints.load(path, skeleton)
    equal(loaded, state)
    assert isinstance(loaded.model.layers[0].bias, jax.Array)
    names = [leaf.path for leaf in read_index(path).leaves]
    assert "model.layers.0.weight" in names
    assert "optimizer.0.mu.layers.1.bias" in names
    assert read_index(path).extra == {"seen": 320}


def test_flat_dictionaries_are_named_as_jax_names_them():
    flat = tree()
    pairs = jax.tree_util.tree_flatten_with_path(flat)[0]
    assert list(name_leaves(flat)) == [path[0].key for path, _ in pairs]
    shuffled = dict(reversed(flat.items()))
    assert list(rebuild(shuffled, flat)) == list(shuffled)


@pytest.mark.parametrize(
    ("leaf", "word"),
    [(0.5, "float"), (len, "builtin"), (np.array([None]), "object"), (jax.random.key(0), "key_data"), (None, None)],
)
def test_leaves_must_be_arrays(tmp_path, leaf, word):
    if word is None:
        equal(checkpoints.load(checkpoints.save(tmp_path, 1, {"a": leaf}), {"a": leaf}), {"a": leaf})
        return
    with pytest.raises(TypeError, match=word):
        checkpoints.save(tmp_path, 1, {"a": [leaf]})
    assert not os.listdir(tmp_path)


def test_two_leaves_with_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'a\.b'"):
        checkpoints.save(tmp_path, 1, {"a.b": jnp.zeros(1), "a": {"b": jnp.ones(1)}})


def test_nothing_is_cut_down_silently(tmp_path):
    path = checkpoints.save(tmp_path, 1, {"a": [np.ones(2)]})
    with pytest.raises(TypeError, match="float64"):
        checkpoints.load(path, {"a": [jax.ShapeDtypeStruct((2,), np.float64)]})


def test_other_schemas(tmp_path):
    path = checkpoints.save(tmp_path, 1, tree())
    checkpoints.save(tmp_path, 0, tree())
    reseal(path / "index.json", lambda index: index.update(schema=2))
    with pytest.raises(Incompatible, match="upgrade icl"):
        checkpoints.load_newest(tmp_path, tree())
    reseal(path / "index.json", lambda index: index.update(schema=0))
    with pytest.raises(Incompatible, match="no longer reads"):
        checkpoints.load(path, tree())
    text = (path / "index.json").read_text().replace('"schema": 0', '"schema": 2')
    (path / "index.json").write_text(text)
    with pytest.raises(NotARun, match=r"damaged.*upgrade icl"):
        checkpoints.load(path, tree())


def test_leaves_of_another_model(tmp_path):
    """All differences in one message, and no falling back to an older checkpoint that cannot fit either."""
    checkpoints.save(tmp_path, 0, tree())
    checkpoints.save(tmp_path, 1, tree())
    other = {**tree(), "depth": np.zeros(2), "bias": np.zeros(3)}
    del other["count"]
    other["weights"] = other["weights"].astype(np.float64)
    with pytest.raises(Incompatible) as caught:
        checkpoints.load_newest(tmp_path, other)
    for words in ("missing leaf depth", "unexpected leaf 'count'", "float64[3, 2]", "expected float64[3], found"):
        assert words in str(caught.value)


def test_saving_a_step_again(tmp_path):
    """Same contents: nothing is written. Other contents: refused. Damaged: moved aside, never deleted."""
    path = checkpoints.save(tmp_path, 3, tree(1))
    before = os.stat(path).st_mtime_ns
    checkpoints.save(tmp_path, 3, tree(1))
    assert os.stat(path).st_mtime_ns == before
    with pytest.raises(StorageError, match="other contents"):
        checkpoints.save(tmp_path, 3, tree(2))
    equal(checkpoints.load(path, tree()), tree(1))
    for _ in range(2):
        (path / "leaves.bin").write_bytes(b"torn")
        checkpoints.save(tmp_path, 3, tree(2))
        equal(checkpoints.load(path, tree()), tree(2))
    assert sorted(os.listdir(tmp_path)) == ["damaged-step-00000003", "damaged-step-00000003.1", "step-00000003"]
    reseal(path / "index.json", lambda index: index.update(schema=2))
    with pytest.raises(Incompatible):
        checkpoints.save(tmp_path, 3, tree(2))


def test_prune(tmp_path):
    """Keeps what was asked for, the newest that verifies, the damaged, and whatever holds files we did not write."""
    for step in range(1, 8):
        checkpoints.save(tmp_path, step, tree(step))
    (tmp_path / "step-00000007" / "leaves.bin").write_bytes(bytes(checkpoints.verify(tmp_path / "step-00000007").bytes))
    (tmp_path / "step-00000003" / "notes.txt").write_text("mine")
    (tmp_path / "step-9").mkdir()
    (tmp_path / "step-00000001" / "index.json").write_text("{}")
    assert checkpoints.prune(tmp_path, lambda step: step == 2) == (4, 5)
    assert sorted(os.listdir(tmp_path)) == [
        *(f"step-0000000{n}" for n in (1, 2, 3, 6, 7)),
        "step-9",
    ]


def test_clean_removes_only_our_scrap(tmp_path):
    for name in (".tmp-3-99", ".tmp-notes", "step-00000001"):
        (tmp_path / name).mkdir()
    (tmp_path / ".tmp-4-99").write_text("a file")
    (tmp_path / ".tmp-5-99").symlink_to(tmp_path / "step-00000001")
    checkpoints.clean(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".tmp-4-99", ".tmp-5-99", ".tmp-notes", "step-00000001"]


def test_unwritable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory"):
        checkpoints.save(tmp_path / "file" / "checkpoints", 1, tree())
    monkeypatch.setattr(atomic, "fault", atomic.Fault("enospc", 4))
    with pytest.raises(StorageError, match=r"save checkpoint .*needs \d+ bytes, \d+ bytes free") as caught:
        checkpoints.save(tmp_path, 1, tree())
    assert caught.value.needed > 56
    assert os.listdir(tmp_path) == ["file"]


def test_bytes_of_the_other_byte_order_are_converted(tmp_path):
    path = checkpoints.save(tmp_path, 1, {"a": np.arange(3, dtype=">i4")})
    assert np.array_equal(checkpoints.load(path, {"a": np.zeros(3, np.int32)})["a"], [0, 1, 2])
    assert hashlib.sha256(np.arange(3, dtype="<i4").tobytes()).hexdigest() == read_index(path).leaves[0].sha256
