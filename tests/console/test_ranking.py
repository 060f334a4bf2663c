"""`icl rank`: cards of few steps, a mixer of the user's, and what is refused."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from function_classes.fields import ConfigError
from icl import ranking
from icl.console.ranking import report
from icl.models.mixers import MixerConfig

MINE = '''
import jax
from icl.models.mixers import Mixer, MixerConfig

class Doubled(Mixer):
    def __call__(self, x, visible=None):
        return 2 * x

    @property
    def width(self):
        return 8

@MixerConfig.registry.add("doubled-for-a-test")
class DoubledConfig(MixerConfig):
    """y = 2 x."""

    def make(self, place, *, key):
        return Doubled()
'''


@pytest.fixture
def short(monkeypatch):
    """One task of short streams, in networks as small as they come."""
    monkeypatch.setattr(ranking, "TASKS", {"averaging": ("markov", {"order": 0, "symbols": 2, "points": 4})})
    monkeypatch.setattr(ranking, "PROMPTS", 32)
    monkeypatch.setattr(ranking, "BATCH", 4)


def test_a_mixer_of_a_file_is_ranked_beside_softmax_and_identity(tmp_path, short):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    page = tmp_path / "page.md"
    cards = json.loads(report(file, None, 2, 2, "operations", page, True))
    assert [card["name"] for card in cards] == ["doubled-for-a-test", "softmax", "identity"]
    assert all(len(card["excess"]["averaging"]) == 2 for card in cards)
    assert all(card["operations"] <= cards[1]["operations"] for card in cards)
    assert "| `doubled-for-a-test` |" in page.read_text()


def test_learning_is_a_share_of_what_the_identity_leaves():
    given = {"a": [0.1, 0.2, 0.9], "identity": [1.0]}
    cards = [ranking.Card(name, "", "", 8, 1, 1.0, 1, {"averaging": excess}) for name, excess in given.items()]
    assert cards[0].learned("averaging", cards[1]) == pytest.approx(0.8)
    assert cards[1].learned("averaging", cards[1]) == 0


def test_what_came_otherwise_than_expected_is_said(monkeypatch):
    monkeypatch.setattr(ranking, "TASKS", {"averaging": (), "recency": ()})
    given = {"a": ("recency", 0.0, 0.9), "b": ("everything", 0.1, 0.1), "identity": ("nothing", 1.0, 1.0)}
    cards = [
        ranking.Card(name, expected, "", 8, 1, 1.0, 1, {"averaging": [first], "recency": [second]})
        for name, (expected, first, second) in given.items()
    ]
    words = "- `a`: not learned, though expected: recency (0.900); learned, though not expected: averaging (0.000)"
    assert ranking.surprises(cards) == words


def test_widths_are_the_largest_with_as_many_parameters():
    made = lambda width: ranking.config(MixerConfig.registry.get("mamba"), "averaging", width, 0)  # noqa: E731
    most = ranking.parameters(ranking.config(MixerConfig.registry.get("softmax"), "averaging", 16, 0))
    width = ranking.equal_width(made, most)
    assert ranking.parameters(made(width)) <= most < ranking.parameters(made(width + 8))


def test_operations_are_those_of_the_whole_network():
    """Without mixing they are the maps of every token, and what activations and norms add to them in the program."""
    config = ranking.config(MixerConfig.registry.get("identity"), "nearest neighbor", 16, 0)
    learner = config.model.make(config.task, key=jax.random.key(0))
    length, features = config.task.points, learner.layout.features(learner.signature)
    forward = jax.jit(lambda m, tokens: m.network(tokens, np.arange(length)))
    counted = forward.lower(learner, jnp.zeros((length, features))).cost_analysis()["flops"] / length
    found = ranking.operations(config)
    assert found == 2 * 16 * (features + 1 + 2 * 2 * 4 * 16)
    assert found <= counted <= found + 2 * 100 * 16


def test_unknown_mixers_and_files_without_one_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'parameters'"):
        report(None, None, 1, 1, "parameter", None, False)
    with pytest.raises(ConfigError, match="did you mean 'mamba'"):
        report(None, "mambo", 1, 1, "parameters", None, False)
    empty = tmp_path / "empty.py"
    empty.write_text("")
    with pytest.raises(ConfigError, match="registers no mixer"):
        report(empty, None, 1, 1, "parameters", None, False)
    with pytest.raises(
        ConfigError, match="no such file; a registered mixer is named with --only; did you mean 'mamba'"
    ):
        report(Path("mamb"), None, 1, 1, "parameters", None, False)
