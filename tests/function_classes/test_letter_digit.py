"""Letter-digit streams against their definition, their evidence, and the accuracy of two simple rules."""

import jax
import numpy as np

import function_classes as fc
from tests.function_classes.twins import letter_digit_evidence

TASK = fc.get("letter-digit", points=10, letters=4)
PROMPTS = TASK.batch(jax.random.key(0), 4096)
YS, TARGETS, SCORED = (np.asarray(a) for a in (PROMPTS.ys, PROMPTS.targets, PROMPTS.scored))


def meaning(ys):
    """Targets and weights by reading the stream aloud."""
    known, targets, scored = {}, list(ys), [0.0] * len(ys)
    for k in range(1, len(ys)):
        if ys[k - 1] < 4:
            scored[k], targets[k] = 1.0, known.get(ys[k - 1], 8)
            known[ys[k - 1]] = ys[k]
    return targets, scored


def test_targets_and_weights_follow_from_the_stream():
    for ys, targets, scored in zip(YS[:200], TARGETS, SCORED, strict=False):
        assert meaning(list(ys)) == (list(targets), list(scored))


def test_streams_are_pairs_in_either_phase():
    phase = (YS[:, 0] >= 4).astype(int)
    assert abs(phase.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(YS))
    position = np.arange(10)
    letters = (position[None, :] >= phase[:, None]) & ((position[None, :] - phase[:, None]) % 2 == 0)
    np.testing.assert_array_equal(YS < 4, letters)
    assert np.all(YS < 8)
    np.testing.assert_array_equal(SCORED.sum(1), 5 - phase)


def test_digits_come_from_the_map_with_replacement():
    maps = np.asarray(PROMPTS.latent)
    letters, digits = YS[:, :-1], YS[:, 1:]
    rows, columns = np.nonzero(letters < 4)
    np.testing.assert_array_equal(digits[rows, columns], maps[rows, letters[rows, columns]])
    distinct = np.mean([len(set(m)) == 4 for m in maps])
    assert abs(distinct - 24 / 256) < 5 * np.sqrt(24 / 256 / len(maps))


def test_bayes_is_always_right_and_unknown_is_right_on_new_letters():
    """Accuracy of "unknown" on the j-th letter is (3/4)^(j-1): .684 over four letters, .610 over five [calc]."""
    log_probs = np.asarray(jax.vmap(TASK.bayes)(PROMPTS).log_probs)
    asked = SCORED > 0
    assert np.all(np.take_along_axis(log_probs, TARGETS[..., None], -1)[..., 0][asked] == 0)
    for phase, expected in ((0, 0.610), (1, 0.684)):
        chosen = (YS[:, 0] >= 4) == phase
        unknown = (TARGETS == 8).sum(1)[chosen] / (5 - phase)
        assert abs(unknown.mean() - expected) < 5 * unknown.std() / np.sqrt(chosen.sum()) + 5e-4


def test_log_predictive_sums_to_the_evidence():
    sums = jax.vmap(TASK.log_evidence)(PROMPTS)
    np.testing.assert_allclose(sums, [letter_digit_evidence(ys, 4) for ys in YS], rtol=1e-5)


def test_a_contradicting_digit_is_impossible():
    changed = jax.tree.map(lambda a: a[0], PROMPTS)
    ys = np.array([0, 5, 0, 6], np.int32)
    prompt = fc.Prompt(changed.xs[:4], jax.numpy.asarray(ys))
    assert TASK.log_predictive(prompt)[3] == -np.inf
    assert letter_digit_evidence(ys, 4) == -np.inf
