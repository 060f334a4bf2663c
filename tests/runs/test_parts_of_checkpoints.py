"""Some parts of a checkpoint are read as strictly as the whole, and nothing else is looked at."""

import jax
import numpy as np
import pytest

from icl.runs import Incompatible, NotARun, checkpoints
from icl.runs.index import read_index
from tests.runs.test_checkpoints import equal, reseal

PARAMS = {"b": [np.arange(3, dtype=np.float32)], "w": np.full((2, 2), 7.0, np.float16)}
WHOLE = {"count": np.array(3, np.int32), "optimizer": {"mu": np.ones(5)}, "params": PARAMS, "tail": {"z": np.zeros(2)}}
ASIDE = {"count", "optimizer", "tail"}


def shapes(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


@pytest.fixture
def path(tmp_path):
    return checkpoints.save(tmp_path, 1, WHOLE)


def flip(path, name):
    """One bit of a leaf."""
    place = 0
    for leaf in read_index(path).leaves:
        if leaf.path == name:
            break
        place += leaf.bytes
    data = bytearray((path / "leaves.bin").read_bytes())
    data[place] ^= 4
    (path / "leaves.bin").write_bytes(data)


def test_parts_are_what_the_whole_has(path):
    numpy = checkpoints.load_parts(path, {"params": PARAMS, "constants": None}, ASIDE)
    equal(numpy, {"params": PARAMS, "constants": None})
    arrays = checkpoints.load_parts(path, {"params": shapes(PARAMS)}, ASIDE)["params"]
    assert isinstance(arrays["w"], jax.Array)
    equal(arrays, PARAMS)
    equal(
        checkpoints.load_parts(path, {"tail": WHOLE["tail"], "count": WHOLE["count"]}, {"params", "optimizer"})[
            "count"
        ],
        WHOLE["count"],
    )


def test_damage_counts_where_it_is_read(path):
    flip(path, "optimizer.mu")
    flip(path, "tail.z")
    equal(checkpoints.load_parts(path, {"params": PARAMS}, ASIDE)["params"], PARAMS)
    with pytest.raises(NotARun, match=r"'optimizer\.mu'"):
        checkpoints.verify(path)
    flip(path, "params.w")
    with pytest.raises(NotARun, match=r"damaged in leaf 'params\.w'"):
        checkpoints.load_parts(path, {"params": PARAMS}, ASIDE)


def test_a_part_is_there_to_the_last_leaf_and_has_no_other(path):
    for wanted, words in (
        ({"b": PARAMS["b"]}, "unexpected leaf 'params.w'"),
        (PARAMS | {"more": np.zeros(1)}, "missing leaf params.more"),
        (PARAMS | {"w": np.zeros(4, np.float16)}, r"params.w: expected float16\[4\], found float16\[2, 2\]"),
        (None, "unexpected leaf 'params.b.0'"),
    ):
        with pytest.raises(Incompatible, match=words) as error:
            checkpoints.load_parts(path, {"params": wanted}, ASIDE)
        assert all(name.startswith("params") for name in error.value.leaves)
        assert "optimizer" not in str(error.value)
    with pytest.raises(Incompatible, match="missing leaf constants"):
        checkpoints.load_parts(path, {"params": PARAMS, "constants": np.zeros(1)}, ASIDE)


def test_a_part_that_nobody_knows_is_refused(path):
    with pytest.raises(Incompatible, match=r"unexpected leaf 'tail\.z'"):
        checkpoints.load_parts(path, {"params": PARAMS}, ASIDE - {"tail"})


def test_the_file_must_still_end_where_its_index_says(path):
    data = path / "leaves.bin"
    whole = data.read_bytes()
    for torn in (whole[:-1], whole + b"\0"):
        data.write_bytes(torn)
        with pytest.raises(NotARun, match=r"leaves\.bin"):
            checkpoints.load_parts(path, {"params": PARAMS}, ASIDE)


def test_hostile_sizes_of_other_leaves_lead_nowhere(path):
    """The index of what is not read decides where the rest begins: it cannot point to other numbers unnoticed."""

    def shift(index):
        sizes = {"count": 12, "optimizer.mu": 32}
        for leaf in index["leaves"]:
            leaf["bytes"] = sizes.get(leaf["path"], leaf["bytes"])

    def twice(index):
        index["leaves"].append(next(leaf for leaf in index["leaves"] if leaf["path"] == "params.w"))
        index["bytes"] += 8

    reseal(path / "index.json", shift)
    equal(checkpoints.load_parts(path, {"params": PARAMS}, ASIDE)["params"], PARAMS)
    reseal(path / "index.json", lambda index: index["leaves"].reverse())
    with pytest.raises(NotARun, match="checksum does not match"):
        checkpoints.load_parts(path, {"params": PARAMS}, ASIDE)
    reseal(path / "index.json", lambda index: index["leaves"].reverse())
    reseal(path / "index.json", twice)
    (path / "leaves.bin").write_bytes((path / "leaves.bin").read_bytes() + bytes(8))
    with pytest.raises(Incompatible, match="listed twice"):
        checkpoints.load_parts(path, {"params": PARAMS}, ASIDE)


def test_check_says_what_load_says_and_reads_no_array(path):
    flip(path, "params.w")
    checkpoints.check(path, WHOLE)
    other = WHOLE | {"count": np.zeros(2, np.int32)}
    said = []
    for ask in (checkpoints.check, checkpoints.load):
        with pytest.raises(Incompatible) as error:
            ask(path, other)
        said.append((str(error.value), error.value.leaves))
    assert said[0] == said[1]
    assert said[0][1] == ("count",)
