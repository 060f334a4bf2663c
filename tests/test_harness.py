"""The harness catches planted faults and passes honest predictors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prediction
from tests.harness import Interventions, beats_bayes, gradient_leaks, losses

TASK = fc.get("linear-regression", dim=3, points=6, noise_std=0.4)
PROMPTS = TASK.batch(jax.random.key(0), 2048)
FEW = jax.tree.map(lambda a: a[:4], PROMPTS)


def of_future(prompt):
    """A label enters its own prediction, at a size no loss would show."""
    return Prediction(mean=TASK.bayes(prompt).mean + 1e-6 * prompt.ys)


def of_targets(prompt):
    return Prediction(mean=TASK.bayes(prompt).mean + prompt.scores - prompt.ys)


def of_latent(prompt):
    return Prediction(mean=TASK.bayes(prompt).mean + 1e-3 * prompt.latent[0])


def poisoned(prompt):
    """Changes no finite prediction, but one bad row anywhere spoils all of them."""
    return Prediction(mean=TASK.bayes(prompt).mean + 0 * jnp.sum(prompt.xs))


def test_bayes_is_honest_and_attentive():
    interventions = Interventions(TASK.bayes, FEW)
    assert interventions.leaks() == {"other": [], "huge": [], "nan": []}
    assert interventions.ignored() == []
    assert gradient_leaks(TASK.bayes, jax.tree.map(lambda a: a[0], FEW)) == []


def test_a_label_in_its_own_prediction_is_a_leak():
    queries = [(k, 0) for k in range(6)]
    assert Interventions(of_future, FEW).leaks() == {"other": queries, "huge": queries, "nan": queries}
    assert gradient_leaks(of_future, jax.tree.map(lambda a: a[0], FEW)) == [f"({k}, 0) <- y({k}, 0)" for k in range(6)]


def test_reading_targets_or_the_task_is_a_leak():
    targets = FEW.__class__(FEW.xs, FEW.ys, FEW.latent, FEW.ys + 1)
    assert Interventions(of_targets, targets).leaks()["other"]
    assert Interventions(of_latent, FEW).leaks()["other"]


def test_poison_by_nan_is_a_leak_that_finite_values_do_not_show():
    found = Interventions(poisoned, FEW).leaks()
    assert found["other"] == []
    assert found["nan"] == [(k, 0) for k in range(5)]


def test_a_predictor_that_ignores_the_context_is_told():
    ignored = Interventions(lambda p: Prediction(mean=p.xs[:, 0]), FEW).ignored()
    assert ignored == [f"y({k}, 0)" for k in range(5)]


def test_the_oracle_beats_bayes_and_a_wrong_prior_does_not():
    bayes = losses(TASK, PROMPTS, jax.vmap(TASK.bayes)(PROMPTS))
    cheat = losses(TASK, PROMPTS, jax.vmap(TASK.oracle)(PROMPTS))
    wrong = losses(TASK, PROMPTS, jax.vmap(fc.get("linear-regression", dim=3, noise_std=1.5).bayes)(PROMPTS))
    assert beats_bayes(cheat, bayes).beats
    assert not beats_bayes(wrong, bayes).beats
    assert not beats_bayes(bayes, bayes).beats
    assert beats_bayes(bayes, wrong).beats


def test_level_and_stated_power():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 2048, 16))
    false = np.mean([beats_bayes(d, np.zeros_like(d), level=0.1).beats for d in noise])
    assert false <= 0.1 + 4 * np.sqrt(0.09 / 400)
    shifted = noise.copy()
    shifted[:, :, 3] -= 0.14
    found = [beats_bayes(d, np.zeros_like(d)) for d in shifted]
    assert np.mean([v.beats for v in found]) >= 0.97
    assert {v.position for v in found if v.beats} == {3}


@pytest.mark.parametrize(("candidate", "bayes", "expected"), [(np.inf, 1.0, False), (1.0, np.inf, True)])
def test_infinite_losses_decide(candidate, bayes, expected):
    losses = np.zeros((2, 50, 3))
    losses[0, 7, 1], losses[1, 7, 1] = candidate, bayes
    assert beats_bayes(*losses).beats is expected


def test_a_gain_on_log_losses_that_a_rare_event_would_undo_is_none():
    """Bayes insures against what happens once in 10,000 prompts, the candidate does not: 2048 prompts without it show
    nothing. A fair coin against one who sees it is decided at once."""
    bayes = np.full((2048, 1), -np.log1p(-1e-4)) + 1e-7 * np.random.default_rng(0).normal(size=(2048, 1))
    assert beats_bayes(np.zeros((2048, 1)), bayes).beats
    assert not beats_bayes(np.zeros((2048, 1)), bayes, nats=True).beats
    assert beats_bayes(np.full((2048, 1), 0.1), np.random.default_rng(1).exponential(0.7, (2048, 1)), nats=True).beats


def test_ignored_says_nothing_of_what_is_alike_in_all_prompts():
    constant = fc.Prompt(FEW.xs.at[:, 0].set(1.0), FEW.ys.at[:, 2].set(0.5))
    found = Interventions(lambda prompt: Prediction(mean=jnp.zeros(prompt.points)), constant).ignored()
    assert found == [f"y({k}, 0)" for k in (0, 1, 3, 4)] + [f"x{j}" for j in range(1, 6)]
