"""What every registered reference promises, on vectors with numbers, signs and symbols and on a stream: nothing here
lists the members. What compiles runs for the share whose turn it is."""

import dataclasses
import functools
from dataclasses import MISSING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import FunctionClass, NotAvailable, Prediction, Prompt, Real, Signs, Symbols, get
from function_classes.base import BayesKind
from function_classes.spaces import Nothing
from icl import references
from icl.programs import predict
from icl.queries import predict_at
from icl.references.base import Reference
from tests.conftest import rotate

POINTS = 6


class Stream(FunctionClass):
    """Symbols 0..2 in a row, each drawn from one law per prompt."""

    points: int = POINTS

    @property
    def x_space(self):
        return Nothing()

    @property
    def y_space(self):
        return Symbols(3)

    @property
    def bayes_kind(self):
        return BayesKind("exact", "Dirichlet(1)")

    def sample_latent(self, key):
        return jax.random.dirichlet(key, jnp.ones(3))

    def sample_prompt(self, latent, key):
        ys = jax.random.categorical(key, jnp.log(latent), shape=(self.points,))
        return Prompt(jnp.zeros((self.points, 0)), ys, latent)

    def bayes(self, prompt):
        seen = jnp.cumsum(jax.nn.one_hot(prompt.ys, 3, dtype=jnp.float32), 0)
        seen = jnp.concatenate([jnp.zeros((1, 3)), seen[:-1]]) + 1
        return Prediction(log_probs=jnp.log(seen / jnp.sum(seen, -1, keepdims=True)))


class Halfspaces(FunctionClass):
    """The largest of `labels` linear scores of x in three dimensions; with two labels, a sign."""

    points: int = POINTS
    labels: int = 2

    @property
    def x_space(self):
        return Real((3,))

    @property
    def y_space(self):
        return Signs() if self.labels == 2 else Symbols(self.labels)

    def sample_latent(self, key):
        return jax.random.normal(key, (3, self.labels))

    def sample_inputs(self, latent, key):
        return jax.random.normal(key, (self.points, 3))

    def evaluate(self, latent, xs):
        best = jnp.argmax(xs @ latent, -1).astype(jnp.int32)
        return 2 * best.astype(jnp.float32) - 1 if self.labels == 2 else best


TASKS = {
    "vectors": get("linear-regression", dim=3, points=POINTS, noise_std=0.3),
    "pool": get("linear-pool", dim=3, points=POINTS, noise_std=0.3, pool_size=4),
    "signs": Halfspaces(),
    "boolean": get("conjunction", dim=3, points=POINTS),
    "symbols": Halfspaces(labels=3),
    "stream": Stream(),
}
PAIRS = [
    (name, kind)
    for kind, task in TASKS.items()
    for name in references.names()
    if Reference.registry.find(name).example(task).applies(task) is None
]
# What needs no pool has been seen on vectors without one.
PAIRS = [pair for pair in PAIRS if pair[1] != "pool" or (pair[0], "vectors") not in PAIRS]
ON_NUMBERS = [pair for pair in PAIRS if isinstance(TASKS[pair[1]].y_space, Real)]
ON_LABELS = [pair for pair in PAIRS if not isinstance(TASKS[pair[1]].y_space, Real)]
ON_VECTORS = [pair for pair in PAIRS if isinstance(TASKS[pair[1]].x_space, Real)]


def on(pairs):
    """A test of the share of these pairs: of the references whose turn it is, on every task."""

    def mark(test):
        test.pairs = pairs
        return test

    return mark


def pytest_generate_tests(metafunc):
    pairs = getattr(metafunc.function, "pairs", None)
    if pairs is not None:
        names = rotate(metafunc.config, references.names())
        metafunc.parametrize(("name", "kind"), [pair for pair in pairs if pair[0] in names])


@functools.cache
def settled(name, kind):
    return Reference.registry.find(name).example(TASKS[kind]).calibrate(TASKS[kind], jax.random.key(3), prompts=64)


def leaks(predictor, prompt, fill):
    """Positions whose prediction changes in any bit when everything revealed after it is replaced by `fill`, in whole
    numbers by its second value."""
    points = prompt.points
    xs, ys = (np.repeat(np.asarray(a)[None], points, 0) for a in (prompt.xs, prompt.ys))
    same = Prompt(jnp.asarray(xs), jnp.asarray(ys))
    for k in range(points):
        xs[k, k + 1 :], ys[k, k:] = fill[0], fill[0] if ys.dtype.kind == "f" else fill[1]
    changed, original = predict(predictor, Prompt(jnp.asarray(xs), jnp.asarray(ys))), predict(predictor, same)
    pairs = list(zip(jax.tree.leaves(changed), jax.tree.leaves(original), strict=True))
    return [k for k in range(points) if not all(np.array_equal(a[k, k], b[k, k]) for a, b in pairs)]


@on(PAIRS)
def test_nothing_revealed_later_reaches_a_prediction(name, kind):
    prompt = TASKS[kind].sample(jax.random.key(0)).hide()
    for fill in ((jnp.nan, -7), (1e18, 10**6)):
        assert leaks(settled(name, kind), prompt, fill) == []


@on(ON_NUMBERS)
def test_gradient_of_the_past_is_zero_and_of_the_allowed_is_not(name, kind):
    prompt = TASKS[kind].sample(jax.random.key(1)).hide()
    predictor = settled(name, kind)

    def means(ys):
        return predictor(Prompt(prompt.xs, ys)).mean

    jacobian = np.asarray(jax.jit(jax.jacrev(means))(prompt.ys))
    assert np.all(np.triu(jacobian) == 0)
    family = Reference.registry.find(name)
    if not family.ignores_prompt and not family.jumps:
        assert all(np.any(jacobian[k, :k] != 0) for k in range(1, POINTS))


@on([*ON_LABELS, *(pair for pair in ON_NUMBERS if Reference.registry.find(pair[0]).jumps)])
def test_predictions_respond_to_what_was_seen(name, kind):
    """Every output shown counts for the last prediction, in one of 32 prompts at least."""
    if Reference.registry.find(name).ignores_prompt:
        pytest.skip("it says that it does not")
    task = TASKS[kind]
    batch = task.batch(jax.random.key(4), 32).hide()
    before = jax.tree.leaves(predict(settled(name, kind), batch))
    for j in range(POINTS - 1):
        other = (batch.ys[:, j] + 1) % 3 if isinstance(task.y_space, Symbols) else -batch.ys[:, j]
        after = jax.tree.leaves(predict(settled(name, kind), Prompt(batch.xs, batch.ys.at[:, j].set(other))))
        assert any(np.any(a[:, -1] != b[:, -1]) for a, b in zip(after, before, strict=True)), j


@on(ON_LABELS)
def test_probabilities_of_labels_sum_to_one(name, kind):
    task = TASKS[kind]
    prediction = predict(settled(name, kind), task.batch(jax.random.key(6), 16).hide())
    if prediction.log_probs is None:
        assert isinstance(task.y_space, Signs), "the mean of a sign may lie outside [-1, 1]"
    else:
        np.testing.assert_allclose(np.exp(prediction.log_probs).sum(-1), 1, atol=1e-5)


def test_a_planted_leak_is_caught():
    class Standardized(eqx.Module):
        def __call__(self, prompt):
            scale = jnp.sqrt(jnp.mean(jnp.square(prompt.ys)))
            return Prediction(mean=references.get("averaging")(prompt).mean * scale)

    prompt = TASKS["vectors"].sample(jax.random.key(0)).hide()
    assert set(leaks(Standardized(), prompt, (3.0, 3))) >= {1, 2, 3, 4, 5}


@on([(name, kind) for name, kind in PAIRS if kind != "stream"])
def test_predict_at_is_the_prediction_at_a_replaced_input(name, kind):
    task, predictor, k = TASKS[kind], settled(name, kind), 4
    prompt = task.sample(jax.random.key(2)).hide()
    xs = jax.random.normal(jax.random.key(5), (3, 3))
    xs = xs if kind == "vectors" else jnp.sign(xs)
    fast, slow = eqx.filter_jit(lambda p: (predict_at(p, prompt, k, xs), predict_at(lambda q: p(q), prompt, k, xs)))(
        predictor
    )
    for one, other in zip(jax.tree.leaves(fast), jax.tree.leaves(slow), strict=True):
        assert one.shape[0] == 3
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_labels_of_standard_members_are_their_own(name, kind):
    members = Reference.registry.find(name).standard(TASKS[kind])
    assert len({member.label for member in members}) == len(members)


@pytest.mark.parametrize("name", references.names())
def test_members_of_a_family_say_how_they_are_called(name):
    family = Reference.registry.find(name)
    for kind, task in TASKS.items():
        for member in family.families(task):
            if member.applies(task) is None:
                assert family.family_parameter in {field for field in family.__dataclass_fields__}, kind
                values = np.asarray(member.family_values(task), float)
                assert np.all(np.diff(np.log(values)) > 0)
                assert "7.5" in member.family_words.format("7.5")


def test_explain_gives_a_reason_or_none():
    reasons = references.explain(TASKS["stream"])
    assert reasons["null"] is None
    assert "stream" in reasons["ridge"]
    assert references.explain(TASKS["vectors"])["ridge"] is None
    assert set(references.standard(TASKS["stream"])) == {
        "null",
        "unigram (alpha 1)",
        "bigram (alpha 1)",
        "trigram (alpha 1)",
        "unigram (KT)",
        "bigram (KT)",
        "trigram (KT)",
        "context tree of depth 3",
    }


@pytest.mark.parametrize("name", fc.names())
def test_every_class_is_answered(name):
    """A reason or none from every family, and standard members with labels of their own, before any work."""
    required = [f.name for f in dataclasses.fields(fc.FunctionClass.registry.find(name)) if f.default is MISSING]
    if required:
        pytest.skip("wraps another class")
    task = get(name)
    reasons = references.explain(task)
    assert all(reason is None or reason.strip() for reason in reasons.values())
    offered = [m for family in references.names() for m in Reference.registry.find(family).standard(task)]
    kept = [m.label for m in offered if m.applies(task) is None]
    assert len(set(kept)) == len(kept)
    assert not [m.label for m in offered if m.applies(task) is None and m.cost == "slow"]


def test_learners_of_labels_say_what_they_need():
    reasons = references.explain(TASKS["symbols"])
    assert reasons["linear-discriminant"] is None
    assert "predicts signs" in reasons["logistic-regression"]
    assert "sign or a symbol" in references.explain(TASKS["vectors"])["nearest-class-mean"]
    assert "stream" in references.explain(TASKS["stream"])["nearest-class-mean"]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("ridge", {"penalty": "class"}),
        ("lasso", {"penalty": "class"}),
        ("kernel-smoother", {"bandwidth": "class"}),
        ("kernel-ridge", {"lengthscale": "class"}),
        ("linear-discriminant", {}),
        ("nearest-class-mean", {}),
        ("gradient-descent", {"rate": "position"}),
        ("stochastic-gradient", {}),
        ("nearest-neighbors", {"neighbors": "class"}),
        ("prior-mean", {}),
        ("version-space", {}),
        ("k-gram", {}),
        ("context-tree-weighting", {}),
        ("pool-argmin", {}),
        ("smoothed-pool", {}),
        ("em-mixture", {}),
    ],
)
def test_unresolved_references_refuse_to_predict(name, fields):
    reference = references.get(name, **fields)
    task = get("markov", points=4) if reference.reads == "stream" else TASKS["vectors"]
    with pytest.raises(NotAvailable, match="calibrate"):
        reference(task.sample(jax.random.key(0)))


def test_bayes_of_compares_spaces():
    narrow = references.get("bayes-of", task=get("linear-regression", dim=2))
    assert "inputs" in narrow.applies(TASKS["vectors"])
    other = references.get("bayes-of", task=get("linear-regression", dim=3, noise_std=1.0, points=2))
    prompt = TASKS["vectors"].sample(jax.random.key(0))
    ridge = references.get("ridge", penalty=1.0)
    np.testing.assert_allclose(jax.jit(other)(prompt).mean, jax.jit(ridge)(prompt).mean, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(other.weights)(prompt), jax.jit(ridge.weights)(prompt), rtol=1e-4, atol=1e-5)
