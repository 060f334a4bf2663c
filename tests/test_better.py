"""Better than exact Bayes is a finding: tables, identification and reports say it, of nobody who is honest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import icl
from function_classes import Prediction, get
from icl import better, report
from icl.errors import Oracle

KEY = jax.random.key(3)
TASK = get("linear-regression", dim=2, points=5, noise_std=0.5)
STREAM = get("markov", points=6)
SAID = "a leak, or a wrong Bayes predictor"


def reads_its_label(prompt):
    mean = TASK.bayes(prompt).mean
    return Prediction(mean=mean + 0.3 * (prompt.ys - mean))


def reads_its_symbol(prompt):
    log_probs = STREAM.bayes(prompt).log_probs
    return Prediction(log_probs=jax.nn.log_softmax(log_probs + jax.nn.one_hot(prompt.ys, log_probs.shape[-1])))


def test_a_leak_is_said_in_the_table_and_an_oracle_or_a_reference_is_none():
    predictors = {name: one for name, one in icl.references.standard(TASK).items() if not name.startswith("gd")}
    predictors |= {"leak": reads_its_label, "bayes": TASK.bayes, "oracle": Oracle(TASK), "knows": TASK.oracle}
    table = icl.evaluate(predictors, TASK, key=KEY, prompts=256)
    assert [note for note in table.notes if SAID in note] == list(table.notes)
    assert len(table.notes) == 1
    assert table.notes[0].startswith("leak: better than exact Bayes by ")
    assert SAID in str(table)


@pytest.mark.parametrize(("task", "leak"), [(TASK, reads_its_label), (STREAM, reads_its_symbol)])
def test_identification_says_it(task, leak):
    found = icl.identify(leak, task, key=KEY, prompts=128)
    assert SAID in found.sentence()
    assert SAID in found.to_json()
    honest = icl.identify(task.bayes, task, key=KEY, prompts=128)
    assert honest.finding is None
    assert SAID not in honest.sentence()


def test_rounding_is_no_finding_and_an_infinite_loss_of_bayes_is_one():
    generator = np.random.default_rng(0)
    weight, scale = np.ones((64, 3, 1)), np.ones((3, 1))
    tiny = -1e-7 * np.abs(generator.normal(size=weight.shape))
    assert better.finding(tiny, weight, scale, nats=False, tests=1) is None
    assert better.finding(1e4 * tiny, weight, scale, nats=False, tests=1) is not None
    unscored = np.where(np.arange(3)[None, :, None] == 1, 0.0, weight)
    only = np.where(np.arange(3)[None, :, None] == 1, -1.0 + tiny, 0.0)
    assert better.finding(only, weight, scale, nats=False, tests=1) is not None
    assert better.finding(only, unscored, scale, nats=False, tests=1) is None
    infinite = np.zeros((64, 3, 1))
    infinite[0, 2] = -np.inf
    assert "position 2" in str(better.finding(infinite, weight, scale, nats=True, tests=1))
    infinite[0, 2] = np.nan
    assert better.finding(infinite, weight, scale, nats=True, tests=1) is None


def test_chance_is_no_finding():
    """Of 400 tables whose candidate is as good as Bayes, a level of 1e-3 finds .4 on average, and more than 3 with
    probability 8e-4. Many tests in one table share the level."""
    generator = np.random.default_rng(1)
    excess = generator.normal(size=(400, 128, 3, 1))
    said = [better.finding(one, np.ones_like(one), 0.0, nats=False, tests=1) for one in excess]
    assert sum(one is not None for one in said) <= 3
    small = -0.4 + generator.normal(size=(128, 3, 1))
    assert better.finding(small, np.ones_like(small), 0.0, nats=False, tests=1) is not None
    assert better.finding(small, np.ones_like(small), 0.0, nats=False, tests=10**9) is None


def test_the_report_of_a_run_says_it(tmp_path):
    run = icl.train(
        icl.Config.create(TASK, depth=1, width=8, heads=2, steps=1, batch=4, validation_prompts=4, prompts=64),
        root=tmp_path,
    )
    table = icl.evaluate({"model": reads_its_label}, TASK, key=KEY, prompts=64)
    found = icl.identify(reads_its_label, TASK, key=KEY, prompts=64)
    assert report.summarise(run, table, found).count(SAID) == 2
    assert jnp.isfinite(run.model(TASK.sample(KEY)).mean).all()
