"""Every reference at the smallest legal value of every field, on prompts of one point and of few: shapes of all,
numbers of the share."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

import function_classes as fc
from function_classes import NotAvailable
from icl import references
from icl.programs import predict
from icl.references.base import Reference
from tests.conftest import rotate
from tests.least import made, structure

TASKS = {
    "vectors": fc.get("linear-regression", dim=1, points=1, noise_std=0.3),
    "pool": fc.get("linear-pool", dim=1, points=1, noise_std=0.3, pool_size=1),
    "signs": fc.get("linear-classification", dim=1, points=1),
    "boolean": fc.get("conjunction", dim=1, points=1),
    "symbols": fc.get("bursty-classes", dim=1, points=1, scoring="every"),
    "stream": fc.get("markov", points=1),
}
POINTS = (1, 4)


@functools.cache
def members(name):
    """Settings, kind of prompt, and reference, for all variants that apply there."""
    cls = Reference.registry.find(name)
    if any(field.default is dataclasses.MISSING for field in dataclasses.fields(cls)):
        examples = [(kind, cls.example(task)) for kind, task in TASKS.items()]
        return [({}, kind, one) for kind, one in examples if one.applies(TASKS[kind]) is None]
    return [(s, kind, one) for s, one in made(cls) for kind, task in TASKS.items() if one.applies(task) is None]


def shapes(reference, task):
    """What it says of a prompt, without numbers; None where it says that it must be calibrated first."""
    try:
        return jax.eval_shape(lambda key: reference(task.sample(key).hide()), jax.random.key(0))
    except NotAvailable as error:
        if "calibrate" in str(error):
            return None
        raise


@pytest.mark.parametrize("name", references.names())
def test_shapes_at_the_smallest_values(name):
    for settings, kind, reference in members(name):
        for points in POINTS if structure(type(reference), settings) or not settings else ():
            said = shapes(reference, dataclasses.replace(TASKS[kind], points=points))
            leaves = jax.tree.leaves(said)
            assert leaves or said is None, (settings, kind)
            assert all(leaf.shape[0] == points for leaf in leaves), (settings, kind)


def pytest_generate_tests(metafunc):
    if "member" in metafunc.fixturenames:
        every = tuple((name, index) for name in references.names() for index, _ in enumerate(members(name)))
        metafunc.parametrize("member", rotate(metafunc.config, every, 12), ids=str)


def test_numbers_at_the_smallest_values(member):
    name, index = member
    settings, kind, reference = members(name)[index]
    task = dataclasses.replace(TASKS[kind], points=4)
    settled = reference.calibrate(task, jax.random.key(1), prompts=8)
    for shorter in (task, TASKS[kind]):
        said = predict(settled, shorter.batch(jax.random.key(2), 4).hide())
        assert said.mean is None or np.isfinite(said.mean).all(), settings
        assert said.variance is None or (np.isfinite(said.variance).all() and np.min(said.variance) >= 0), settings
        if said.log_probs is not None:
            np.testing.assert_allclose(jax.nn.logsumexp(said.log_probs, -1), 0, atol=1e-4, err_msg=str(settings))
