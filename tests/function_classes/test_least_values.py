"""Every class at the smallest legal value of every field: shapes of all, numbers of the share."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import FunctionClass, NotAvailable
from function_classes.fields import as_data
from tests.conftest import rotate
from tests.least import made, structure

SAID = ("bayes", "oracle", "log_predictive", "log_input_density")


def everything(task, key):
    """A prompt, and all that its class says of it."""
    prompt, found = task.sample(key), {}
    for name in SAID:
        try:
            found[name] = getattr(task, name)(prompt)
        except NotAvailable:
            pass
    return prompt, found


@functools.cache
def programs(name):
    """Variants that are another program: settings and object."""
    cls = FunctionClass.registry.find(name)
    return [(s, task) for s, task in made(cls) if not s or structure(cls, s)]


def numbers(name):
    """Variants that give the program of the defaults other floats."""
    cls = FunctionClass.registry.find(name)
    return [(s, task) for s, task in made(cls) if not structure(cls, s)]


@pytest.mark.parametrize("name", fc.names())
def test_shapes_at_the_smallest_values(name):
    for settings, task in programs(name):
        prompt, found = jax.eval_shape(functools.partial(everything, task), jax.random.key(0))
        assert prompt.ys.shape[0] == task.points, settings
        assert {"bayes", "log_predictive"} <= set(found) or task.bayes_kind.kind == "none", settings


@eqx.filter_jit
def run(task, keys):
    return jax.vmap(functools.partial(everything, task))(keys)


def sound(settings, task):
    prompts, found = run(as_data(task), jax.random.split(jax.random.key(3), 4))
    shown = prompts.xs, prompts.ys, prompts.targets, prompts.scored
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(shown)), settings
    for name, said in found.items():
        log_probs = getattr(said, "log_probs", None)
        if log_probs is not None:
            np.testing.assert_allclose(jax.nn.logsumexp(log_probs, -1), 0, atol=1e-3, err_msg=f"{name} {settings}")
        else:
            # What the class itself has drawn is possible, and has a density.
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(said)), (name, settings)
        assert getattr(said, "variance", None) is None or np.min(said.variance) >= 0, (name, settings)


def pytest_generate_tests(metafunc):
    """Programs compile for seconds each, floats are data of one."""
    if "program" in metafunc.fixturenames:
        every = tuple((name, index) for name in fc.names() for index, _ in enumerate(programs(name)))
        metafunc.parametrize("program", rotate(metafunc.config, every, 12), ids=str)
    if "floats" in metafunc.fixturenames:
        metafunc.parametrize("floats", rotate(metafunc.config, fc.names()))


def test_numbers_at_the_smallest_values(program):
    name, index = program
    sound(*programs(name)[index])


def test_numbers_at_the_smallest_floats(floats):
    for settings, task in numbers(floats):
        sound(settings, task)


@pytest.mark.parametrize("trial", ["training", "in-context"])
def test_a_bursty_prompt_that_is_a_query_alone(trial):
    """One item of no context: of a trained class, or of a new one whose label nobody knows. Both kinds of prompt are
    then one, whatever the share of bursty ones."""
    said = []
    for share in (0.0, 0.9, 1.0):
        task = fc.get("bursty-classes", points=1, trial=trial, burst_probability=share)
        prompts = task.batch(jax.random.key(0), 500)
        log_probs, density = jax.vmap(lambda p, task=task: (task.bayes(p).log_probs, task.log_input_density(p)))(
            prompts
        )
        said.append((log_probs, density))
        if trial == "in-context":
            np.testing.assert_allclose(log_probs, -np.log(task.labels), atol=1e-5)
            np.testing.assert_allclose(density, 0, atol=1e-4)
        else:
            assert np.mean(jnp.argmax(log_probs[:, 0], -1) == prompts.ys[:, 0]) == 1
    for one, other in itertools.pairwise(said):
        np.testing.assert_allclose(one[0], other[0], atol=1e-4)
        np.testing.assert_allclose(one[1], other[1], rtol=1e-5, atol=1e-4)


def test_powers_of_recall_have_a_range():
    for power in (-1e6, -1.0, 0.0, 1e6):
        task = fc.get("associative-recall", power=power)
        hazard = np.asarray(task._hazard())
        assert np.all((hazard >= 0) & (hazard <= 1))
        assert hazard[-1] == 1
    for power in (-3e38, 3e38):
        with pytest.raises(fc.ConfigError, match=r"power: must be at"):
            fc.get("associative-recall", power=power)
