"""The first numbers of every class at key 0: data may not change silently.

When a test here fails after a change of code, the same configuration now gives other data. If that was not meant, mend
the code. If it was, raise the class's `version` (which enters the identity of runs) and put the printed line here, in
the same commit. A new class needs its line once.
"""

import jax
import numpy as np
import pytest

import function_classes as fc

# name: (version, first inputs, first outputs), at 7 points and otherwise default fields
GOLDEN = {
    "autoregressive": (1, [], [0.6505, 1.0553, 1.8845, 2.2709]),
    "causal-graph": (1, [], [0.0, 2.0, 1.0, 0.0]),
    "cellular-automaton": (1, [-1.0, -1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]),
    "chain-of-thought": (1, [0.1989, -0.7702, -1.2587, -0.4106], [1.873, 1.2641, -0.0447, -0.0415]),
    "dfa": (1, [], [1.0, 2.0, 0.0, 2.0]),
    "fixed-markov": (1, [], [0.0, 0.0, 0.0, 0.0]),
    "gaussian-process": (1, [0.3153, -1.1176, -1.5837, -0.6372], [-0.7083, -1.3238, -1.4038, -0.7091]),
    "hmm": (1, [], [2.0, 3.0, 3.0, 3.0]),
    "hmm-mixture": (1, [], [2.0, 3.0, 1.0, 3.0]),
    "letter-digit": (1, [], [2.0, 7.0, 3.0, 5.0]),
    "linear-regression": (1, [0.1989, -0.7702, -1.2587, -0.4106], [2.5288, -1.2841, 0.3161, -0.5418]),
    "markov": (1, [], [0.0, 2.0, 1.0, 0.0]),
    "markov-pool": (1, [], [0.0, 2.0, 1.0, 0.0]),
    "random-covariance": (1, [0.066, -0.5001, -0.4718, -0.5292], [-1.4951, -1.4105, -0.5874, 0.9997]),
    "randomized-labels": (1, [0.1989, -0.7702, -1.2587, -0.4106], [3.0089, 0.8125, -3.5855, 0.2264]),
    "shifted-inputs": (1, [0.3978, -1.5404, -2.5175, -0.8212], [5.7254, -2.3919, 0.4774, -0.5831]),
    "sliding-window": (1, [0.1989, -0.7702, -1.2587, -0.4106], [3.063, 0.9269, -3.5797, 0.1118]),
    "switching-lag": (1, [], [0.0, 0.0, 0.0, 0.0]),
    "tokenized": (1, [], [14.0, 14.0, 11.0, 10.0]),
}


def first_numbers(name):
    task = fc.get(name, points=7)
    prompt = jax.jit(task.sample)(jax.random.key(0))
    return task.version, *([round(float(v), 4) for v in np.ravel(a)[:4]] for a in (prompt.xs, prompt.ys))


@pytest.mark.parametrize("name", fc.names())
def test_first_numbers(name):
    found = first_numbers(name)
    line = f"    {name!r}: {found},"
    assert name in GOLDEN, f"put this line in the table:\n{line}"
    version, *expected = GOLDEN[name]
    same = version == found[0] and all(np.allclose(a, b, atol=2e-4) for a, b in zip(found[1:], expected, strict=True))
    assert same, f"other data for the same configuration; if meant, raise the version and put:\n{line}"
