"""Cellular automata: Wolfram's and Conway's rules by hand, coverage of the table, and densities of whole states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt


def step_ring(rule, row, radius):
    """One step, cell by cell, of Wolfram's code `rule`."""
    width = len(row)
    codes = [sum(row[(i + d) % width] << (radius - d) for d in range(-radius, radius + 1)) for i in range(width)]
    return [rule >> code & 1 for code in codes]


@pytest.mark.parametrize(("rule", "radius"), [(110, 1), (30, 1), (2863311530, 2), (2, 0)])
def test_elementary_rules_by_hand(rule, radius):
    task = fc.get("cellular-automaton", cells=9, radius=radius)
    bits = np.array([rule >> i & 1 for i in range(task.entries)], bool)
    rows = np.random.default_rng(0).integers(0, 2, (4, 9))
    found = task.evaluate(jnp.asarray(bits), jnp.asarray(2.0 * rows - 1))
    np.testing.assert_array_equal(
        (np.asarray(found) + 1) / 2, [step_ring(rule, [int(b) for b in r], radius) for r in rows]
    )


def test_conway_by_hand():
    """A blinker turns, a block stays, and each cell obeys birth 3, survival 2 and 3, on a torus."""
    task = fc.get("cellular-automaton", rules="life-like", cells=6)
    rule = jnp.zeros(18, bool).at[jnp.array([3, 9 + 2, 9 + 3])].set(True)
    grid = np.random.default_rng(1).integers(0, 2, (5, 6, 6))
    found = (np.asarray(task.evaluate(rule, jnp.asarray(2.0 * grid - 1))) + 1) / 2
    for now, after in zip(grid, found, strict=True):
        for i in range(6):
            for j in range(6):
                around = sum(now[(i + a) % 6, (j + b) % 6] for a in (-1, 0, 1) for b in (-1, 0, 1)) - now[i, j]
                assert after[i, j] == (around == 3 or (now[i, j] and around == 2))


def test_next_density_of_conway():
    """[calc] at density 1/2 a cell lives next with probability 70 / 256."""
    task = fc.get("cellular-automaton", rules="life-like", cells=8, points=1)
    rule = jnp.zeros(18, bool).at[jnp.array([3, 9 + 2, 9 + 3])].set(True)
    xs = jax.vmap(lambda k: task.sample_inputs(rule, k)[0])(jax.random.split(jax.random.key(0), 2000))
    living = (np.asarray(task.evaluate(rule, xs)) > 0).mean((1, 2))
    assert abs(living.mean() - 70 / 256) < 5 * living.std() / np.sqrt(len(living))


def test_accuracy_is_half_of_what_was_not_seen():
    """Cells one by one: a ring of 3 cells in which a fresh uniform state shows 3 neighborhoods; over prompts, accuracy
    at k is 1 - P(not seen) / 2, with P from enumeration of the 8 states."""
    task = fc.get("cellular-automaton", cells=3, points=5)
    states = [[s >> i & 1 for i in range(3)] for s in range(8)]
    read = [{4 * s[i - 1] + 2 * s[i] + s[(i + 1) % 3] for i in range(3)} for s in states]
    miss = np.array([np.mean([code not in seen for seen in read]) for code in range(8)])
    prompts = task.batch(jax.random.key(1), 4000)
    probs = np.exp(jax.jit(jax.vmap(task.bayes))(prompts).log_probs)
    right = np.take_along_axis(probs, (np.asarray(prompts.ys) > 0).astype(int)[..., None], -1)[..., 0].mean(2)
    for k in range(5):
        expected = 1 - np.mean(miss**k) / 2
        assert abs(right[:, k].mean() - expected) < 5 * right[:, k].std() / np.sqrt(len(right)) + 1e-6


def test_evidence_counts_every_entry_once():
    """p(all states) = 2^-(different entries read): cells that share an entry are one coin."""
    for fields in ({"cells": 6}, {"rules": "life-like", "cells": 4}):
        task = fc.get("cellular-automaton", points=4, **fields)
        prompt = task.sample(jax.random.key(2))
        read = len(np.unique(task.neighborhoods(prompt.xs)))
        np.testing.assert_allclose(task.log_evidence(prompt), -read * np.log(2), rtol=1e-6)


def test_contradictions_are_impossible():
    task = fc.get("cellular-automaton", cells=4, points=2)
    same = jnp.ones((2, 4))
    within = Prompt(same, same.at[0, 0].set(-1))
    assert np.isneginf(task.log_predictive(within)[0])
    later = Prompt(same, same.at[1].set(-1))
    np.testing.assert_allclose(task.log_predictive(later), [-np.log(2), -np.inf], rtol=1e-6)


def test_broad_states_have_every_density():
    """Number of living cells of 8 is uniform on 0..8 when the density is uniform."""
    task = fc.get("cellular-automaton", density=None, points=4)
    counts = (np.asarray(task.batch(jax.random.key(3), 2000).xs) > 0).sum(2).ravel()
    shares = np.bincount(counts, minlength=9) / counts.size
    np.testing.assert_allclose(shares, 1 / 9, atol=5 * np.sqrt(1 / 9 / counts.size))


def test_a_ring_smaller_than_its_neighborhood_is_refused():
    with pytest.raises(fc.ConfigError, match="5 different cells, got 4"):
        fc.get("cellular-automaton", cells=4, radius=2)
