"""Distillation: the learner becomes its teacher, not Bayes; targets are the teacher's; refused before work starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import ConfigError, NotAvailable, Prompt
from function_classes.spaces import Signs
from icl import references, report
from icl.config import Config
from icl.console import options
from icl.programs import predict
from icl.references.base import Reference
from icl.runs.directory import State
from icl.training import teaching
from icl.training.engine import Program, program_key
from icl.training.session import run_all, train
from tests.training.test_session import contents

TINY = {"depth": 1, "width": 8, "heads": 2, "batch": 8, "log_every": 5, "validation_prompts": 16, "steps": 20}
TINY |= {"checkpoint_every": "5", "optimizer": "adam"}
LAYER = {"model": "attention-only", "model.mixer": "merged-linear", "optimizer": "adam", "learning_rate": 0.02}


def tiny(task: str = "linear-regression", **settings) -> Config:
    return Config.create(task, **{**TINY, "points": 4, **settings})


def trained(config: Config):
    """The learner after all steps, the prompts of the log, and its last numbers."""
    program = Program(config)
    data = program.data([config])
    validation, data = program.prepare([config], data)
    state = program.chunk(program.start(data), 0, config.training.steps, data)
    measured = program.validate(state.params, validation)
    first = lambda tree: jax.tree.map(lambda a: a[0], tree)  # noqa: E731
    return program.learner(first(state.params)), first(validation.prompts), measured


def test_a_layer_learns_the_optimum_of_its_teacher_and_not_that_of_the_labels():
    """One merged layer says c x' (1/N) sum y_i x_i. On labels the best c is N / (N + D + 1 + s^2); the one that is next
    to ridge with a large penalty p is near N / p, since that ridge is x'X'y / p to first order."""
    task = fc.get("linear-regression", dim=2, points=9, noise_std=0.5)
    fields = LAYER | {"steps": 400, "batch": 64, "validation_prompts": 256}
    ridge = references.get("ridge", penalty=40.0)
    learner, prompts, measured = trained(Config.create(task, teacher=ridge, **fields))
    means = [np.asarray(predict(f, prompts).mean)[:, -1] for f in (learner, ridge, task.bayes)]
    to_ridge, to_bayes = (float(np.mean((means[0] - other) ** 2)) for other in means[1:])
    apart = float(np.mean((means[1] - means[2]) ** 2))
    assert to_ridge < 0.05 * apart
    assert to_bayes > 0.5 * apart
    np.testing.assert_allclose(measured["excess"], measured["validation_loss"], rtol=1e-6)
    assert measured["excess"][0] == pytest.approx(to_ridge, rel=1e-3)


def every_teacher() -> list[tuple[str, fc.FunctionClass]]:
    tasks = fc.get("linear-regression", dim=2, points=4), fc.get("markov", points=5), fc.get("letter-digit", points=6)
    pairs = [(name, task) for name in references.names() for task in tasks]
    return [(n, t) for n, t in pairs if Reference.registry.find(n).example(t).applies(t) is None]


@pytest.mark.parametrize(("name", "task"), every_teacher(), ids=lambda value: getattr(value, "name", value))
def test_every_reference_can_teach(name, task):
    """Its settled form is arrays, the same for every seed; its targets are what a prediction of that class is."""
    teacher = teaching.settle(Reference.registry.find(name).example(task), task)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(teacher))
    prompts = task.batch(jax.random.key(1), 3)
    taught = jax.jit(lambda t, p: teaching.taught(p, t, task.y_space))(teacher, prompts)
    prediction = predict(teacher, prompts)
    if task.y_space.kind == "real":
        np.testing.assert_allclose(taught.scores, prediction.mean, atol=1e-5)
    else:
        np.testing.assert_allclose(taught.scores, jnp.exp(prediction.as_log_probs(task.y_space)), atol=1e-6)
        np.testing.assert_allclose(jnp.sum(taught.scores, -1), 1, atol=1e-5)
    np.testing.assert_array_equal(taught.ys, prompts.ys)


def test_numbers_of_a_teacher_come_from_the_class_alone():
    teacher = references.get("ridge", penalty="class")
    task = fc.get("linear-regression", dim=3, points=6, noise_std=1.0)
    found = [teaching.settle(teacher, task).penalty for _ in range(2)]
    assert found[0] == found[1]
    assert float(found[0]) == pytest.approx(1.0, rel=0.5)
    configs = [tiny(teacher=teacher, seed=seed) for seed in (0, 1)]
    program = Program(configs[0])
    _, data = program.prepare(configs, program.data(configs))
    assert data.teacher.penalty.shape == (2,)
    assert data.teacher.penalty[0] == data.teacher.penalty[1]


def test_signs_are_compared_with_probabilities():
    """A mean m of a sign says P(+) = (1 + m) / 2."""
    prompts = Prompt(jnp.ones((1, 2, 1)), jnp.array([[1.0, -1.0]]))
    taught = teaching.taught(prompts, lambda p: fc.Prediction(mean=jnp.array([0.5, -3.0])), Signs())
    np.testing.assert_allclose(taught.scores, [[[0.25, 0.75], [1.0, 0.0]]], atol=1e-7)


def test_excess_over_a_teacher_of_symbols_is_the_divergence():
    """The cross-entropy with the teacher exceeds the teacher's entropy by KL(teacher || learner) >= 0."""
    config = tiny("markov", teacher={"name": "k-gram", "order": 0}, steps=2)
    program = Program(config)
    validation, data = program.prepare([config], program.data([config]))
    prompts = jax.tree.map(lambda a: a[0], validation.prompts)
    learner = program.learner(jax.tree.map(lambda a: a[0], program.start(data).params))
    said, wanted = predict(learner, prompts).log_probs, jnp.log(prompts.targets)
    divergence = float(jnp.mean(jnp.sum(prompts.targets * (wanted - said), -1)))
    assert divergence > 0.01
    measured = program.validate(program.start(data).params, validation)
    assert float(measured["excess"][0]) == pytest.approx(divergence, rel=1e-4)
    unigram = references.get("k-gram", order=0).calibrate(config.task, jax.random.key(0))
    np.testing.assert_allclose(jnp.exp(predict(unigram, prompts).log_probs), prompts.targets, atol=1e-6)


def test_resume_is_bitwise(tmp_path):
    """A calibrated teacher's numbers are found again when the run is resumed."""
    config = tiny(teacher={"name": "ridge", "penalty": "class"})
    whole = train(config, root=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, root=tmp_path / "parts", watch=interrupt)
    (parts,) = run_all([config], root=tmp_path / "parts").runs
    assert parts.state is State.FINISHED
    assert contents(whole) == contents(parts)


def interrupt(progress) -> None:
    if progress.phase == "training" and 5 <= progress.step < 20:
        raise KeyboardInterrupt


def test_report_names_the_teacher(tmp_path):
    teacher, evaluation = {"name": "ridge", "penalty": 9.0}, {"evaluation.prompts": 32, "evaluation.references": "none"}
    run = train(tiny(teacher=teacher, **evaluation), root=tmp_path)
    made = report.make(run)
    assert "trained to imitate ridge-9" in (run.directory.report / "summary.txt").read_text()
    assert "teacher" in made.table["predictor"].tolist()


def test_identity_and_flags():
    """No teacher is what there was before the field; a teacher is science; its floats are data of one program."""
    plain, soft, hard = tiny(), tiny(teacher="ridge", **{"teacher.penalty": 0.5}), tiny(teacher="ridge")
    assert tiny(teacher=None).identity == plain.identity
    assert len({plain.identity, soft.identity, hard.identity}) == 3
    assert program_key(soft) == program_key(hard) != program_key(plain)
    assert Config.from_tree(soft.dump()) == soft
    words = ["--teacher", "ridge", "--teacher.penalty", "0.5,2"]
    found = options.configs("linear-regression", options.pairs(words, []), None, None)
    assert [c.training.teacher for c in found] == [references.get("ridge", penalty=p) for p in (0.5, 2.0)]
    other = references.get("bayes-of", task=fc.get("linear-regression", points=4, noise_std=2.0))
    assert tiny(teacher=other).training.teacher == other


def test_refusals():
    with pytest.raises(ConfigError, match=r"training\.teacher: ridge needs inputs, markov is a stream"):
        tiny("markov", teacher="ridge")
    with pytest.raises(ConfigError, match="unknown reference"):
        tiny(teacher="rige")
    assert "has no Bayes predictor" in references.get("bayes").applies(Unsolved())
    with pytest.raises(NotAvailable, match="calibrate"):
        references.get("bayes")(Prompt(jnp.ones((1, 1)), jnp.ones(1)))


class Unsolved(fc.FunctionClass):
    """A class that nobody has a posterior for."""

    points: int = 3
