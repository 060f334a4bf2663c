"""Early exits of networks whose layers are known: steps of descent, Newton iterations, or nothing of the kind."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
import probes
from function_classes import NotAvailable
from icl import layouts, references
from icl.layouts import Signature
from icl.models import Learner
from icl.models.constructions.gradient_descent import GradientDescentWeights
from icl.models.constructions.ridge import ShermanMorrison
from icl.models.heads import MeanHead
from icl.models.transformer import Transformer
from icl.references.newton import Newton
from icl.taps import tap
from probes import progress
from probes.early_exit import refit, streams

TASK = fc.get("linear-regression", dim=3, points=9, noise_std=0.3)
KEY = jax.random.key(0)
SIZES = {"train": 64, "steps": 32}


class Stage(eqx.Module):
    """What one layer says, in the first of two channels; the second is noise of the tokens."""

    count: int = eqx.field(static=True)
    kind: str = eqx.field(static=True)

    def __call__(self, tokens):
        # Layout `shifted`: token k is (x_k, y_{k-1}).
        xs, ys = tokens[:, :3], jnp.append(tokens[1:, 3], 0.0)
        said = self.says(fc.Prompt(xs, ys))
        return tap(jnp.stack([said, jnp.sin(5 * xs[:, 0])], -1), "residual")

    def says(self, prompt):
        if self.kind == "newton":
            return Newton(iterations=self.count, penalty=0.09)(prompt).mean
        if self.kind == "descent":
            return references.get("gradient-descent", steps=self.count, rate=0.3)(prompt).mean
        return jnp.sin(self.count * jnp.sum(prompt.xs, -1))


class Known(eqx.Module):
    stages: tuple[Stage, ...]

    def __call__(self, tokens, position_ids, visible=None, rows=None):
        tap(jnp.zeros((len(tokens), 2)), "residual")
        said = [stage(tokens) for stage in self.stages]
        return self.read_out(sum(said[:-1], 0 * said[0]) * 0 + said[-1])

    def read_out(self, x):
        return x[..., :1]


def learner(kind, counts):
    return Learner(
        Known(tuple(Stage(count, kind) for count in counts)), layouts.Shifted(), Signature.of(TASK), MeanHead()
    )


def measure(subject, prompts=64, **fields):
    return probes.get("early-exit", **SIZES | fields)(subject, task=TASK, key=KEY, prompts=prompts)


def steps(result, name, reading="own"):
    rows = result.table().where(metric=f"{name}_steps")
    return [v for v, who in zip(rows.value, rows["predictor"], strict=True) if who.startswith(reading)]


def test_layers_of_newton_are_found_with_their_iterations():
    result = measure(learner("newton", (1, 3, 5)))
    assert steps(result, "newton") == [1, 3, 5]
    own = result.answer.split("; ")[0]
    assert "along 1, 3, 5 iterations of Newton's method, nearer than" in own or own.endswith(
        "1, 3, 5 iterations of Newton's method"
    )
    left = result.table().where(metric="newton_left")
    assert np.all(left.value[:3] < 1e-6)
    assert result.decision == "newton"


def test_layers_of_descent_are_nearer_to_descent():
    result = measure(learner("descent", (2, 4, 12)))
    found = steps(result, "gradient_descent")
    assert found == sorted(found)
    assert "read-out: layers progress along" in result.answer.split("; ")[0]
    descent, newton = (result.table().where(metric=f"{n}_distance").value[:3] for n in ("gradient_descent", "newton"))
    assert descent.mean() < newton.mean()


def test_layers_that_do_something_else_are_on_no_curve():
    result = measure(learner("waves", (1, 2, 3)))
    assert result.answer.startswith("the network's own read-out: layers progress along neither curve")
    assert result.decision == "neither"
    assert np.all(result.table().where(metric="newton_left").value[:3] > 0.5)


def curve(steps, prompts=40):
    """Members whose predictions grow by 1 a step, at one position."""
    said = np.asarray(steps, float)[:, None, None] * np.ones((1, prompts, 1))
    return progress.Curve(np.asarray(steps), said, "")


@pytest.mark.parametrize(
    ("said", "first", "progresses"),
    [
        ((1, 2, 3), 0, True),
        ((3, 2, 1), 0, False),
        ((2, 2, 2), 0, False),
        ((9, 1, 3), 1, True),
        ((9, 9, 3), 2, False),
        ((1, 2, 9), 3, False),
        # All is said by the last layer: from nothing to a step is no progress along steps.
        ((0, 0, 2), 0, False),
    ],
)
def test_what_progress_means(said, first, progresses):
    """Nine stands for a layer that no member is near to."""
    layers = np.asarray(said, float)[:, None, None] * np.ones((1, 40, 1))
    layers[np.asarray(said) == 9] = np.resize([9.0, -9.0], 40)[None, :, None]
    found = progress.fit(layers, curve(range(4)))
    assert found.first == first
    assert found.progresses is progresses


@pytest.mark.parametrize(("apart", "progresses"), [(0.0, True), (0.5, None), (0.9, False)])
def test_changes_must_be_those_of_further_steps(apart, progresses):
    """Layers on the curve that differ from one another in what the members do not: after large numbers of steps a share
    of the mean square is more than a step."""
    rng = np.random.default_rng(0)
    layers = np.asarray([10.0, 11.0, 12.0])[:, None, None] * np.ones((1, 2000, 1))
    layers = layers + apart * rng.normal(size=layers.shape)
    found = progress.fit(layers, curve(range(14), 2000))
    assert found.first == 0
    assert max(found.left) < 0.02
    assert found.progresses is progresses
    fits = {"gradient_descent": found, "newton": found._replace(steps=(3, 3, 3))}
    assert progress.along(fits) == {True: ("gradient_descent",), None: None, False: ()}[progresses]


def test_of_two_curves_the_one_that_is_twice_as_near():
    near = progress.fit(np.asarray([1.0, 2.0])[:, None, None] * np.ones((1, 40, 1)), curve(range(4)))
    fits = {"gradient_descent": near._replace(left=(0.01, 0.01)), "newton": near._replace(left=(0.019, 0.019))}
    assert progress.along(fits) is None
    assert progress.along(fits | {"newton": near._replace(left=(0.021, 0.021))}) == ("gradient_descent",)
    assert progress.along(fits | {"gradient_descent": near._replace(left=(0.05, 0.05))}) == ("newton",)


def test_ridge_that_takes_in_an_example_after_another_is_no_newton():
    """Its layers are all near to Newton's late iterations, and were called so in three trials of four."""
    task = fc.get("linear-regression", dim=2, points=6, noise_std=0.6)
    ridge = ShermanMorrison(penalty=0.36).make(task)
    result = probes.get("early-exit", train=64)(ridge, task=task, key=KEY, prompts=64)
    assert result.decision == "neither"


def test_loops_of_linear_attention_are_read_in_passes_of_their_own():
    built = GradientDescentWeights(steps=3, rate=0.3).make(TASK)
    batch = TASK.batch(KEY, 4).hide()
    rows = streams(built, batch)
    assert rows.shape == (4, 4, 9, 4)
    for loop in range(4):
        said = np.asarray(built.network.read_out(rows[loop]))[..., 0]
        wanted = references.get("gradient-descent", steps=max(loop, 1), rate=0.3)
        means = np.asarray(jax.vmap(wanted)(batch).mean) * (loop > 0)
        np.testing.assert_allclose(said, means, atol=1e-5)


def test_the_last_exit_of_a_transformer_is_its_prediction():
    net = Transformer(depth=2, width=8, heads=2).make(TASK, key=KEY)
    batch = TASK.batch(KEY, 3).hide()
    rows = streams(net, batch)
    assert rows.shape == (3, 3, 9, 8)
    np.testing.assert_allclose(net.network.read_out(rows[-1])[..., 0], jax.vmap(net)(batch).mean, atol=1e-5)


def test_a_refitted_read_out_finds_a_rotated_answer_and_is_scored_on_others():
    rng = np.random.default_rng(0)
    seen, held = rng.normal(size=(2, 1, 50, 4, 6))
    weights = rng.normal(size=6)
    np.testing.assert_allclose(refit(seen, seen[0] @ weights + 2.0, held), held @ weights + 2.0, atol=1e-9)


def test_refusals():
    with pytest.raises(NotAvailable, match="not Ridge; try a transformer or attention-only"):
        measure(references.get("ridge"))
    with pytest.raises(NotAvailable, match="descent on a squared error"):
        probes.early_exit(references.get("null"), task=fc.get("markov"), key=KEY)
    with pytest.raises(fc.ConfigError, match="at most 24"):
        probes.get("early-exit", iterations=99)
