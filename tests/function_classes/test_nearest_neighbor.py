"""Labels of the nearest earlier example, one example at a time in NumPy."""

import jax
import numpy as np

import function_classes as fc
from icl import references
from icl.programs import predict

TASK = fc.get("nearest-neighbor", dim=5, points=24, coins=6)
PROMPTS = TASK.batch(jax.random.key(0), 300)


def meaning(coins, xs):
    ys, copied = [], []
    for k, x in enumerate(xs):
        distance = [int((x != z).sum()) for z in xs[:k]]
        old = k >= len(coins) or (k > 0 and min(distance) == 0)
        ys.append(ys[distance.index(min(distance))] if old else coins[k])
        copied.append(old)
    return ys, copied


def test_labels_and_bayes_follow_from_the_definition():
    log_probs = np.asarray(jax.jit(jax.vmap(TASK.bayes))(PROMPTS).log_probs)
    early = 0
    for n, (coins, xs) in enumerate(zip(np.asarray(PROMPTS.latent), np.asarray(PROMPTS.xs), strict=True)):
        ys, copied = meaning(coins, xs)
        np.testing.assert_array_equal(PROMPTS.ys[n], ys)
        certain = np.stack([np.array(ys) < 0, np.array(ys) > 0], -1)
        np.testing.assert_allclose(np.exp(log_probs[n]), np.where(np.array(copied)[:, None], certain, 0.5), rtol=1e-6)
        early += sum(copied[:6])
    assert early > 0, "some of the first inputs are repeated, and their labels copied"


def test_one_nearest_neighbor_is_always_right_after_the_coins():
    for metric in ("hamming", "euclidean"):
        member = references.get("nearest-neighbors", neighbors=1, metric=metric)
        means = np.asarray(predict(member, PROMPTS).mean)
        np.testing.assert_array_equal(means[:, 6:], PROMPTS.ys[:, 6:])
