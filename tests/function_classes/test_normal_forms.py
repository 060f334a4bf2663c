"""Conjunctions and normal forms: closed form, table of accuracies, duality, and what teaching sequences teach."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.boolean import tuples
from function_classes.normal_forms import Formula
from function_classes.teaching import antichain
from tests.function_classes.cases import Case
from tests.function_classes.twins import conjunction_bayes
from tests.harness import Interventions, beats_bayes, losses


def test_closed_form_of_conjunctions():
    """Inclusion and exclusion equals enumeration, with and without what inputs say."""
    task = fc.get("conjunction", dim=6, points=9)
    prompts = task.batch(jax.random.key(0), 6)
    bayes, version = (
        np.exp(np.asarray(jax.jit(jax.vmap(f))(prompts).log_probs)) for f in (task.bayes, task.version_space)
    )
    for n, (xs, ys) in enumerate(zip(np.asarray(prompts.xs), np.asarray(prompts.ys), strict=True)):
        np.testing.assert_allclose(bayes[n, :, 1], conjunction_bayes(xs, ys, 0.3, 0.3), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(version[n, :, 1], conjunction_bayes(xs, ys, 0.3, 0.0), rtol=1e-5, atol=1e-6)


# dim 8, t examples: accuracy and cross-entropy of Bayes, then of the version space; 5,000 prompts, about +-.006.
TABLE = {
    0: (0.5093, 0.693, 0.5093, 0.800),
    1: (0.608, 0.645, 0.605, 0.723),
    2: (0.674, 0.579, 0.647, 0.646),
    4: (0.771, 0.429, 0.746, 0.479),
    8: (0.891, 0.203, 0.867, 0.242),
    12: (0.948, 0.097, 0.931, 0.127),
    16: (0.976, 0.046, 0.960, 0.072),
    20: (0.987, 0.026, 0.972, 0.052),
    24: (0.994, 0.013, 0.979, 0.038),
}


def test_accuracy_of_conjunctions():
    """Bayes' own probabilities in place of hits, for both predictors."""
    task = fc.get("conjunction", dim=8, points=25)
    prompts = task.batch(jax.random.key(1), 800)
    run = jax.jit(jax.vmap(lambda p: (task.bayes(p).log_probs, task.version_space(p).log_probs)))
    bayes, version = (np.asarray(a, np.float64) for a in run(prompts))
    truth = np.exp(bayes)
    choice = np.eye(2)[version.argmax(-1)]
    ways = (truth.max(-1), entropy(truth, bayes), (truth * choice).sum(-1), entropy(truth, version))
    for t, expected in TABLE.items():
        for way, value in zip(ways, expected, strict=True):
            assert abs(way[:, t].mean() - value) < 5 * way[:, t].std() / np.sqrt(800) + 0.008, (
                t,
                value,
                way[:, t].mean(),
            )
    np.testing.assert_allclose(truth[:, 0, 1], 0.3 + 0.7 * 0.85**8, rtol=1e-5)
    np.testing.assert_allclose(np.exp(version[:, 0, 1]), 0.85**8, rtol=1e-5)
    exact = -(1 - truth[0, 0, 0]) * np.log(0.85**8) - truth[0, 0, 0] * np.log(1 - 0.85**8)
    assert abs(exact - 0.800) < 5e-4


def entropy(truth, log_probs):
    return -np.where(truth > 0, truth * np.where(truth > 0, log_probs, 0), 0).sum(-1)


@pytest.mark.parametrize(("name", "other"), [("conjunction", "disjunction"), ("dnf", "cnf")])
def test_duality(name, other):
    """Negated inputs and labels of a class are prompts of its dual; posteriors and densities follow."""
    one, two = (fc.get(n, dim=3, points=6, forced=0.3, plus=p) for n, p in ((name, 0.6), (other, 0.4)))
    prompts = one.batch(jax.random.key(0), 8)
    mirrored = Prompt(-prompts.xs, -prompts.ys)
    np.testing.assert_array_equal(jax.vmap(two.evaluate)(prompts.latent, mirrored.xs), mirrored.ys)
    a, b = jax.jit(jax.vmap(one.beliefs))(prompts), jax.jit(jax.vmap(two.beliefs))(mirrored)
    np.testing.assert_allclose(np.exp(a.log_probs), np.exp(b.log_probs)[..., ::-1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(a.log_inputs, b.log_inputs, atol=1e-5)
    np.testing.assert_array_equal(a.survivors, b.survivors)


@pytest.mark.parametrize("fields", [{"forced": 0.2, "plus": 0.7}, {"teaching": "mixed", "plus": 0.6}])
def test_densities_of_inputs_add_up(fields):
    """Over all inputs, sum p_free(x_0) exp(log_input_density) = 1."""
    task = fc.get("disjunction", dim=4, points=7, **fields)
    grid = tuples((1, -1), 4)
    found = jax.jit(jax.vmap(lambda x: task.log_input_density(Prompt(x[None], jnp.ones(1)))[0]))(grid)
    free = np.where(np.asarray(grid) > 0, task.plus, 1 - task.plus).prod(1)
    np.testing.assert_allclose((free * np.exp(found)).sum(), 1, rtol=1e-5)


def test_densities_of_inputs_see_nothing_later():
    task = fc.get("conjunction", dim=3, points=6, teaching="mixed")
    leaks = Interventions(task.log_input_density, task.batch(jax.random.key(0), 8)).leaks()
    assert leaks == {"other": [], "huge": [], "nan": []}


def taught(task, terms):
    """Prompts that teach the given functions, and the number of rows."""
    latents = Formula(jnp.asarray(terms, jnp.float32), jnp.zeros(len(terms), jnp.int32), jnp.ones(len(terms), bool))
    keys = jax.random.split(jax.random.key(0), len(terms))
    prompts = jax.jit(jax.vmap(task.sample_prompt))(latents, keys)
    return prompts, np.asarray(jax.vmap(task.lesson_rows)(latents))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("conjunction", {"dim": 6}),
        ("conjunction", {"dim": 6, "monotone": True}),
        ("disjunction", {"dim": 4}),
        ("sparse-disjunction", {"dim": 6, "sparsity": 2}),
    ],
)
def test_rows_leave_one_function(name, fields):
    """For every function of the class: |S| + 2 rows (|S| + 1 where literals are positive, 1 where their number is
    known), of which the last is needed, and none is scored."""
    task = fc.get(name, points=9, teaching="first", **fields)
    terms = np.asarray(task.formulas())
    prompts, rows = taught(task, terms)
    size = np.abs(terms).sum((1, 2))
    signed = name != "sparse-disjunction" and not fields.get("monotone")
    np.testing.assert_array_equal(rows, 1 if name == "sparse-disjunction" else size + (2 if signed else 1))
    left = np.asarray(jax.jit(jax.vmap(task.survivors))(prompts))
    index = np.arange(len(terms))
    assert np.all(left[index, rows] == 1)
    assert np.all(left[index, rows - 1] > 1)
    np.testing.assert_array_equal(prompts.scored, np.arange(9)[None] >= rows[:, None])
    labels, side = np.asarray(prompts.ys), -1 if name.endswith("disjunction") else 1
    expected = np.where(np.arange(9)[None] < (2 if signed else 1), side, -side)
    np.testing.assert_array_equal(
        labels[prompts.scored == 0], np.broadcast_to(expected, labels.shape)[prompts.scored == 0]
    )
    best = np.exp(np.asarray(jax.jit(jax.vmap(task.bayes))(prompts).log_probs))
    right = np.take_along_axis(best, (labels > 0).astype(int)[..., None], -1)[..., 0]
    assert np.all(right[:, (1 if signed else 0) :] == 1), "the inputs reveal the function before any label is needed"


def test_rows_of_monotone_conjunctions_do_not_teach_signed_ones():
    """They leave 2^(dim - |S|) signed conjunctions."""
    monotone = fc.get("conjunction", dim=5, points=7, monotone=True, teaching="first")
    terms = np.asarray(monotone.formulas())
    prompts, rows = taught(monotone, terms)
    left = np.asarray(jax.jit(jax.vmap(fc.get("conjunction", dim=5, points=7).survivors))(prompts.hide()))
    np.testing.assert_array_equal(left[np.arange(len(terms)), rows], 2 ** (5 - terms.sum((1, 2))))


def test_rows_of_monotone_formulas():
    """n = 4, three terms: all 64 antichains are taught; of the other 752 multisets, 473 are not."""
    task = fc.get("dnf", dim=4, terms=3, points=16, monotone=True)
    teaching = fc.get("dnf", dim=4, terms=3, points=16, monotone=True, teaching="first")
    terms = np.asarray(task.formulas())
    chain = np.asarray(jax.vmap(antichain)(jnp.asarray(terms)))
    assert (chain.sum(), (~chain).sum()) == (64, 752)
    grid = np.asarray(tuples((-1, 1), 4))
    tables = truth_tables(terms, grid)
    row = jax.jit(jax.vmap(lambda w: jax.vmap(lambda k: teaching._row(w, k))(jnp.arange(16))))
    rows, lengths = np.asarray(row(jnp.asarray(terms))), (terms.sum(-1) + 1).sum(-1).astype(int)
    places = ((rows > 0) @ (2 ** np.arange(4))).astype(int)
    unique = []
    for n in range(len(terms)):
        shown = places[n, : lengths[n]]
        explain = tables[np.all(tables[:, shown] == tables[n, shown], 1)]
        unique.append(len(np.unique(explain, axis=0)) == 1)
    assert np.all(np.array(unique)[chain])
    assert (~np.array(unique)).sum() == 473


def truth_tables(terms, grid):
    """Labels of every formula at the inputs whose code is their index."""
    order = np.argsort((grid > 0) @ (2 ** np.arange(grid.shape[1])))
    hold = np.all((terms[:, :, None] == 0) | (grid[order][None, None] == 1), -1)
    return hold.any(1)


def test_taught_formulas_are_antichains_in_one_order():
    task = fc.get("dnf", dim=4, terms=3, points=13, monotone=True, teaching="first", literal=0.4)
    prompts = task.batch(jax.random.key(0), 200)
    assert np.all(jax.vmap(antichain)(prompts.latent.terms))
    codes = np.asarray(prompts.latent.terms) @ (2 ** np.arange(4))
    assert np.all(np.diff(codes, axis=1) > 0)
    for predict in (task.bayes, task.version_space):
        log_probs = np.asarray(jax.jit(jax.vmap(predict))(prompts).log_probs)
        right = np.take_along_axis(log_probs, (np.asarray(prompts.ys) > 0).astype(int)[..., None], -1)[..., 0]
        assert np.all(right[np.asarray(prompts.scored) > 0] == 0)
    assert np.all(np.isfinite(right))


def test_three_curves():
    """On its own generator Bayes is at least as good as the version space and as Bayes of another kind of prompts."""
    fields = {"dim": 4, "points": 8, "literal": 0.4}
    kinds = {t: fc.get("conjunction", teaching=t, **fields) for t in ("none", "mixed", "first")}
    for kind in ("none", "mixed"):
        task = kinds[kind]
        prompts = task.batch(jax.random.key(4), 2048)
        rivals = {f"bayes of {t}": kinds[t].bayes for t in ("none", "mixed") if t != kind}
        found = {n: losses(task, prompts, jax.jit(jax.vmap(f))(prompts)) for n, f in
                 ({"bayes": task.bayes, "version space": task.version_space} | rivals).items()}  # fmt: skip
        for name in found.keys() - {"bayes"}:
            assert not beats_bayes(found[name], found["bayes"], nats=True).beats, (kind, name)
            assert beats_bayes(found["bayes"], found[name]).beats, (kind, name)


def test_mixed_bayes_infers_the_kind_of_prompt():
    """On taught prompts its accuracy goes to 1 with the rows, faster than the version space."""
    mixed = fc.get("conjunction", dim=6, points=9, teaching="mixed")
    prompts, _ = taught(mixed, np.asarray(mixed.formulas())[::7])
    bayes, version = (
        np.exp(np.asarray(jax.jit(jax.vmap(f))(prompts).log_probs)) for f in (mixed.bayes, mixed.version_space)
    )
    index = (np.asarray(prompts.ys) > 0).astype(int)[..., None]
    right = [np.take_along_axis(p, index, -1)[..., 0].mean(0) for p in (bayes, version)]
    assert np.all(right[0][2:6] > right[1][2:6] + 0.05)


def test_leaving_out_what_inputs_say_is_caught():
    """The label-only posterior is not calibrated under the balanced sampler; a wrong prior is not either."""

    class LabelsOnly(type(fc.get("conjunction"))):
        def bayes(self, prompt):
            return self.version_space(prompt)

    class Careless(type(fc.get("dnf"))):
        def log_prior_of_terms(self, terms):
            return super().log_prior_of_terms(terms) - jnp.log(jnp.asarray(self._orders(), jnp.float32))

        def _orders(self):
            return [len(set(itertools.permutations(m))) for m in self._multisets().tolist()]

    for wrong in (LabelsOnly(dim=4, points=7), Careless(dim=2, points=7, terms=3, literal=0.8)):
        residuals = Case(wrong).residuals()
        assert np.any(np.abs(residuals.mean(0)) > 5 * residuals.std(0, ddof=1) / np.sqrt(len(residuals)) + 1e-4)


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("conjunction", {"dim": 5, "points": 7, "teaching": "first"}, "up to 7 rows"),
        ("dnf", {"dim": 3, "points": 20, "teaching": "first"}, "monotone=true"),
        ("dnf", {"dim": 2, "terms": 3, "points": 20, "teaching": "mixed", "monotone": True}, "contains another"),
        ("dnf", {"terms": 3, "literal": 0.01, "teaching": "first", "monotone": True}, "one draw in 1.8e.05 .* nearer"),
        ("cnf", {"terms": 3, "literal": 0.95, "teaching": "mixed", "monotone": True}, "literal: one draw in"),
        ("sparse-disjunction", {"dim": 3, "sparsity": 4}, "at most dim = 3"),
        ("parity", {"dim": 5, "points": 5, "teaching": "first"}, "5 rows"),
    ],
)
def test_what_cannot_be_is_refused(name, fields, said):
    with pytest.raises(fc.ConfigError, match=said):
        fc.get(name, **fields)


def test_states_are_counted():
    for name, fields, states in (
        ("conjunction", {"dim": 8}, 3**8),
        ("conjunction", {"dim": 8, "monotone": True}, 2**8),
        ("dnf", {"dim": 3, "terms": 3}, 3 * math.comb(29, 3)),
        ("conjunction", {"dim": 4, "teaching": "mixed"}, 2 * 3**4),
    ):
        task = fc.get(name, **fields)
        assert task.states == states
        hypotheses = task.hypotheses()
        assert task.log_prior(hypotheses).size == states
        prior = np.exp(np.asarray(task.log_prior(hypotheses), np.float64))
        assert abs(prior.sum() - 1) < 1e-4


def test_forced_inputs_satisfy_one_conjunction_of_the_prompt():
    task = dataclasses.replace(fc.get("dnf", dim=8, points=30, terms=3), forced=0.99)
    prompt = task.sample(jax.random.key(2))
    literals = np.asarray(prompt.latent.terms)[int(prompt.latent.chosen)]
    agree = np.all((literals == 0) | (np.asarray(prompt.xs) == literals), 1)
    assert agree.mean() > 0.8
    free = np.asarray(prompt.xs)[:, literals == 0]
    assert np.all(np.abs(free.mean(0)) < 5 / np.sqrt(30))
