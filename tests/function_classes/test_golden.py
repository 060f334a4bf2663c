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
    "associative-recall": (1, [], [5.0, 11.0, 1.0, 12.0]),
    "autoregressive": (1, [], [0.6505, 1.0553, 1.8845, 2.2709]),
    "bandit": (1, [1.0, 3.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0]),
    "bursty-classes": (1, [0.0353, 0.3043, 0.2736, 0.3625], [2.0, 3.0, 1.0, 1.0]),
    "causal-graph": (1, [], [0.0, 2.0, 1.0, 0.0]),
    "cellular-automaton": (1, [-1.0, -1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0]),
    "chain-of-thought": (1, [0.1989, -0.7702, -1.2587, -0.4106], [1.873, 1.2641, -0.0447, -0.0415]),
    "cnf": (1, [-1.0, 1.0, 1.0, 1.0], [-1.0, 1.0, -1.0, -1.0]),
    "conjunction": (1, [-1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, 1.0]),
    "convex-combination": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-1.5391, 1.2663, -1.4559, -0.5529]),
    "decision-tree": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-0.5352, 0.3113, 0.3775, 0.7783]),
    "dfa": (1, [], [1.0, 2.0, 0.0, 2.0]),
    "disjunction": (1, [-1.0, 1.0, 1.0, 1.0], [-1.0, 1.0, -1.0, -1.0]),
    "dnf": (1, [-1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, 1.0]),
    "feature-regression": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-0.8213, 0.1508, 0.5087, -0.1787]),
    "fixed-markov": (1, [], [0.0, 0.0, 0.0, 0.0]),
    "fourier": (1, [0.7883, -2.794, -3.9594, -1.5931], [-1.3627, 0.2051, -1.0137, -0.8055]),
    "fourier-mixture": (1, [0.7883, -2.794, -3.9594, -1.5931], [-0.8298, 1.2684, 0.1688, -0.3845]),
    "gaussian-mixture-regression": (1, [0.1989, -0.7702, -1.2587, -0.4106], [1.4965, -3.4875, -0.4733, -0.9213]),
    "gaussian-process": (2, [0.3153, -1.1176, -1.5837, -0.6372], [-0.7083, -1.3238, -1.4038, -0.7091]),
    "haar": (1, [0.5788, 0.2206, 0.1041, 0.3407], [0.668, -0.5732, -1.7256, 0.119]),
    "interpolated-pool": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-0.399, -0.5334, 0.3681, 1.7592]),
    "heteroscedastic-linear": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-0.0994, 0.0526, 0.5256, -0.033]),
    "hmm": (1, [], [2.0, 3.0, 3.0, 3.0]),
    "hmm-mixture": (1, [], [2.0, 3.0, 1.0, 3.0]),
    "induction": (1, [], [0.0, 4.0, 2.0, 5.0]),
    "integer-halfspace": (1, [-1.0, 1.0, 1.0, 1.0], [1.0, 1.0, -1.0, 1.0]),
    "letter-digit": (1, [], [2.0, 7.0, 3.0, 5.0]),
    "linear-classification": (1, [0.1989, -0.7702, -1.2587, -0.4106], [1.0, -1.0, -1.0, 1.0]),
    "linear-dynamical-system": (1, [], [-0.0803, -0.4693, 1.0308, -0.6802]),
    "linear-mixture": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-0.9847, 0.7798, 0.5769, -0.0518]),
    "linear-pool": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-0.0975, 1.34, 1.7124, -0.4463]),
    "linear-regression": (1, [0.1989, -0.7702, -1.2587, -0.4106], [2.5288, -1.2841, 0.3161, -0.5418]),
    "low-rank": (1, [0.1989, -0.7702, -1.2587, -0.4106], [0.0955, -0.492, 1.5984, -2.1998]),
    "majority": (1, [-1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, 1.0]),
    "markov": (1, [], [0.0, 2.0, 1.0, 0.0]),
    "markov-pool": (1, [], [0.0, 2.0, 1.0, 0.0]),
    "mixture": (1, [0.1989, -0.7702, -1.2587, -0.4106], [1.9393, 0.2641, 0.1179, -1.3103]),
    "monomials": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-0.355, -0.4622, -0.372, -0.2533]),
    "nearest-neighbor": (1, [-1.0, 1.0, 1.0, 1.0], [-1.0, 1.0, 1.0, 1.0]),
    "parity": (1, [-1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, 1.0]),
    "permuted-projection": (1, [2.0311, 0.4712, 0.1356, 0.2117], [1.0, 2.0, 3.0, 0.0]),
    "quadratic": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-1.7433, -0.8499, 0.0203, -0.6398]),
    "random-covariance": (1, [0.066, -0.5001, -0.4718, -0.5292], [-1.4951, -1.4105, -0.5874, 0.9997]),
    "randomized-labels": (1, [0.1989, -0.7702, -1.2587, -0.4106], [3.0089, 0.8125, -3.5855, 0.2264]),
    "relu-network": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-2.3396, 1.1691, -0.354, -2.2497]),
    "shifted-inputs": (1, [0.3978, -1.5404, -2.5175, -0.8212], [5.7254, -2.3919, 0.4774, -0.5831]),
    "shuffled-order": (1, [-0.1654, 0.2517, -0.4628, 0.6563], [-4.0701, -0.0659, 1.4989, 1.7587]),
    "sign-vector": (1, [0.1989, -0.7702, -1.2587, -0.4106], [-4.3119, 1.4254, 0.0837, -0.7862]),
    "sinusoid": (1, [0.7883, -2.794, -3.9594, -1.5931], [-1.3049, 1.2838, 0.5979, 0.3295]),
    "sliding-window": (1, [0.1989, -0.7702, -1.2587, -0.4106], [3.063, 0.9269, -3.5797, 0.1118]),
    "sparse-disjunction": (1, [-1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, -1.0]),
    "sparse-linear": (1, [0.1989, -0.7702, -1.2587, -0.4106], [0.0202, 1.0192, 0.6711, 1.8154]),
    "sparse-parity": (1, [-1.0, 1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0]),
    "switching-lag": (1, [], [0.0, 0.0, 0.0, 0.0]),
    "threshold": (1, [-1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]),
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
