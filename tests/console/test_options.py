"""Words to configurations."""

import pytest

from function_classes import ConfigError
from icl.console import options

FLAGS = ["--seeds", "--name", "--out"]


def configs(*words: str, task: str = "linear-regression", preset=None, file=None):
    return options.configs(task, options.pairs(list(words), FLAGS), preset, file)


def test_plain_flags_paths_and_equals_are_one_thing():
    a = configs("--depth", "2", "--noise-std=0.1")
    b = configs("--set", "model.depth=2", "--set", "task.noise_std=0.1")
    assert a == b
    assert a[0].model.depth == 2


def test_comma_lists_make_a_product_with_the_last_fastest():
    found = configs("--depth", "1,2", "--seed", "0,1")
    assert [(c.model.depth, c.seed) for c in found] == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_texts_keep_their_commas():
    assert configs("--checkpoint-every", "100,log:40")[0].training.checkpoint_every == "100,log:40"
    assert configs("--checkpoint-every", "500")[0].training.checkpoint_every == "500"


def test_order_of_settings_is_kept():
    assert configs("--set", "model.depth=2", "--depth", "3")[0].model.depth == 3


def test_flags_belong_to_the_model_that_is_chosen():
    words = ["--recurrent", "true", "--depth", "2", "--model", "attention-only", "--damping", "0.5,1"]
    found = configs(*words, "--set", "model.mixer.normalizer=count")
    assert [(c.model.name, c.model.recurrent, c.model.depth, c.model.damping) for c in found] == [
        ("attention-only", True, 2, 0.5),
        ("attention-only", True, 2, 1.0),
    ]
    assert {c.model.mixer.normalizer for c in found} == {"count"}
    with pytest.raises(ConfigError, match="recurrent"):
        configs("--recurrent", "true")


def test_numbers_as_people_write_them():
    (config,) = configs("--noise-std", ".5", "--set", "task.weight_std=2.")
    assert (config.task.noise_std, config.task.weight_std) == (0.5, 2.0)
    for word in ("inf", "nan", "1_0", ".", "5e"):
        with pytest.raises(ConfigError, match="noise_std"):
            configs("--noise-std", word)


def test_json_is_one_value():
    classes = '[{"name": "linear-regression", "dim": 4}, {"name": "sparse-linear", "dim": 4, "sparsity": 1}]'
    (config,) = configs("--set", f"task.classes={classes}", task="mixture")
    assert [(one.name, one.dim) for one in config.task.classes] == [("linear-regression", 4), ("sparse-linear", 4)]
    (config,) = configs("--set", 'task.tokenizer={"name": "blocks", "length": 3}', task="tokenized")
    assert (config.task.tokenizer.name, config.task.tokenizer.length) == ("blocks", 3)


def test_brackets_make_one_list_anywhere():
    (config,) = configs("--dim", "2", "--set", "task.inputs=diagonal", "--set", "task.inputs.eigenvalues=[2,0.5]")
    assert config.task.inputs.eigenvalues == (2.0, 0.5)


def test_toml_then_flags(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('[task]\nname = "linear-regression"\ndim = 7\n[model]\ndepth = 2\n')
    (config,) = configs("--dim", "8", task=None, file=file)
    assert (config.task.dim, config.model.depth) == (8, 2)


@pytest.mark.parametrize("text", ['lr = "fast"', "[model]\ndetph = 1", "[model]\ndepth = 1\ndepth = 2", "= 3"])
def test_bad_toml_is_refused_with_its_place(tmp_path, text):
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"lr|depth|TOML"):
        configs(file=file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dpeth", "3"], "depth"),
        (["depth=3"], "flag"),
        (["--depth"], "expects a value"),
        (["--depth", "--width", "3"], "--depth: expects a value"),
        (["--depth="], "--depth: expects a value"),
        (["--set"], "--set: expects a value"),
        (["--set", "model.depth"], "PATH=VALUE"),
        (["--set", "model.depth.x=1"], "depth"),
        (["--depth", "1,x"], "whole number"),
        (["--noise-std", "nan"], "number"),
    ],
)
def test_bad_words(words, said):
    with pytest.raises(ConfigError, match=said):
        configs(*words)


def test_a_switch_needs_no_value():
    plain, given = configs("--remat", "--depth", "1")[0], configs("--depth", "1", "--remat")[0]
    assert plain.training.remat
    assert given.training.remat
    assert not configs("--remat", "false")[0].training.remat
    words = ["--remat", "--depth", "4"]
    assert options.split(words[0], [*words[1:], "linear-regression"]) == ("linear-regression", words)


def test_negative_values_are_values():
    with pytest.raises(ConfigError, match="at least 0"):
        configs("--noise-std", "-1")


def test_help_names_every_setting():
    text = options.help_text("gaussian-process")
    for word in ("--lengthscale", "--depth", "--learning-rate", "--dims-start", "--prompts"):
        assert word in text
