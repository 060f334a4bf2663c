"""Boolean classes against sums over all functions in float64, and their balances and accuracies against tables."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.boolean import LARGEST, posterior, total
from tests.function_classes.twins import finite_bayes, satisfied

SIGNS = (-1.0, 1.0)


def literals(dim, values=(0, 1, -1)):
    return list(itertools.product(values, repeat=dim))


def product_prior(vector, zero, other):
    return np.prod([zero if v == 0 else other for v in vector])


def halfspace(weights, threshold, x):
    return 1 if np.dot(weights, x) - threshold > 0 else -1


def subsets(dim, size):
    return [[i in chosen for i in range(dim)] for chosen in itertools.combinations(range(dim), size)]


def parity(subset, x):
    return 1 if sum(b and v > 0 for b, v in zip(subset, x, strict=True)) % 2 else -1


def formula(terms, x):
    return 1 if any(satisfied(t, x) for t in terms) else -1


def share(x, term, plus):
    """Probability of a free input to have the values of these literals."""
    return np.prod([1 if v == 0 else (plus if v > 0 else 1 - plus) for v in term])


def formula_states(task, dual):
    """(prior, label, input density) of every ordered formula and choice of a conjunction, one function at a time."""
    values = (0, 1) if task.monotone else (0, 1, -1)
    side = -1 if dual else 1
    terms = [
        (t, product_prior(t, 1 - task.literal, task.literal / (len(values) - 1))) for t in literals(task.dim, values)
    ]
    for chosen in itertools.product(terms, repeat=task.conjunctions):
        formed, prior = [t for t, _ in chosen], np.prod([p for _, p in chosen])
        for term in formed:
            made = tuple(side * v for v in term)

            def density(x, made=made):
                extra = task.forced / share(x, made, task.plus) if satisfied(made, x) else 0
                return 1 - task.forced + extra

            yield prior, lambda x, f=formed: side * formula(f, [side * v for v in x]), density


def sparse_states(task):
    for subset in subsets(task.dim, task.sparsity):
        made = tuple(-float(b) for b in subset)

        def density(x, made=made):
            return 1 - task.forced + (task.forced / share(x, made, task.plus) if satisfied(made, x) else 0)

        yield 1.0, lambda x, s=subset: 1 if any(b and v > 0 for b, v in zip(s, x, strict=True)) else -1, density


def plain(states):
    return [(prior, label, lambda x: 1.0) for prior, label in states]


def states(task):
    p, dim = getattr(task, "literal", 0.0), task.dim
    if task.name in ("conjunction", "dnf", "disjunction", "cnf"):
        return list(formula_states(task, task.name in ("disjunction", "cnf")))
    if task.name == "sparse-disjunction":
        return list(sparse_states(task))
    if task.name == "sparse-parity":
        return plain((1.0, functools.partial(parity, s)) for s in subsets(dim, task.sparsity))
    if task.name == "parity":
        return plain((1.0, functools.partial(parity, s)) for s in itertools.product((False, True), repeat=dim))
    if task.name == "majority":
        return plain((product_prior(w, 1 - p, p), functools.partial(halfspace, w, 0.5)) for w in literals(dim, (0, 1)))
    if task.name == "threshold":
        return plain(
            (product_prior(w, 1 - p, p / 2), functools.partial(halfspace, w, theta))
            for w in literals(dim)
            for theta in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)
        )
    return plain(
        (1.0, functools.partial(halfspace, w, 0.5)) for w in literals(dim, range(-task.largest, task.largest + 1))
    )


TASKS = [
    fc.get("conjunction", dim=4, points=9, literal=0.4, plus=0.6, forced=0.25),
    fc.get("conjunction", dim=5, points=9, monotone=True),
    fc.get("disjunction", dim=4, points=9, literal=0.4, plus=0.6, forced=0.25),
    fc.get("sparse-disjunction", dim=6, points=9, sparsity=2, plus=0.4),
    fc.get("dnf", dim=2, points=9, terms=3, literal=0.6, plus=0.6),
    fc.get("dnf", dim=3, points=9, terms=2, monotone=True),
    fc.get("cnf", dim=2, points=9, terms=3, literal=0.6, plus=0.6),
    fc.get("parity", dim=4, points=9),
    fc.get("sparse-parity", dim=6, points=9, sparsity=3),
    fc.get("majority", dim=5, points=9, literal=0.4),
    fc.get("threshold", dim=3, points=9, literal=0.4),
    fc.get("integer-halfspace", dim=3, points=9, largest=2),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: f"{t.name}-{t.dim}")
def test_sum_over_all_functions(task):
    """Bayes with p(x | f), the version space without, from the definitions of the classes."""
    prompts = task.batch(jax.random.key(3), 4)
    bayes, version = (
        np.exp(np.asarray(jax.jit(jax.vmap(f))(prompts).log_probs)) for f in (task.bayes, task.version_space)
    )
    np.testing.assert_allclose(bayes.sum(-1), 1, rtol=1e-6)
    known = states(task)
    prior = np.array([p for p, _, _ in known])
    for n, (xs, ys) in enumerate(zip(np.asarray(prompts.xs), np.asarray(prompts.ys), strict=True)):
        labels = np.array([[label(x) for x in xs] for _, label, _ in known])
        densities = np.array([[density(x) for x in xs] for _, _, density in known])
        np.testing.assert_allclose(bayes[n, :, 1], finite_bayes(prior, labels, densities, ys), rtol=2e-5, atol=1e-6)
        free = finite_bayes(prior, labels, np.ones_like(densities), ys)
        np.testing.assert_allclose(version[n, :, 1], free, rtol=2e-5, atol=1e-6)


# P(y = +1) over prompts at dim 28, with the paper's settings.
BALANCE = {
    "conjunction": ({}, 0.3 + 0.7 * 0.85**28),
    "disjunction": ({}, 0.7 - 0.7 * 0.85**28),
    "sparse-disjunction": ({"sparsity": 4}, 0.65625),
    "dnf": ({"terms": 3, "literal": 0.2}, 0.35 + 0.65 * (1 - (1 - 0.9**28) ** 3)),
    "cnf": ({"terms": 3, "literal": 0.2}, 0.7 * (1 - 0.9**28) ** 3),
    "majority": ({}, 0.4311),
    "threshold": ({}, 0.5),
    "integer-halfspace": ({}, 0.4813),
}


def test_balances_are_those_of_the_sheets():
    known = [0.3074, 0.6926, 0.65625, 0.4468, 0.5957, 0.4311, 0.5, 0.4813]
    np.testing.assert_allclose([value for _, value in BALANCE.values()], known, atol=6e-5)


def audit(task, expected, prompts=4000):
    ys = np.asarray(jax.jit(lambda key: task.batch(key, prompts).ys)(jax.random.key(7)), np.float64)
    means = (ys > 0).mean(1)
    assert abs(means.mean() - expected) < 5 * means.std() / np.sqrt(prompts) + 5e-5, means.mean()


@pytest.mark.parametrize("name", BALANCE)
def test_balance(name):
    fields, expected = BALANCE[name]
    audit(fc.get(name, dim=28, points=40, **fields), expected)


@pytest.mark.parametrize(("dim", "expected"), [(20, 0.4779), (10, 0.4690)])
def test_balance_of_integer_halfspaces(dim, expected):
    audit(fc.get("integer-halfspace", dim=dim, points=40), expected)


def test_function_priors():
    """Every literal has its frequency, subsets their size, integer weights their range."""
    draws = {
        name: jax.vmap(fc.get(name, **fields).sample_latent)(jax.random.split(jax.random.key(1), 3000))
        for name, fields in (("dnf", {"dim": 9}), ("threshold", {"dim": 9}), ("integer-halfspace", {"dim": 9}),
                             ("sparse-parity", {"sparsity": 3}))
    }  # fmt: skip
    terms = np.asarray(draws["dnf"].terms)
    for value, rate in ((0, 0.5), (1, 0.25), (-1, 0.25)):
        np.testing.assert_allclose((terms == value).mean(0), rate, atol=5.5 * 0.5 / np.sqrt(3000))
    weights, theta = (np.asarray(a) for a in draws["threshold"])
    np.testing.assert_allclose((weights == 0).mean(0), 0.7, atol=5 * 0.5 / np.sqrt(3000))
    np.testing.assert_allclose([(theta == t).mean() for t in np.arange(-2.5, 3)], 1 / 6, atol=5 * 0.4 / np.sqrt(3000))
    whole = np.asarray(draws["integer-halfspace"].weights)
    found = np.array([(whole == v).mean() for v in range(-3, 4)])
    np.testing.assert_allclose(found, 1 / 7, atol=5 * 0.35 / np.sqrt(whole.size))
    subset = np.asarray(draws["sparse-parity"])
    assert np.all(subset.sum(1) == 3)
    np.testing.assert_allclose(subset.mean(0), 0.3, atol=5 * 0.46 / np.sqrt(3000))


# Accuracy of the posterior averaged over prompts: t, expected, and the standard error of the table.
TABLES = {
    "sparse-parity": (
        {"dim": 10},
        0.005,
        ((2, 0.608), (4, 0.721), (5, 0.795), (6, 0.873), (8, 0.959), (12, 0.997), (15, 1.0)),
    ),
    "majority": (
        {"dim": 8},
        0.01,
        ((0, 0.719), (2, 0.745), (4, 0.807), (8, 0.885), (12, 0.938), (16, 0.97), (20, 0.987), (30, 0.998)),
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_accuracy_of_bayes(name):
    fields, given, table = TABLES[name]
    task = fc.get(name, points=table[-1][0] + 1, **fields)
    prompts = task.batch(jax.random.key(2), 1500)
    best = np.exp(np.asarray(jax.jit(jax.vmap(task.bayes))(prompts).log_probs, np.float64)).max(-1)
    for t, expected in table:
        assert abs(best[:, t].mean() - expected) < 5 * best[:, t].std() / np.sqrt(1500) + given, (t, best[:, t].mean())


def test_first_parity_is_not_a_fair_coin():
    """With h of n bits set the parity of two is odd with probability 2h(n-h)/(n(n-1)): .5546875 at n = 10."""
    task = fc.get("sparse-parity", dim=10, points=1)
    grid = jnp.asarray(list(itertools.product(SIGNS, repeat=10)))
    best = jnp.exp(jax.jit(jax.vmap(lambda x: task.bayes(Prompt(x[None], jnp.ones(1))).log_probs[0]))(grid)).max(-1)
    assert abs(float(best.mean()) - 0.5546875) < 1e-6


def test_sums_over_many_states_keep_float32():
    """Weights over eight decades against float64; a running sum of equal terms drifts, halves do not."""
    rng = np.random.default_rng(0)
    weights = np.exp(-18 * rng.random(LARGEST)).astype(np.float32)
    for values in (weights, np.full(LARGEST, 0.1, np.float32)):
        exact = values.astype(np.float64).sum()
        assert abs(float(jax.jit(total)(jnp.asarray(values))) / exact - 1) < 1e-6
    running = np.cumsum(np.full(LARGEST, 0.1, np.float32), dtype=np.float32)[-1]
    assert abs(running / (0.1 * LARGEST) - 1) > 1e-5


def test_a_large_posterior_keeps_float32():
    """Forty steps over 59,049 states with graded weights and densities, against float64."""
    rng = np.random.default_rng(1)
    count, points = 59_049, 40
    prior = np.log(rng.random((count, 1))).astype(np.float32) * 8
    labels = rng.random((points, count)) < 0.9
    density = np.log(0.7 + 30 * rng.random((points, count, 1)) ** 4).astype(np.float32)
    ys = np.where(labels[:, 17], 1.0, -1.0).astype(np.float32)

    def look(x, k):
        return jnp.asarray(labels)[k], jnp.asarray(density)[k]

    found = np.exp(jax.jit(lambda y: posterior(jnp.asarray(prior), look, jnp.zeros((points, 1)), y).log_probs)(ys))
    exact = finite_bayes(
        np.exp(prior[:, 0].astype(np.float64)),
        np.where(labels.T, 1, -1),
        np.exp(density[..., 0].T.astype(np.float64)),
        ys,
    )
    np.testing.assert_allclose(found[:, 1], exact, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["conjunction", "sparse-parity", "parity", "majority"])
def test_labels_that_no_function_explains_leave_a_coin(name):
    task = fc.get(name, points=4)
    xs = jnp.tile(task.sample(jax.random.key(0)).xs[:1], (4, 1))
    found = np.exp(task.bayes(Prompt(xs, jnp.array([1.0, -1.0, 1.0, 1.0]))).log_probs)
    np.testing.assert_array_equal(found[1], [0, 1])
    np.testing.assert_allclose(found[2:], 0.5)


@pytest.mark.parametrize(
    ("name", "fits"), [("conjunction", 11), ("majority", 18), ("threshold", 9), ("integer-halfspace", 6)]
)
def test_too_large_an_enumeration_is_refused(name, fits):
    assert fc.get(name, dim=fits).bayes_kind.exact
    task = fc.get(name, dim=fits + 1)
    assert str(task.states) in task.bayes_kind.detail
    for method in (task.bayes, task.version_space, task.survivors):
        with pytest.raises(fc.NotAvailable, match="smaller dim"):
            method(task.sample(jax.random.key(0)))
