"""Damaged and hostile checkpoints: refused with the file and the reason, and the one before is used."""

import os

import jax
import numpy as np
import pytest

from icl.runs import Incompatible, NotARun, checkpoints
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


def damage(path, data):
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["leaves.bin", "index.json"])
def test_truncation(tmp_path, name):
    """Each damaged file is named with a reason, without a word about pickle, and the checkpoint before it is used."""
    older, newer = checkpoints.save(tmp_path, 1, tree(1)), checkpoints.save(tmp_path, 2, tree(2))
    whole = (newer / name).read_bytes()
    for length in (0, 5, 60, len(whole) // 2, len(whole) - 1):
        damage(newer / name, whole[:length])
        with pytest.raises(NotARun) as caught:
            checkpoints.load(newer, tree())
        assert str(newer / name) in str(caught.value)
        assert "pickle" not in str(caught.value)
        loaded = checkpoints.load_newest(tmp_path, tree())
        assert (loaded.step, loaded.path, len(loaded.damaged)) == (1, older, 1)
        assert str(newer / name) in str(loaded.damaged[0])
        equal(loaded.tree, tree(1))
        assert checkpoints.latest(tmp_path) == older
    damage(newer / name, whole + b"\0")
    with pytest.raises(NotARun):
        checkpoints.load(newer, tree())


@pytest.mark.parametrize("name", ["leaves.bin", "index.json"])
def test_every_flipped_bit_is_noticed(tmp_path, name):
    checkpoints.save(tmp_path, 1, tree(1))
    newer = checkpoints.save(tmp_path, 2, tree(2), {"rate": 1e-05, "note": "abc"})
    whole = (newer / name).read_bytes()
    for position in range(0, len(whole), 1 if name == "leaves.bin" else 3):
        for bit in (0, 5, 7) if name == "leaves.bin" else (position // 3 % 8,):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            damage(newer / name, flipped)
            with pytest.raises(NotARun):
                checkpoints.verify(newer)
    damage(newer / name, flipped)
    assert checkpoints.load_newest(tmp_path, tree()).step == 1


def test_all_damaged(tmp_path):
    for step in (1, 2):
        damage(checkpoints.save(tmp_path, step, tree()) / "leaves.bin", b"")
    with pytest.raises(NotARun, match=r"no checkpoint is intact.*00000002.*00000001"):
        checkpoints.load_newest(tmp_path, tree())
    assert checkpoints.load_newest(tmp_path / "none", tree()) is None
    assert checkpoints.latest(tmp_path / "none") is None


def test_hostile_header_allocates_nothing(tmp_path):
    """10^11 elements are refused by comparison with the skeleton; and by the length of the file without one."""
    path = checkpoints.save(tmp_path, 1, tree())

    def claim(index):
        leaf = next(leaf for leaf in index["leaves"] if leaf["path"] == "weights")
        index["bytes"] += 4 * 10**11 - leaf["bytes"]
        leaf.update(shape=[10**11], bytes=4 * 10**11)

    reseal(path / "index.json", claim)
    with pytest.raises(Incompatible, match=r"weights: expected float32\[3, 2\], found float32\[100000000000\]"):
        checkpoints.load(path, tree())
    with pytest.raises(NotARun, match="truncated"):
        checkpoints.verify(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["leaves"][0].update(path="../../x"),
        lambda index: index["leaves"][0].update(path="/etc/passwd"),
        lambda index: index["leaves"][0].update(dtype="object"),
        lambda index: index["leaves"][0].update(shape=[-4]),
        lambda index: index["leaves"][0].update(shape="4"),
        lambda index: index["leaves"][0].update(bytes=True),
        lambda index: index["leaves"][0].update(file="x"),
        lambda index: index["leaves"].append(index["leaves"][0]),
        lambda index: index["leaves"].reverse(),
        lambda index: index.update(leaves=3),
        lambda index: index.update(step="1"),
        lambda index: index.update(step=2),
        lambda index: index.update(bytes=0),
        lambda index: index.pop("extra"),
        lambda index: index.pop("byteorder"),
        lambda index: index.update(byteorder="middle"),
        lambda index: index.pop("schema"),
        lambda index: index.update(schema="1"),
    ],
)
def test_hostile_index(tmp_path, change):
    path = checkpoints.save(tmp_path, 1, tree())
    reseal(path / "index.json", change)
    with pytest.raises(NotARun):
        checkpoints.load(path, tree())


def test_links_are_not_followed(tmp_path):
    path = checkpoints.save(tmp_path / "run", 1, tree())
    for target in (path / "leaves.bin", path / "index.json", path):
        outside = tmp_path / "outside"
        target.rename(outside)
        target.symlink_to(outside)
        with pytest.raises(NotARun, match="symbolic link"):
            checkpoints.load(path, tree())
        assert checkpoints.list_checkpoints(tmp_path / "run") == {}
        target.unlink()
        outside.rename(target)
    checkpoints.load(path, tree())


def test_pipes_do_not_hang(tmp_path):
    path = checkpoints.save(tmp_path, 1, tree())
    (path / "leaves.bin").unlink()
    os.mkfifo(path / "leaves.bin")
    with pytest.raises(NotARun, match="not a plain file"):
        checkpoints.load(path, tree())
