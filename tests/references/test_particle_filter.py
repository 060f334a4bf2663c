"""The particle filter against enumeration: it errs as that many draws from the posterior do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import NotAvailable
from icl import references
from icl.programs import predict
from icl.references.particle_filter import exchange, systematic

PROMPTS = 48
TASKS = {
    "conjunction": {"dim": 6, "points": 14},
    "disjunction": {"dim": 5, "points": 12, "plus": 0.4},
    "dnf": {"dim": 3, "points": 14},
    "majority": {"dim": 8, "points": 14},
    "threshold": {"dim": 4, "points": 14},
    "integer-halfspace": {"dim": 4, "points": 14},
}


def estimated(task, prompts, **fields):
    reference = references.get("particle-filter", **fields)
    assert reference.applies(task) is None
    return jnp.exp(predict(reference.calibrate(task, jax.random.key(0)), prompts).log_probs)[..., 1]


def probabilities(predictor, prompts):
    return jnp.exp(jax.jit(jax.vmap(predictor))(prompts).log_probs)[..., 1]


@pytest.mark.parametrize("name", TASKS)
def test_it_errs_as_draws_from_the_posterior_do(name):
    task = fc.get(name, **TASKS[name])
    prompts = task.batch(jax.random.key(1), PROMPTS).hide()
    exact = probabilities(task.bayes, prompts)
    found = estimated(task, prompts, particles=512, moves=16)
    # What 512 independent draws would leave, and what the half draw for each label moves.
    alone = np.mean(exact * (1 - exact)) / 512 + np.mean((0.5 - exact) ** 2) / 513**2
    assert np.mean((found - exact) ** 2) < 3 * alone
    # One that never moves is told apart.
    assert np.mean((estimated(task, prompts, particles=512, moves=0) - exact) ** 2) > 3 * alone


def test_balanced_inputs_are_evidence():
    """Before any label, an input says how many literals it may satisfy."""
    task = fc.get("conjunction", dim=6, points=14)
    prompts = task.batch(jax.random.key(1), PROMPTS).hide()
    found = estimated(task, prompts, particles=512, moves=16)
    labels_alone = probabilities(task.version_space, prompts)
    exact = probabilities(task.bayes, prompts)
    assert np.mean((found - exact) ** 2) < 0.2 * np.mean((found - labels_alone) ** 2)


def test_beyond_enumeration_it_is_calibrated():
    """At dim 28 no sum over functions is possible; of what it calls p likely, a share of p happens."""
    task = fc.get("majority", dim=28, points=16)
    assert task.bayes_kind.kind == "none"
    assert "particle-filter" in task.bayes_kind.detail
    prompts = task.batch(jax.random.key(2), 128)
    found = np.asarray(estimated(task, prompts.hide(), particles=512, moves=16)).ravel()
    happened = np.asarray(prompts.ys > 0).ravel()
    for low in np.arange(0, 1, 0.25):
        inside = (found >= low) & (found < low + 0.25)
        gap = np.mean(happened[inside] - found[inside])
        # Positions of one prompt share its function: no more than 128 are counted as independent.
        assert abs(gap) < 4 * 0.5 / np.sqrt(min(inside.sum(), 128))
    certain = np.maximum(found, 1 - found).reshape(128, 16)
    gained = certain[:, -1] - certain[:, 0]
    assert np.mean(gained) > 4 * np.std(gained) / np.sqrt(128)


def test_where_it_does_not_apply_it_says_why():
    reference = references.get("particle-filter")
    assert "another kind of class" in reference.applies(fc.get("linear-regression"))
    assert "do not teach" in reference.applies(fc.get("conjunction", dim=4, points=12, teaching="first"))
    assert "independent" in reference.applies(fc.get("sparse-disjunction"))
    with pytest.raises(NotAvailable, match="calibrate"):
        reference(fc.get("conjunction").sample(jax.random.key(0)))


def test_parts():
    weights = jnp.asarray([0.0, 3.0, 0.5, 0.5])
    counts = np.bincount(systematic(weights, jax.random.key(0)), minlength=4)
    assert counts[0] == 0
    assert counts[1] == 3
    assert counts.sum() == 4
    values = jnp.arange(24.0).reshape(4, 2, 3)
    exchanged = exchange(values, jax.random.key(1))
    np.testing.assert_array_equal(np.sort(exchanged, -1), values)
    moved = np.asarray(exchanged != values)
    assert np.any(moved)
    assert np.all(moved[:, 0] == moved[:, 1])
    assert np.all(np.isin(moved.sum(-1), (0, 2)))
