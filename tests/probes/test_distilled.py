"""Distilled nets imitate their teacher and nobody else, and count where a decision is about the function alone."""

import jax
import numpy as np

from icl.programs import draw, predict
from icl.references.averaging import Averaging
from icl.references.ridge import Ridge
from probes.distilled import distilled
from probes.trials import ALL, Trial, cells
from probes.truths import CONSTRUCTION, DISTANCE, EXIT, TINY


def test_a_distilled_net_is_nearer_to_its_teacher_than_to_another():
    """Where both stand far apart: averaging overshoots, ridge at a large penalty says almost nothing."""
    prompts = draw(TINY, jax.random.key(1), 0, 256)
    teachers = [Averaging(), Ridge(penalty=100.0)]
    wanted = [np.asarray(predict(teacher, prompts).mean) for teacher in teachers]
    for index, teacher in enumerate(teachers):
        said = np.asarray(predict(distilled(teacher, TINY, jax.random.key(2), steps=150), prompts).mean)
        own, other = (np.mean((said - wanted[i]) ** 2) for i in (index, 1 - index))
        assert own < 0.5 * other
    again = np.asarray(predict(distilled(teachers[1], TINY, jax.random.key(3), steps=150), prompts).mean)
    assert np.max(np.abs(again - said)) > 1e-3


def test_distilled_nets_count_for_properties_of_the_function_alone():
    assert {cell.variant for cell in cells(DISTANCE)} == {"plain", "rotated", "distilled", "random"}
    for reading in (EXIT, CONSTRUCTION):
        assert {cell.variant for cell in cells(reading)} == {"plain", "rotated", "random"}


def test_a_distilled_net_is_trained_once_for_all_probes(monkeypatch):
    made = []
    monkeypatch.setattr("probes.known.distilled", lambda *given: made.append(given) or object())
    trial = Trial("kernel smoother", "distilled", 1099)
    assert trial.learner() is trial.learner()
    assert trial._replace(seed=1098).learner() is not trial.learner()
    assert len(made) == 2


def test_a_teacher_says_what_the_weights_set_by_hand_say():
    prompts = draw(TINY, jax.random.key(1), 0, 64)
    taught = {name: subject for name, subject in ALL.items() if subject.teacher is not None}
    assert {"ridge", "one step", "kernel smoother", "moment, squares"} <= set(taught)
    for subject in taught.values():
        task = subject.on(TINY)
        built, teacher = subject.build(task, jax.random.key(0)), subject.teacher(task)
        own, other = (np.asarray(predict(predictor, prompts).mean) for predictor in (built, teacher))
        np.testing.assert_allclose(own, other, atol=2e-5 * np.abs(other).max())
