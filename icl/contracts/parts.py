"""What references and the parts of a learner promise. A check raises AssertionError where it fails."""

import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from function_classes.base import FunctionClass, Prompt
from function_classes.spaces import Real, Signs
from icl.config import Config
from icl.contracts.interventions import Interventions
from icl.models.mixers.base import MixerConfig, Place
from icl.programs import predict
from icl.references.base import Reference
from icl.training.engine import Program

SIZES: dict[str, Any] = {"points": 4, "batch": 4, "steps": 2, "validation_prompts": 2}
STACK: dict[str, Any] = {"depth": 2, "width": 8, "heads": 2}
TOKENS, WIDTH = 6, 8


def reference_reads_nothing_that_is_revealed_later(reference: Reference, task: FunctionClass) -> None:
    _leaks_nothing(_settled(reference, task), task.batch(jax.random.key(0), 4), task.steps)


def reference_predicts_what_the_class_has(reference: Reference, task: FunctionClass) -> None:
    """Finite numbers of the right shape; probabilities that sum to 1."""
    prediction = predict(_settled(reference, task), task.batch(jax.random.key(1), 16).hide())
    for leaf in jax.tree.leaves(prediction):
        assert np.isfinite(leaf).all() or not isinstance(task.y_space, Real), "predictions that are not finite"
    if isinstance(task.y_space, Real):
        mean = prediction.as_mean(task.y_space)
        assert mean.shape[:2] == (16, task.points), f"means of shape {mean.shape[1:]} for {task.points} positions"
    elif prediction.log_probs is not None:
        total = np.exp(np.asarray(prediction.log_probs, float)).sum(-1)
        assert np.abs(total - 1).max() < 1e-5, f"probabilities that sum to {total.ravel()[0]:.4g}"
    else:
        assert isinstance(task.y_space, Signs), "labels need log_probs"


def mixer_is_one_function_in_both_forms(config: MixerConfig) -> None:
    """The parallel form, token after token, and on a prefix."""
    mixer = _moved(config.make(Place(width=WIDTH, heads=2, depth=1, length=TOKENS), key=jax.random.key(0)))
    x = jax.random.normal(jax.random.key(1), (TOKENS, WIDTH))

    def step(state: Any, row: jax.Array) -> tuple[Any, jax.Array]:
        y, state = mixer.step(row, state)
        return state, y

    whole, steps, prefix = jax.jit(
        lambda x: (mixer(x), jax.lax.scan(step, mixer.init_state(TOKENS), x)[1], mixer(x[: TOKENS - 2]))
    )(x)
    size = float(jnp.max(jnp.abs(whole)))
    for other, name in ((steps, "step after step"), (prefix, "on a prefix")):
        gap = float(jnp.max(jnp.abs(other - whole[: len(other)])))
        assert gap <= 1e-5 * size, f"outputs {name} differ from the parallel form by {gap / size:.2g} of the largest"


def learner_reads_nothing_that_is_revealed_later(config: Config) -> None:
    learner = config.model.make(config.task, key=jax.random.key(2))
    _leaks_nothing(learner, config.task.batch(jax.random.key(3), 2), config.task.steps)


def learner_trains(config: Config) -> None:
    """Two steps: a finite loss, and weights that have moved."""
    program = Program(config, devices=1)
    _, data = program.prepare([config], program.data([config]))
    before = program.start(data)
    after = program.chunk(program.start(data), 0, 2, data)
    assert bool(np.all(after.alive)), "the loss, or a gradient, is not finite"
    pairs = zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True)
    assert any(np.any(np.asarray(a) != np.asarray(b)) for a, b in pairs), "no weight moved in two steps"


def run_is_written_down_and_read_again(config: Config) -> None:
    again = Config.from_tree(json.loads(json.dumps(config.dump())))
    assert again.identity == config.identity, "the configuration comes back as another run"


LEARNER = (run_is_written_down_and_read_again, learner_reads_nothing_that_is_revealed_later, learner_trains)
REFERENCE = (reference_predicts_what_the_class_has, reference_reads_nothing_that_is_revealed_later)


def _leaks_nothing(predict: Any, prompts: Prompt, steps: int) -> None:
    leaks = Interventions(predict, prompts, steps).leaks()
    words = [f"{at} move when what is revealed later is {kind}" for kind, at in leaks.items() if at]
    assert not words, f"predictions (position, step) {'; '.join(words)}"


def _settled(reference: Reference, task: FunctionClass) -> Any:
    return reference.calibrate(task, jax.random.key(5), prompts=64)


def _moved(mixer: Any) -> Any:
    """With weights off their start, which may be 0."""
    noise = lambda a: a + 0.3 * jax.random.normal(jax.random.key(4), a.shape)  # noqa: E731
    return jax.tree.map(lambda a: noise(a) if eqx.is_inexact_array(a) else a, mixer)
