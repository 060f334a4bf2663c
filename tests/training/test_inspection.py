"""Learners that read ahead are caught before training, and are told what they read."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import icl
from function_classes import NotAvailable, Prediction, get
from icl.training.inspection import reads_ahead
from tests.function_classes.test_own import Own

TASK = get("linear-regression", dim=2, points=5)
TINY = {"steps": 2, "batch": 4, "validation_prompts": 4, "optimizer": "sgd"}


class Reads(eqx.Module):
    """Begins at 0, whatever it reads."""

    weight: jax.Array
    what: str = eqx.field(static=True)

    def __call__(self, prompt):
        shown = prompt.ys
        before = jnp.concatenate([jnp.zeros(1), shown[:-1]])
        read = {
            "past": before,
            "average": jnp.cumsum(before),
            "label": shown,
            "mean": jnp.zeros(5) + shown.mean(),
            "next": jnp.concatenate([prompt.xs[1:, 0], jnp.zeros(1)]),
            "rounded": before + 1e-7 * shown.mean(),
            "faintly": jnp.cumsum(before) + 1e-2 * shown,
        }[self.what]
        return Prediction(mean=self.weight[0] * read)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("label", "reads its own label: prediction 0 changes with y_0, and may use x_0 alone"),
        ("mean", "reads its own label: prediction 0 changes with y_0 and y_1, and may use x_0 alone"),
        ("next", "reads ahead: prediction 0 changes with x_1, and may use x_0 alone"),
    ],
)
def test_a_learner_that_reads_ahead_is_refused_before_training(what, words, tmp_path):
    with pytest.raises(NotAvailable) as error:
        icl.train(task=TASK, model=Reads(jnp.zeros(1), what), root=tmp_path, **TINY)
    assert str(error.value) == f"model: Reads {words}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["past", "average", "rounded"])
def test_a_causal_one_is_not(what):
    assert reads_ahead(Reads(jnp.ones(1), what), TASK) is None


def test_a_faint_leak_is_found():
    """A hundredth of the label, beside what was seen: far above any rounding."""
    assert "reads its own label" in str(reads_ahead(Reads(jnp.ones(1), "faintly"), TASK))


def test_targets_and_several_steps():
    stream = get("markov", points=6)
    assert reads_ahead(stream.bayes, stream) is None
    ahead = lambda prompt: Prediction(log_probs=jax.nn.one_hot(jnp.roll(prompt.ys, -1), 3))  # noqa: E731
    assert "prediction 0 changes with y_1" in str(reads_ahead(ahead, stream))
    soft = get("linear-regression", dim=2, points=5)
    assert reads_ahead(soft.bayes, soft) is None


def test_a_class_that_draws_other_things_is_refused_before_training(tmp_path):
    for kind, words in (("nan", "ys with nan"), ("column", "ys of shape")):
        with pytest.raises(NotAvailable, match=words):
            icl.train(task=Own(kind=kind), root=tmp_path, **TINY, depth=1, width=8, heads=2)
    assert not list(tmp_path.iterdir())
