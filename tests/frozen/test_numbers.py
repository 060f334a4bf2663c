"""One integer reproduces a run: the same seed gives the same prompts and weights as it always did.

A share of the classes and of the weights is drawn a day, `--full` draws all; streams and their keys always.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import icl
from function_classes import Prediction, Prompt
from icl import cli
from icl.config import Config
from icl.layouts import Signature
from icl.models import Learner
from tests.conftest import rotate
from tests.frozen import numbers, tables
from tests.frozen.tables import MISSING, VANISHED

TABLE = tables.read(numbers.TABLE)
BATCHES, STARTS = numbers.batches(), numbers.starts()
OTHER = (
    "{key}: {part} was {then}, is {now}: the same seed and configuration give other numbers, and no run can be "
    "continued or reproduced. Where that is meant, raise the version of what changed (then it is another run) and run "
    f"`{tables.ADD}`"
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument, known in (("batch", BATCHES), ("start", STARTS)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, rotate(metafunc.config, tuple(known), 6))


def check(key: str, now: dict[str, list[Any]]) -> None:
    assert key in TABLE, f"{key} {MISSING}"
    then = TABLE[key]
    assert set(then) == set(now), OTHER.format(key=key, part="its arrays", then=sorted(then), now=sorted(now))
    for part, words in then.items():
        assert numbers.agree(words, now[part]), OTHER.format(key=key, part=part, then=words, now=now[part])


def test_training_draws_what_it_always_drew(batch):
    check(batch, numbers.prompts(numbers.batch(BATCHES[batch])))


def test_weights_start_where_they_always_started(start):
    check(start, numbers.weights(STARTS[start]))


def test_everything_has_its_numbers():
    missing = [key for key in (*BATCHES, *STARTS, *numbers.keys()) if key not in TABLE]
    assert not missing, f"{missing} {MISSING}"
    now = {key.split(" @ ")[0] for key in (*BATCHES, *STARTS, *numbers.keys())}
    gone = {key.split(" @ ")[0] for key in TABLE if not key.startswith("prompts/")} - now
    assert not gone, f"{sorted(gone)} {VANISHED}"


@pytest.mark.parametrize("key", numbers.keys())
def test_streams_have_the_keys_they_always_had(key):
    assert numbers.keys()[key] == TABLE[key], OTHER.format(key=key, part="key", then=TABLE[key], now="another")


SEEN: list[np.ndarray] = []


class Spy(Learner):
    """A learner of one number, its network, that notes every prompt it is shown."""

    def __call__(self, prompt: Prompt) -> Prediction:
        jax.debug.callback(lambda ys: SEEN.append(np.asarray(ys)), prompt.ys)
        return Prediction(mean=self.network * jnp.ones_like(prompt.ys))

    def batched(self, prompts: Prompt) -> Prediction:
        return jax.vmap(lambda prompt: self(prompt))(prompts.hide())


def spy(config: Config) -> Spy:
    model = config.model
    return Spy(jnp.asarray(0.5), model.layout, Signature.of(config.task), model.head.make(config.task))


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> dict[str, list[np.ndarray]]:
    """What a learner sees in training and in every command that measures it, as a user would type them."""
    root, found, patch = tmp_path_factory.mktemp("watched"), {}, pytest.MonkeyPatch()
    patch.setenv("ICL_CACHE", "none")

    def note(name: str, act: Any) -> None:
        SEEN.clear()
        act()
        jax.effects_barrier()
        found[name] = list(SEEN)

    def command(*words: str) -> None:
        patch.setattr(sys, "argv", ["icl", *words, "--out", str(root)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code

    config = numbers.watched()
    settings = {f"training.{name}": getattr(config.training, name) for name in ("steps", "batch", "validation_prompts")}
    settings |= {"evaluation.prompts": 4, "evaluation.references": "none", "training.checkpoint_every": "none"}
    given = {"task": config.task, "model": spy(config), "seed": config.seed}
    with patch.context():
        note("train", lambda: icl.train(root=root, **given, **settings))
        note("report", lambda: command("show"))
        note("evaluate", lambda: command("evaluate", "last", "--prompts", "4"))
        note("identify", lambda: command("identify", "last", "--prompts", "16"))
    patch.undo()
    return found


@pytest.mark.parametrize(
    ("act", "streams"),
    [
        ("train", ("training", "first step of training", "validation")),
        ("report", ("evaluation", "identification")),
        ("evaluate", ("evaluation",)),
        ("identify", ("identification",)),
    ],
)
def test_every_act_shows_the_prompts_of_its_own_streams(shown, act, streams):
    """The first prompts of its streams are among what is shown, and those of no other stream are."""
    assert shown[act]
    for name in numbers.STREAMS:
        words = TABLE[f"prompts/{name}"]["ys"]
        count = int(np.prod(words[0][1:]))
        wanted = np.asarray(words[1 : min(count, 8) + 1])
        near = [np.allclose(np.ravel(ys)[: wanted.size], wanted, atol=numbers.TOLERANCE) for ys in shown[act]]
        assert any(near) == (name in streams), f"{act} shows prompts of another stream than it did: {name}"


def test_first_prompts_of_every_stream():
    for key, now in numbers.streams().items():
        check(key, now)
