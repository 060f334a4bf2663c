"""Bandits: conjugate rules from counts in float64, and the probability of the best arm against sampled posteriors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc

BERNOULLI = fc.get("bandit", points=12, arms=3, alpha=0.5, beta=2.0)
GAUSSIAN = fc.get("bandit", points=12, arms=3, rewards="gaussian", scale=1.5, noise_std=0.7)


def seen(prompt, k, arm):
    return np.asarray(prompt.ys, np.float64)[:k][np.asarray(prompt.xs)[:k] == arm]


@pytest.mark.parametrize("seed", range(3))
def test_the_next_reward_is_a_rule_of_counts(seed):
    prompt = BERNOULLI.sample(jax.random.key(seed))
    found = np.exp(BERNOULLI.bayes(prompt).log_probs)
    for k in range(12):
        rewards = seen(prompt, k, prompt.xs[k])
        expected = (0.5 + rewards.sum()) / (2.5 + len(rewards))
        np.testing.assert_allclose(found[k], [1 - expected, expected], rtol=1e-5)
    prompt = GAUSSIAN.sample(jax.random.key(seed))
    bayes = GAUSSIAN.bayes(prompt)
    for k in range(12):
        rewards = seen(prompt, k, prompt.xs[k])
        variance = 1 / (1 / 1.5**2 + len(rewards) / 0.7**2)
        np.testing.assert_allclose(bayes.mean[k], variance * rewards.sum() / 0.7**2, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(bayes.variance[k], variance + 0.7**2, rtol=1e-5)


@pytest.mark.parametrize("task", [BERNOULLI, GAUSSIAN], ids=["bernoulli", "gaussian"])
def test_the_best_arm_is_that_of_sampled_posteriors(task):
    """Frequencies of the largest of 100,000 draws from the posterior of every arm."""
    prompt = task.sample(jax.random.key(5))
    found = np.asarray(jax.jit(task.best_arm_probs)(prompt))
    np.testing.assert_allclose(found[0], 1 / 3, atol=1e-4)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    random = np.random.default_rng(0)
    for k in (1, 4, 11):
        draws = []
        for arm in range(3):
            rewards = seen(prompt, k, arm)
            if task is BERNOULLI:
                draws.append(random.beta(0.5 + rewards.sum(), 2.0 + len(rewards) - rewards.sum(), 100_000))
            else:
                variance = 1 / (1 / 1.5**2 + len(rewards) / 0.7**2)
                draws.append(random.normal(variance * rewards.sum() / 0.7**2, variance**0.5, 100_000))
        share = np.bincount(np.argmax(draws, 0), minlength=3) / 100_000
        assert np.all(np.abs(found[k] - share) < 5 * 0.5 / np.sqrt(100_000) + 1e-3)


def test_the_best_of_two_uniform_arms_after_one_success():
    """p_0 ~ Beta(2, 1) against Beta(1, 1): P(p_0 > p_1) = E p_0 = 2/3. Two Gaussian arms: Phi of the gap."""
    task = fc.get("bandit", points=2, arms=2)
    prompt = fc.Prompt(jnp.array([0, 1], jnp.int32), jnp.array([1, 0], jnp.int32))
    np.testing.assert_allclose(task.best_arm_probs(prompt)[1], [2 / 3, 1 / 3], atol=1e-5)
    task = fc.get("bandit", points=2, arms=2, rewards="gaussian", scale=1.0, noise_std=1.0)
    prompt = fc.Prompt(jnp.array([0, 1], jnp.int32), jnp.array([1.0, 0.0]))
    # m_0 ~ N(1/2, 1/2), m_1 ~ N(0, 1): Phi(.5 / sqrt(1.5)) = .6585.
    np.testing.assert_allclose(task.best_arm_probs(prompt)[1, 0], 0.6585, atol=1e-4)


def test_policies():
    task = fc.get("bandit", points=8, arms=3, policy="rounds")
    xs = np.asarray(jax.jit(lambda key: task.batch(key, 200))(jax.random.key(0)).xs)
    np.testing.assert_array_equal(np.sort(xs[:, 3:6], 1), np.broadcast_to(np.arange(3), (200, 3)))
    assert len(np.unique(xs[:, :3], axis=0)) == 6
    xs = np.asarray(jax.jit(lambda key: BERNOULLI.batch(key, 2000))(jax.random.key(1)).xs)
    share = np.bincount(xs.reshape(-1), minlength=3) / xs.size
    assert np.all(np.abs(share - 1 / 3) < 5 * np.sqrt(2 / 9 / xs.size))
