import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from icl.runs import Incompatible, NotARun
from icl.runs.strict_json import NESTING, as_number, dumps, loads, seal, unseal

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@hypothesis.given(values)
def test_round_trip(value):
    assert loads(dumps(value), "file") == value
    assert dumps(value).isascii()


@hypothesis.given(st.dictionaries(st.text().filter(lambda k: k != "checksum"), values, max_size=4))
def test_sealed_round_trip(fields):
    fields = {**fields, "schema": 1}
    assert unseal(seal(fields), "file", 1) == fields


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float32("nan"), np.array([1.0, np.inf])])
def test_non_finite_numbers_are_texts(number):
    text = dumps({"loss": number})
    assert np.array_equal(as_number(loads(text, "file")["loss"]), number, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (b"\xff{}", "decode"),
        ("{", "Expecting"),
        ("{} {}", "Extra data"),
        ('{"a": 1, "a": 1}', "'a' appears twice"),
        ('[{"a": {"b": 1, "b": 2}}]', "'b' appears twice"),
        ("[NaN]", "NaN is not"),
        ("[-Infinity]", "-Infinity is not"),
        ("1e999", "too large"),
        ("1" * 5000, "digits"),
        ("[" * 10**5, "deep"),
        ("[" * 10**5 + "]" * 10**5, "deep"),
        ('{"a":' * 10**5, "deep"),
        ('"' + '\\"' * 10**6, "Unterminated"),
    ],
)
def test_traps(text, reason):
    with pytest.raises(NotARun, match=reason) as caught:
        loads(text, "some/file.json")
    assert str(caught.value).startswith("some/file.json: ")


def test_brackets_in_texts_do_not_nest():
    value = {"text": '[{"\\' * 1000}
    assert loads(dumps(value), "file") == value
    deepest = "[" * NESTING + "]" * NESTING
    assert dumps(loads(deepest, "file")) == deepest


def test_schemas():
    with pytest.raises(Incompatible, match="upgrade icl"):
        unseal(seal({"schema": 3}), "file", 2)
    with pytest.raises(Incompatible, match="no longer"):
        unseal(seal({"schema": 1}), "file", 2)
    with pytest.raises(NotARun, match="not written by icl"):
        unseal(b'{"a": 1}', "file", 2)
    with pytest.raises(NotARun, match="damaged"):
        unseal(seal({"schema": 2}).replace(b"{", b"{ "), "file", 2)


def test_only_plain_values():
    with pytest.raises(TypeError):
        dumps({"a": object()})
