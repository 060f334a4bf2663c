"""How rarely no conjunction is inside another: against all formulas, and against what is drawn."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes.teaching import antichain, antichain_share


@pytest.mark.parametrize(("terms", "dim", "literal"), [(2, 3, 0.5), (3, 3, 0.01), (3, 4, 0.9), (4, 3, 0.4)])
def test_the_share_of_antichains_is_that_of_all_formulas(terms, dim, literal):
    share = 0.0
    for sets in itertools.product(range(2**dim), repeat=terms):
        if all(a & ~b for a, b in itertools.permutations(sets, 2)):
            size = sum(each.bit_count() for each in sets)
            share += literal**size * (1 - literal) ** (terms * dim - size)
    assert antichain_share(terms, dim, literal) == pytest.approx(share, rel=1e-9)


def test_shares_of_many_conjunctions_are_those_of_the_draws():
    """Five are counted, six over many variables bounded from below."""
    for terms, dim, bounded in ((5, 10, False), (6, 28, True)):
        task = fc.get("dnf", dim=dim, terms=terms, literal=0.2, monotone=True)
        drawn = jax.jit(jax.vmap(lambda key, task=task: antichain(task.sample_terms(key))))
        found = float(np.mean(drawn(jax.random.split(jax.random.key(0), 20_000))))
        share = antichain_share(terms, dim, 0.2)
        assert share < found + 0.01
        assert bounded or share > found - 0.01


def test_formulas_at_the_rarest_share_are_drawn():
    task = fc.get("dnf", dim=3, terms=3, literal=0.07, monotone=True, teaching="first", points=10)
    assert 1e-3 < antichain_share(3, 3, 0.07) < 1.5e-3
    assert jnp.all(
        jax.jit(jax.vmap(antichain))(jax.jit(lambda key: task.batch(key, 64))(jax.random.key(1)).latent.terms)
    )
