"""Markov chains against Gamma functions, entropies in closed form, and tables of the excess of simple rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma

import function_classes as fc
from function_classes.counts import context_codes, kgram_log_probs
from tests.function_classes.twins import markov_evidence

CHAIN = fc.get("markov", points=20, symbols=3, order=2, alpha=0.5)


def test_log_predictive_sums_to_the_gamma_function_evidence():
    prompts = CHAIN.batch(jax.random.key(0), 16)
    sums = jax.vmap(CHAIN.log_evidence)(prompts)
    expected = [markov_evidence(ys, 3, 2, 0.5) for ys in np.asarray(prompts.ys)]
    np.testing.assert_allclose(sums, expected, rtol=1e-5)


def test_add_alpha_rule_by_hand():
    ys = jnp.array([0, 1, 0, 1, 1])
    probs = np.exp(kgram_log_probs(ys, 2, 1, 0.5))
    expected = [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5 / 2, 1.5 / 2], [1.5 / 2, 0.5 / 2]]
    np.testing.assert_allclose(probs, expected, rtol=1e-6)
    np.testing.assert_allclose(np.exp(kgram_log_probs(ys, 2, 0, 1.0))[3], [3 / 5, 2 / 5], rtol=1e-6)


def test_context_codes_are_digits_with_the_latest_symbol_last():
    codes = context_codes(jnp.array([2, 0, 1, 2]), 3, 2)
    np.testing.assert_array_equal(codes, [0, 2, 2 * 3 + 0, 0 * 3 + 1])


@pytest.mark.parametrize(
    ("symbols", "alpha", "entropy"), [(2, 1.0, 0.5), (3, 1.0, 0.8333), (8, 1.0, 1.7179), (10, 0.1, 0.8465)]
)
def test_row_entropy(symbols, alpha, entropy):
    """E H(P_s) = psi(S alpha + 1) - psi(alpha + 1)."""
    task = fc.get("markov", symbols=symbols, alpha=alpha, points=4)
    rows = np.asarray(jax.vmap(task.sample_latent)(jax.random.split(jax.random.key(1), 4000)), np.float64)
    entropies = -np.sum(rows * np.log(np.maximum(rows, 1e-30)), -1).mean(1)
    assert abs(digamma(symbols * alpha + 1) - digamma(alpha + 1) - entropy) < 6e-5
    assert abs(entropies.mean() - entropy) < 5 * entropies.std() / np.sqrt(len(entropies)) + 1e-4


# Mean KL(true row || rule) after t transitions, alpha = 1, uniform start: t, add-one bigram, add-one unigram, uniform.
TABLE = {
    2: ((0, 0.194, 0.254, 0.194), (4, 0.104, 0.153, 0.211), (9, 0.066, 0.122, 0.212), (24, 0.0325, 0.102, 0.213),
        (49, 0.0175, 0.092, 0.213), (99, 0.0091, 0.0876, 0.213)),
    3: ((0, 0.265, 0.322, 0.265), (4, 0.189, 0.255, 0.277), (9, 0.141, 0.226, 0.279), (24, 0.0806, 0.194, 0.280),
        (49, 0.0477, 0.180, 0.279), (99, 0.0266, 0.170, 0.280)),
    8: ((0, 0.362, 0.393, 0.362), (4, 0.342, 0.423, 0.363), (9, 0.321, 0.427, 0.363), (24, 0.270, 0.400, 0.362),
        (49, 0.216, 0.367, 0.363), (99, 0.154, 0.340, 0.363)),
}  # fmt: skip


@pytest.mark.parametrize("symbols", TABLE)
def test_excess_of_bigram_unigram_and_uniform(symbols):
    """[calc], 40,000 streams (8 symbols: 20,000); within 5 standard errors of ours plus 1 % and the last digit."""
    task = fc.get("markov", symbols=symbols, points=101)

    @jax.jit
    def excess(prompts):
        def one(prompt):
            truth = task.oracle(prompt).log_probs
            unigram = kgram_log_probs(prompt.ys, symbols, 0, 1.0)
            rules = jnp.stack([task.bayes(prompt).log_probs, unigram, jnp.full_like(unigram, -np.log(symbols))])
            return jnp.sum(jnp.where(truth[None] > -80, jnp.exp(truth)[None] * (truth[None] - rules), 0.0), -1)

        return jax.vmap(one)(prompts)

    found = np.asarray(excess(jax.jit(lambda key: task.batch(key, 4000))(jax.random.key(2))), np.float64)
    for t, *expected in TABLE[symbols]:
        here = found[:, :, t + 1]
        margin = 5 * here.std(0) / np.sqrt(len(here)) + 0.01 * np.array(expected) + 5e-4
        assert np.all(np.abs(here.mean(0) - expected) < margin), (t, here.mean(0), expected)


def test_first_symbols_are_uniform_and_rows_are_the_latent():
    """The start carries no evidence; transitions have the frequencies of the table."""
    task = fc.get("markov", symbols=3, order=2, points=3)
    table = task.sample_latent(jax.random.key(5))
    ys = np.asarray(jax.vmap(lambda k: task.sample_prompt(table, k).ys)(jax.random.split(jax.random.key(6), 18000)))
    starts = np.bincount(ys[:, 0] * 3 + ys[:, 1], minlength=9) / len(ys)
    np.testing.assert_allclose(starts, 1 / 9, atol=5 * np.sqrt(1 / 9 / len(ys)))
    for context in range(9):
        after = ys[ys[:, 0] * 3 + ys[:, 1] == context, 2]
        found = np.bincount(after, minlength=3) / len(after)
        np.testing.assert_allclose(found, table[context], atol=5 * 0.5 / np.sqrt(len(after)))


def test_a_table_that_would_not_fit_is_refused():
    with pytest.raises(fc.ConfigError, match="transition table"):
        fc.get("markov", symbols=10, order=9)
