"""What every registered function class promises; a new class is tested here by being registered.

Add configurations that differ from the defaults to `cases.VARIANTS`.
"""

import dataclasses
import doctest
import importlib
import json
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import FunctionClass, Nothing, Prompt, Real, Signs, Symbols
from function_classes.fields import build
from function_classes.plain import dump
from tests.conftest import make_room, rotate
from tests.function_classes.cases import POINTS, PROMPTS, REPEATED, VARIANTS, Case, cases, value_shape
from tests.harness import Interventions, beats_bayes, gradient_leaks

# Fields of a class are plain flags in a shell, beside those of models and training.
TAKEN = set(
    """depth width heads mixer layout steps batch seed optimizer learning_rate name checkpoint_every seeds on at
set json dry_run help shift""".split()
)


def pytest_generate_tests(metafunc):
    if "module" in metafunc.fixturenames:
        modules = tuple(f"function_classes.{m.name}" for m in pkgutil.iter_modules(fc.__path__))
        metafunc.parametrize("module", rotate(metafunc.config, modules, 12))
    if "case" in metafunc.fixturenames:
        names = rotate(metafunc.config, fc.names())
        found = [(f"{name}-{i}", name, i) for name in names for i in range(1 + len(VARIANTS.get(name, ())))]
        metafunc.parametrize("case", [(n, i) for _, n, i in found], ids=[label for label, _, _ in found], indirect=True)


@pytest.fixture(scope="module")
def case(request):
    """One case after the other goes through all tests, so that its programs are compiled once and can be forgotten."""
    name, index = request.param
    yield cases(name)[index]
    make_room()


def exact(case: Case) -> Case:
    if not case.task.bayes_kind.exact:
        pytest.skip(f"no exact Bayes: {case.task.bayes_kind.detail}")
    return case


def same_bits(a, b) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def test_a_batch_is_one_program_for_all_numbers():
    """Another number of the class is data; another count or whole number is another program."""
    traced = []

    class Counted(FunctionClass):
        points: int = 3
        scale: float = 1.0
        x_space = Real((1,))
        y_space = Real()

        def sample_latent(self, key):
            traced.append(self.points)
            return self.scale * jax.random.normal(key)

        def sample_inputs(self, latent, key):
            return jax.random.normal(key, (self.points, 1))

        def evaluate(self, latent, xs):
            return latent * xs[:, 0]

    key = jax.random.key(0)
    one, two = (Counted(scale=scale).batch(key, 4) for scale in (1.0, 2.0))
    assert traced == [3]
    assert one.ys.dtype == jnp.float32
    np.testing.assert_allclose(two.ys, 2 * one.ys, rtol=1e-6)
    alone = Counted(scale=2.0).sample(jax.random.fold_in(key, 3))
    np.testing.assert_allclose(two.ys[3], alone.ys, rtol=1e-6)
    assert traced == [3, 3]
    Counted(points=5).batch(key, 4)
    Counted().batch(key, 2)
    assert traced == [3, 3, 5, 3]


def test_variants_belong_to_registered_classes():
    assert set(VARIANTS) <= set(fc.names())


def test_doctests(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0


@pytest.mark.parametrize("name", fc.names())
def test_fields_are_free_flags_and_documented(name):
    fields = dataclasses.fields(FunctionClass.registry.find(name))
    taken = TAKEN - {"shift"} if name == "shifted-inputs" else TAKEN
    assert not {field.name for field in fields} & taken
    assert all(field.metadata["rule"].doc for field in fields)


@pytest.mark.parametrize("name", fc.names())
def test_every_class_says_what_its_sheet_shows(name):
    assert FunctionClass.registry.find(name).lesson.endswith(".")


def test_configuration_survives_json(case):
    assert build(FunctionClass, json.loads(json.dumps(dump(case.task)))) == case.task


@pytest.mark.parametrize("more", [0, 5])
def test_shapes_and_dtypes(case, more):
    task = dataclasses.replace(case.task, points=POINTS + more)
    points = POINTS + more
    prompt = jax.eval_shape(task.sample, jax.random.key(0))
    inputs = (0,) if isinstance(task.x_space, Nothing) else task.x_space.shape
    assert prompt.xs.shape == (points, *inputs)
    assert prompt.ys.shape == value_shape(task, points)
    assert prompt.ys.dtype == (jnp.int32 if isinstance(task.y_space, Symbols) else jnp.float32)
    if prompt.targets is not None:
        soft = (*prompt.ys.shape, getattr(task.y_space, "n", 2)), jnp.float32
        assert (prompt.targets.shape, prompt.targets.dtype) in ((prompt.ys.shape, prompt.ys.dtype), soft)
    if case.task.bayes_kind.kind == "none":
        with pytest.raises(fc.NotAvailable, match=case.task.bayes_kind.detail[:20]):
            task.bayes(prompt)
        return
    # The length comes from the prompt: a class with other `points` must agree, and nothing needs the latent.
    lead = (points, task.steps) if task.steps > 1 else (points,)
    checked = jax.eval_shape(lambda p: predictions(case.task, p.hide()), prompt)
    assert [leaf.shape[: len(lead)] for leaf in checked] == [lead] * len(checked)
    assert checked[0].shape == lead
    assert not isinstance(task.y_space, Real) or checked[1].shape == checked[2].shape == prompt.ys.shape


def predictions(task: FunctionClass, prompt: Prompt) -> list[jax.Array]:
    """log p, then mean and variance of numbers, or the log probabilities of the rest."""
    bayes = task.bayes(prompt)
    rest = [bayes.mean, bayes.variance] if isinstance(task.y_space, Real) else [bayes.as_log_probs(task.y_space)]
    return [task.log_predictive(prompt), *rest]


def test_same_key_same_prompts_other_key_other_prompts(case):
    first, again, other = case.result["prompts"], case.run()["prompts"], case.run(seed=1)["prompts"]
    assert same_bits(first, again)
    assert not same_bits(first.ys, other.ys)
    assert not first.xs.size or not same_bits(first.xs, other.xs)


def test_float_fields_are_data(case):
    """Another noise is another argument of the same program, and does something."""
    case.run()
    before = case.traces
    results = [case.run(task=task) for task in case.perturbed(0.9)]
    assert case.traces == before == 1
    shown = [(r["prompts"].xs, r["prompts"].ys, r.get("bayes")) for r in (case.result, *results)]
    assert all(not same_bits(r, shown[0]) or unread(case, i) for i, r in enumerate(shown[1:]))


def unread(case: Case, index: int) -> bool:
    """Fields that make no difference, of the class, of those it is made of, and of their inputs."""
    path = jax.tree_util.tree_flatten_with_path(case.task)[0][index][0]
    part, names = case.task, set(case.task.unread)
    for step in path[:-1]:
        part = getattr(part, step.name) if hasattr(step, "name") else part[step.idx]
        names |= part.unread if isinstance(part, FunctionClass) else set()
    if getattr(case.task, "link", "") == "threshold":
        names |= {"std"}
    if case.task.name == "convex-combination" and len(path) > 1:
        # The noise is the combination's own, the inputs are those of the first class.
        names |= {"noise_std", "std"} if path[0].name == "second" else {"noise_std"}
    return path[-1].name in names


def test_prompts_are_independent_draws(case):
    """Neighbors in a batch, inputs and task, inputs and outputs of one task under another key: no correlation; but
    inputs that carry evidence about the task say so by their density."""
    prompts = case.prompts
    ys = np.asarray(prompts.ys, np.float64).reshape(PROMPTS, -1)
    assert uncorrelated(ys[1:], ys[:-1])
    if not isinstance(case.task.x_space, Nothing):
        xs = np.asarray(prompts.xs, np.float64).reshape(PROMPTS, -1)
        assert uncorrelated(xs[1:], xs[:-1])
        drawn = [np.asarray(a, np.float64).reshape(PROMPTS, -1) for a in jax.tree.leaves(prompts.latent) if a.size]
        assert informative(case) or all(uncorrelated(xs, a) for a in drawn if not shares_values(xs, a))
    # Labels without noise may be alike because the function is constant.
    one = case.result["one task"]
    shown = (one.xs, one.ys) if isinstance(case.task.y_space, Signs) else (one.ys,)
    assert not all(same_bits(a[0], a[1]) for a in shown)


def informative(case: Case) -> bool:
    """Whether inputs carry evidence about the task."""
    if type(case.task).log_input_density is FunctionClass.log_input_density:
        return False
    return case.task.bayes_kind.kind != "none" and bool(np.any(jax.vmap(case.task.log_input_density)(case.few)))


def test_input_density_is_relative_to_inputs_that_say_nothing(case):
    """E p_free(x) / p(x) = 1 under p where p is positive wherever free inputs can be, and less elsewhere; so E log
    p / p_free, a divergence, is positive."""
    if not informative(case):
        pytest.skip("inputs say nothing about the task")
    program = case.__dict__.setdefault("inputs", jax.jit(jax.vmap(case.task.log_input_density)))
    found = np.asarray(program(case.prompts), np.float64)
    ratios = np.exp(-found)
    assert np.all(ratios.mean(0) <= 1 + 5 * ratios.std(0, ddof=1) / np.sqrt(PROMPTS) + 1e-5)
    total = found.sum(1)
    assert total.mean() > 5 * total.std(ddof=1) / np.sqrt(PROMPTS)


def shares_values(xs: np.ndarray, latent: np.ndarray) -> bool:
    """A latent may hold the prompt's own inputs."""
    return xs.shape == latent.shape and np.array_equal(xs, latent)


def uncorrelated(a: np.ndarray, b: np.ndarray) -> bool:
    """All correlations between columns are within 5 standard errors of 0, plus Bonferroni over the pairs."""
    scaled = [(m - m.mean(0)) / np.where(m.std(0) > 0, m.std(0), 1) for m in (a, b)]
    correlation = scaled[0].T @ scaled[1] / len(a)
    return np.abs(correlation).max() < (4 + np.sqrt(2 * np.log(correlation.size))) / np.sqrt(len(a))


def test_nothing_leaks_and_nothing_is_ignored(case):
    if case.task.bayes_kind.kind == "none":
        pytest.skip(f"no Bayes: {case.task.bayes_kind.detail}")
    interventions = Interventions(case.task.bayes, case.few, case.task.steps)
    assert interventions.leaks() == {"other": [], "huge": [], "nan": []}
    assert set(interventions.ignored()) <= beyond(case) or case.task.name in REPEATED
    one: Prompt = jax.tree.map(lambda a: a[0], case.few)
    assert gradient_leaks(case.task.bayes, one, case.task.steps) == []


def beyond(case: Case) -> set[str]:
    """The last symbols of a stream with a lag, which only later symbols would depend on."""
    return {f"y{(k, 0)}" for k in range(POINTS - getattr(case.task, "lag", 1), POINTS)}


def test_bayes_is_calibrated(case):
    """Squared residuals have the variance Bayes says, surprises the entropy it says, at every position."""
    residuals = exact(case).residuals()
    spread = residuals.std(0, ddof=1)
    assert np.all(np.abs(residuals.mean(0)) <= 5 * spread / np.sqrt(PROMPTS) + 1e-4)


def test_log_predictive_is_a_density_that_no_other_prior_beats(case):
    """E log p is largest under the true law, by Gibbs' inequality, with every field changed in turn."""
    own = -np.asarray(exact(case).result["log predictive"], np.float64)
    assert np.all(np.isfinite(own))
    for factor in (0.6, 1.5):
        for task in case.perturbed(factor):
            other = other_log_predictive(case, task, case.prompts)
            assert not beats_bayes(-other, own, nats=True).beats, task


def other_log_predictive(case: Case, task: FunctionClass, prompts: Prompt) -> np.ndarray:
    program = case.__dict__.setdefault("other", jax.jit(jax.vmap(lambda t, p: t.log_predictive(p), (None, 0))))
    return np.asarray(program(task, prompts), np.float64)


def test_order_counts_only_where_the_class_says_so(case):
    """Exchangeable examples have one probability in every order, by the chain rule over the class's own predictives;
    a sequence has another one somewhere."""
    exact(case)
    order = np.random.default_rng(0).permutation(POINTS)
    prompts = case.prompts
    # The latent stays: the same task made the same examples.
    shuffled = Prompt(prompts.xs[:, order], prompts.ys[:, order], prompts.latent)
    first, second = (joint(case, p) for p in (Prompt(prompts.xs, prompts.ys, prompts.latent), shuffled))
    gaps = np.abs(np.where(first == second, 0.0, first - second))
    if case.task.exchangeable:
        assert np.all(gaps <= 1e-3 * (1 + np.abs(first)))
    else:
        assert np.max(gaps) > 0.1


def joint(case: Case, prompts: Prompt) -> np.ndarray:
    """(N,) log p(x, y) of whole prompts, up to what no task changes."""
    outputs = other_log_predictive(case, case.task, prompts).reshape(PROMPTS, -1).sum(1)
    if not informative(case):
        return outputs
    program = case.__dict__.setdefault("inputs", jax.jit(jax.vmap(case.task.log_input_density)))
    return outputs + np.asarray(program(prompts), np.float64).sum(1)


def test_nobody_beats_bayes(case):
    exact(case)
    assert not any(case.beats_bayes(case.tempered(factor)) for factor in (0.9, 1.1))


def one_task(case: Case) -> bool:
    """Whether every prompt has the same task, so that there is nothing to know."""
    return all(np.all(np.asarray(leaf) == np.asarray(leaf[0])) for leaf in jax.tree.leaves(case.prompts.latent))


def test_the_oracle_is_caught(case):
    """Knowing the task is more than knowing the prior, and the test sees it; where what is scored is certain without
    knowing the task, they agree."""
    exact(case)
    oracle = jax.jit(jax.vmap(case.task.oracle))(case.prompts)
    if one_task(case):
        np.testing.assert_allclose(oracle.log_probs, case.result["bayes"].log_probs, rtol=1e-5, atol=1e-6)
    elif not isinstance(case.task.y_space, Real) and not np.any(case.losses(case.result["bayes"])):
        assert not np.any(case.losses(oracle))
    else:
        assert case.beats_bayes(oracle)
