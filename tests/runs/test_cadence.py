import math

import hypothesis
import hypothesis.strategies as st
import pytest

from icl.runs import Cadence

cadences = st.builds(Cadence, every=st.none() | st.integers(1, 60), logarithmic=st.none() | st.integers(1, 60))


@hypothesis.given(cadences, st.integers(0, 400))
def test_due_is_membership(cadence, total):
    steps = cadence.steps(total)
    assert steps == tuple(s for s in range(-2, total + 3) if cadence.due(s, total))
    assert Cadence.parse(str(cadence)) == cadence


@hypothesis.given(st.integers(1, 200), st.integers(1, 10**6))
def test_logarithmic(count, total):
    """Exactly min(count, total) different steps that end at total; rounded, or pushed up by its crowded predecessor."""
    steps = Cadence(logarithmic=count).steps(total)
    assert len(steps) == min(count, total)
    assert steps[-1] == total
    for i, step in enumerate(steps):
        ideal = total ** (i / (len(steps) - 1)) if len(steps) > 1 else total
        crowded = i > 0 and step == steps[i - 1] + 1
        assert ideal - 0.5001 <= step <= (math.inf if crowded else ideal + 0.5001)


def test_every():
    assert Cadence.parse("500").steps(1600) == (500, 1000, 1500)
    assert Cadence.parse(500) == Cadence(every=500)
    assert Cadence.parse("none").steps(100) == ()
    assert Cadence.parse(" 40, log:3").steps(100) == (1, 10, 40, 80, 100)
    assert Cadence.parse("log:4").steps(1000) == (1, 10, 100, 1000)


@pytest.mark.parametrize("text", ["", "0", "-3", "1.5", "log:", "log:0", "lin:4", "3,4", "none,3", "log:2,log:3", "²"])
def test_nonsense(text):
    with pytest.raises(ValueError, match="expected steps such as"):
        Cadence.parse(text)
