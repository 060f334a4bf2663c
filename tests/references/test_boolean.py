"""References on signs: the elimination learner, Hamming neighbors and version spaces, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from function_classes import Prompt, get
from icl import references
from icl.programs import predict
from icl.references.base import Reference

TASK = get("conjunction", dim=6, points=14, literal=0.4)
PROMPTS = TASK.batch(jax.random.key(0), 400)
XS, YS = np.asarray(PROMPTS.xs), np.asarray(PROMPTS.ys)
LEARNER = references.get("surviving-literals")


def eliminate(xs, ys):
    """A set of literals (i, sign), and its answers."""
    alive = {(i, s) for i in range(xs.shape[1]) for s in (-1, 1)}
    said = []
    for x, y in zip(xs, ys, strict=True):
        said.append(1 if all(x[i] == s for i, s in alive) else -1)
        if y > 0:
            alive = {(i, s) for i, s in alive if x[i] == s}
    return said


def test_elimination_one_literal_at_a_time():
    means = np.asarray(predict(LEARNER, PROMPTS).mean)
    np.testing.assert_array_equal(means, [eliminate(x, y) for x, y in zip(XS, YS, strict=True)])


def test_it_errs_on_positives_alone_and_at_most_dim_plus_one_times():
    means = np.asarray(predict(LEARNER, PROMPTS).mean)
    wrong = means != YS
    assert np.all(YS[wrong] == 1)
    assert wrong.sum(1).max() <= 7
    assert wrong[:, 0].mean() == (YS[:, 0] > 0).mean()


def test_it_is_the_most_specific_function_of_the_version_space():
    """+1 only where every function that explains the examples says +1, once there is a positive."""
    means = np.asarray(predict(LEARNER, PROMPTS).mean)
    sure = np.asarray(jax.jit(jax.vmap(TASK.version_space))(PROMPTS).log_probs)[..., 1] == 0
    started = np.concatenate([np.zeros((400, 1), bool), np.cumsum(YS > 0, 1)[:, :-1] > 0], 1)
    np.testing.assert_array_equal((means > 0)[started], sure[started])


def test_disjunctions_are_the_dual():
    dual = references.get("surviving-literals", form="disjunction")
    mirrored = predict(dual, Prompt(-PROMPTS.xs, -PROMPTS.ys)).mean
    np.testing.assert_array_equal(mirrored, -predict(LEARNER, PROMPTS).mean)
    family = Reference.registry.find("surviving-literals")
    assert [m.form for m in family.standard(get("sparse-disjunction"))] == ["disjunction"]
    assert [m.form for m in family.standard(TASK)] == ["conjunction"]
    assert family.standard(get("majority")) == ()


@pytest.mark.parametrize("task", ["linear-regression", "markov"])
def test_where_it_does_not_apply(task):
    assert "needs vectors of signs" in LEARNER.applies(get(task))
    assert "no version space" in references.get("version-space").applies(get(task))


def test_a_version_space_that_is_too_large_says_so():
    assert "smaller dim" in references.get("version-space").applies(get("conjunction", dim=28))


def test_version_space_is_that_of_the_class():
    found = references.get("version-space").calibrate(TASK, jax.random.key(0))
    here, there = predict(found, PROMPTS).log_probs, jax.jit(jax.vmap(TASK.version_space))(PROMPTS).log_probs
    np.testing.assert_array_equal(here, there)
    assert "version-space" in references.standard(TASK)
    assert "version-space" not in references.standard(get("majority"))


def hamming(xs, ys, number):
    found = [0.0]
    for k in range(1, len(ys)):
        order = sorted(range(k), key=lambda j: ((xs[k] != xs[j]).sum(), j))
        found.append(np.mean([ys[j] for j in order[:number]]))
    return found


@pytest.mark.parametrize("number", [1, 3])
def test_hamming_neighbors(number):
    """One pair at a time, ties to the example shown first; among signs the Euclidean metric is the same."""
    expected = np.array([hamming(x, y, number) for x, y in zip(XS[:60], YS[:60], strict=True)])
    few = jax.tree.map(lambda a: a[:60], PROMPTS)
    for metric in ("hamming", "euclidean"):
        member = references.get("nearest-neighbors", neighbors=number, metric=metric)
        np.testing.assert_allclose(predict(member, few).mean, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "fields", "table"),
    [
        (
            "conjunction",
            {"dim": 8},
            {1: 0.566, 2: 0.625, 4: 0.701, 8: 0.762, 12: 0.794, 16: 0.819, 20: 0.823, 24: 0.851},
        ),
        ("sparse-parity", {"dim": 10}, {4: 0.505, 8: 0.570, 15: 0.628}),
        ("majority", {"dim": 8}, {8: 0.751, 30: 0.819}),
    ],
)
def test_accuracy_of_the_nearest_neighbor(name, fields, table):
    """[calc] by 1,500 prompts, standard error .012; here by 4,000."""
    prompts = get(name, points=1 + max(table), **fields).batch(jax.random.key(2), 4000)
    means = np.asarray(predict(references.get("nearest-neighbors", neighbors=1, metric="hamming"), prompts.hide()).mean)
    right = (means == np.asarray(prompts.ys)).mean(0)
    for seen, value in table.items():
        assert right[seen] == pytest.approx(value, abs=3 * (0.012**2 + 0.25 / 4000) ** 0.5), seen


def test_hamming_counts_coordinates_of_numbers():
    """(3, 0) differs from (0, 0) in one coordinate, (1, 1) in two: the first is nearer in Hamming, not in length."""
    prompt = Prompt(jnp.array([[1.0, 1.0], [3.0, 0.0], [0.0, 0.0]]), jnp.array([5.0, 7.0, 0.0]))
    for metric, value in (("hamming", 7.0), ("euclidean", 5.0)):
        assert float(references.get("nearest-neighbors", neighbors=1, metric=metric)(prompt).mean[2]) == value
    weighted = references.get("nearest-neighbors", neighbors=2, weights="distance", exponent=1.0, metric="hamming")
    assert float(weighted(prompt).mean[2]) == pytest.approx((7 + 5 / 2) / 1.5)
