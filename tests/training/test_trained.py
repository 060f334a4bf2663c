"""A trained learner is held to what holds for every predictor: it never beats exact Bayes, and it does not leak."""

import jax
import numpy as np
import pytest

from icl.config import Config
from icl.programs import draw, predict
from icl.training.session import train
from tests.harness import Interventions, beats_bayes, losses

PROMPTS = 2048


@pytest.fixture(scope="module", params=["linear-regression", "markov"])
def run(request, tmp_path_factory):
    sizes = {"depth": 1, "width": 16, "heads": 2, "points": 6, "batch": 32, "steps": 150, "learning_rate": 5e-3}
    return train(Config.create(request.param, **sizes), root=tmp_path_factory.mktemp("runs"))


def test_it_learned_and_nobody_beats_bayes(run):
    batch = draw(run.task, jax.random.key(11), 0, PROMPTS)
    own, bayes = (losses(run.task, batch, predict(p, batch)) for p in (run.model, run.task.bayes))
    start = losses(run.task, batch, predict(run.at(0).model, batch))
    assert bayes.mean() < own.mean() < start.mean()
    assert not beats_bayes(own, bayes).beats
    assert beats_bayes(np.asarray(bayes) - 0.2 * bayes.std(), bayes).beats


def test_it_does_not_leak(run):
    batch = draw(run.task, jax.random.key(12), 0, 16)
    check = Interventions(lambda p: jax.tree.leaves(run.model(p)), batch, run.task.steps)
    assert not any(check.leaks().values())
    assert not check.ignored()
