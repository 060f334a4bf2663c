"""Code from elsewhere that takes part in training: it is another run when it changes, and an old run stays readable."""

import importlib
import importlib.metadata
import json
import re
import sys

import jax
import numpy as np
import pytest

import icl
from function_classes import ConfigError, origins, sources
from icl import custom
from icl.config import Config
from icl.console import reading
from icl.models.mixers import MixerConfig
from icl.runs.atomic import write_atomic
from icl.runs.errors import NotARun, NotFound
from icl.runs.strict_json import seal
from tests.faults.shell import icl as shell
from tests.faults.shell import talk
from tests.frozen.use_plugins import PLUGINS

TINY = {"points": 4, "dim": 2, "depth": 1, "width": 8, "heads": 2, "batch": 2, "steps": 1, "validation_prompts": 2}
MIXER = (PLUGINS / "my_mixer.py").read_text()
CLASS = (PLUGINS / "my_class.py").read_text()


def files(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return [folder / f"{name}.py" for name in texts]


def config(mixer, **settings) -> Config:
    return Config.create("linear-regression", **{**TINY, "model.mixer": mixer, **settings})


@pytest.fixture
def mixer(tmp_path):
    """A mixer of one's own, in a file with a helper beside it: (its name, the two files)."""
    name = tmp_path.name.replace("_", "-")
    text = MIXER.replace("my-mean", name).replace("import jax", f"import helper_of_{tmp_path.name}\nimport jax", 1)
    return name, *files(tmp_path, **{f"mixer_{tmp_path.name}": text, f"helper_of_{tmp_path.name}": "SCALE = 1.0\n"})


def edited(path, text: str) -> None:
    """A file changed, and what imports it seen by a new process."""
    path.write_text(text)
    sys.modules.pop(path.stem, None)
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.startswith("icl_custom_")]:
        del sys.modules[name]


def test_an_edited_file_is_another_run_and_an_unchanged_one_the_same(tmp_path, mixer):
    name, file, helper = mixer
    custom.load(file)
    first = icl.train(config(name), root=tmp_path)
    (plugin,) = first.directory.manifest["plugins"]
    assert (plugin["name"], plugin["file"], plugin["distribution"]) == (name, str(file), None)
    assert first.directory.config["model"]["mixer"]["name"] == f"{name}@{plugin['code']}"
    edited(file, file.read_text())
    custom.load(file)
    assert icl.train(config(name), root=tmp_path).path == first.path
    for path in (file, helper):
        edited(path, path.read_text() + "\nUNUSED = 1\n")
        custom.load(file)
        assert icl.train(config(name), root=tmp_path).path != first.path
    with pytest.raises(NotARun, match=rf"is not the code of {name} now \(.*icl --plugin .*{file.name}"):
        _ = icl.load(first.path).config


def test_its_name_is_typed_without_the_hash(tmp_path, mixer):
    """In a query, and where a setting names again what a run has: its fields stay."""
    name, file, _ = mixer
    custom.load(file)
    run = icl.train(config(name, **{"model.mixer": {"name": name, "scale": 0.5}}), root=tmp_path)
    assert icl.load(f"model.mixer.name={name}", tmp_path).path == run.path
    with pytest.raises(NotFound, match=r"no run has model\.mixer\.name"):
        icl.load(f"model.mixer.name={name}@0123456789", tmp_path)
    again = Config.from_tree(run.directory.config, {"model.mixer.name": name})
    assert again.identity == run.identity


def test_a_class_made_from_another_does_not_pass_for_it():
    softmax = MixerConfig.registry.find("softmax")
    with pytest.raises(ConfigError, match="mixer Mine is not registered and would pass for 'softmax'"):
        config(type("Mine", (softmax,), {"__module__": "elsewhere"})())


def test_a_class_registered_by_a_decorator_is_known_by_its_file(tmp_path):
    name = tmp_path.name.replace("_", "-")
    (file,) = files(tmp_path, task=CLASS.replace("my-constant", name))
    custom.load(file)
    sizes = {key: value for key, value in TINY.items() if key != "dim"}
    before = Config.create(name, **sizes)
    assert before.dump()["task"]["name"].startswith(f"{name}@")
    assert Config.from_tree(json.loads(json.dumps(before.dump()))).identity == before.identity
    edited(file, file.read_text().replace("latent * jnp.ones", "3 * latent * jnp.ones"))
    custom.load(file)
    assert Config.create(name, **sizes).identity != before.identity
    with pytest.raises(ConfigError, match="is not the code of"):
        Config.from_tree(before.dump())


def test_names_of_undecorated_classes_are_those_of_before_unless_they_use_a_helper(tmp_path):
    (alone,) = files(tmp_path, alone=CLASS.replace("my-constant", f"{tmp_path.name}-a"))
    found = custom.load(alone)["Doubled"]
    assert found.name == f"Doubled@{custom.hashlib.sha256(alone.read_bytes()).hexdigest()[:10]}"
    helper = f"more_{tmp_path.name}"
    using, _ = files(
        tmp_path,
        using=f"import {helper}\n" + CLASS.replace("my-constant", f"{tmp_path.name}-b"),
        **{helper: "TWO = 2\n"},
    )
    old = f"Doubled@{custom.hashlib.sha256(using.read_bytes()).hexdigest()[:10]}"
    found = custom.load(using)["Doubled"]
    assert found.name != old
    assert Config.create(old, **{k: v for k, v in TINY.items() if k != "dim"}).task.name == found.name


def test_an_installed_plugin_is_known_by_its_version(tmp_path, mixer, monkeypatch):
    name, file, _ = mixer
    monkeypatch.setattr(sources, "_installed", lambda: (tmp_path,))
    installed = ["1.0"]
    owners = {f"icl_custom_{custom.hashlib.sha256(file.read_bytes()).hexdigest()[:10]}": ["their-mixers"]}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: owners)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: installed[0])
    custom.load(file)
    first = config(name)
    assert first.origins[name].distribution == "their-mixers 1.0"
    edited(file, file.read_text())
    custom.load(file)
    assert config(name).identity == first.identity
    installed[0] = "1.1"
    edited(file, file.read_text())
    custom.load(file)
    assert config(name).identity != first.identity


def test_a_run_from_before_names_had_hashes_opens_and_goes_on_and_is_never_returned(tmp_path, mixer):
    """As such a run was written: names without a hash, and an identity of them."""
    name, file, _ = mixer
    custom.load(file)
    wanted = config(name, steps=4, log_every=1, checkpoint_every="1")
    tree = wanted.dump()
    tree["model"]["mixer"]["name"] = name
    run = icl.train(wanted, root=tmp_path / "new")
    identity = wanted.identity_as(tree)
    assert identity != wanted.identity
    old = tmp_path / f"linear-regression-{identity[:10]}"
    run.path.rename(old)
    text = (json.dumps(tree, indent=1) + "\n").encode()
    write_atomic(old / "config.json", text)
    manifest = {key: value for key, value in run.directory.manifest.items() if key not in ("plugins", "checksum")}
    words = {"identity": identity, "config_sha256": custom.hashlib.sha256(text).hexdigest()}
    write_atomic(old / "manifest.json", seal({**manifest, **words}))
    again = icl.load(old)
    assert not again.source_known
    assert "source unknown" in reading.listing(tmp_path, False)
    assert "source unknown" in reading.show(old.name, tmp_path, False)
    assert np.isfinite(np.asarray(again.model(again.task.sample(jax.random.key(0)).hide()).mean)).all()
    assert icl.train(wanted, root=tmp_path).path != old
    longer = icl.extend(again, 6)
    assert icl.train(longer, root=tmp_path / "longer").finished


def test_a_run_whose_plugin_is_missing_says_what_to_type(tmp_path):
    plugin, root = PLUGINS / "my_mixer.py", tmp_path / "my runs"
    words = ("run", "linear-regression", "--mixer", "my-mean", "--steps", 1, "--width", 8, "--depth", 1, "--no-report")
    done = shell("--plugin", plugin, *words, "--out", root)
    assert done.code == 0, done.err
    said = shell("show", "last", "--out", root)
    assert said.code == 0, said.err
    assert f"icl --plugin {plugin} ..." in said.out
    assert "unknown mixer 'my-mean@" in said.out


NET = """
import equinox as eqx
import jax
from function_classes import Prediction

class Net(eqx.Module):
    weight: jax.Array

    def __init__(self, task, *, key):
        self.weight = 0.1 * jax.random.normal(key, (task.x_space.features,))

    def __call__(self, prompt):
        return Prediction(mean=prompt.xs @ self.weight)

class Bare(eqx.Module):
    weight: jax.Array

    def __call__(self, prompt):
        return Prediction(mean=prompt.xs @ self.weight)

class Leaks(Net):
    def __call__(self, prompt):
        return Prediction(mean=prompt.ys * self.weight[0])

class Breaks(Net):
    def __init__(self, task, *, key):
        self.weight = task.no_such_thing
"""


def test_a_network_in_a_file_trains_from_the_shell(tmp_path):
    """With weights of its own for every seed, and opened again by --plugin."""
    (file,) = files(tmp_path, net=NET)
    words = ("--steps", 3, "--batch", 4, "--points", 4, "--prompts", 16, "--validation-prompts", 4, "--no-report")
    out = ("--out", tmp_path / "runs")
    done = shell("run", "linear-regression", "--model", f"{file}:Net", "--seeds", 2, *words, *out)
    assert done.code == 0, done.err
    custom.load(file)
    one, two = (icl.load(f"seed={seed}", tmp_path / "runs") for seed in (0, 1))
    assert one.directory.config["model"]["name"].startswith("Net@")
    assert one.source_known
    assert not np.array_equal(one.at(0).model.weight, two.at(0).model.weight)
    assert shell("--plugin", file, "evaluate", "last", "--prompts", 16, *out).code == 0


MISTAKES = {
    "": r"which model\? write .*net.py:Net or :Bare",
    ":Nett": "no model 'Nett' in .*; did you mean 'Net'",
    ":Bare": r"Bare is made as Bare\(task, key=key\): got an unexpected keyword argument 'key'",
    ":Leaks": "Leaks",
    ":Breaks": r"net.py, line \d+, in __init__",
}


def test_mistakes_in_a_network_are_named_before_training(tmp_path):
    (file,) = files(tmp_path, net=NET)
    sizes = ("--steps", 3, "--points", 4, "--out", tmp_path / "runs")
    commands = [("run", "linear-regression", "--model", f"{file}{word}", *sizes) for word in MISTAKES]
    for said, done in zip(MISTAKES.values(), talk(*commands), strict=True):
        assert done.code in (1, 2, 4), done
        assert re.search(said, done.err), done.err
        assert "defect of icl" not in done.err
    assert not list((tmp_path / "runs").glob("linear*"))


def test_lazy_and_relative_imports_are_found_without_importing_anything(tmp_path):
    package = tmp_path / f"pack_{tmp_path.name}"
    (package / "inner").mkdir(parents=True)
    for place, text in {
        "__init__": "raise SystemExit",
        "one": "from . import two\nfrom .inner.three import f\nimport numpy.linalg, json",
        "two": "",
        "inner/__init__": "",
        "inner/three": "def f():\n    from .. import two\n    import nowhere_at_all",
        "unused": "",
    }.items():
        (package / f"{place}.py").write_text(text)
    (file,) = files(tmp_path, start=f"def f():\n    import {package.name}.one as one\n")
    sys.path.append(str(tmp_path))
    try:
        found = origins.imported(file)
    finally:
        sys.path.remove(str(tmp_path))
    below = {name.removeprefix(package.name) for name in found}
    assert below == {"", ".one", ".two", ".inner", ".inner.three"}
    assert package.name not in sys.modules


def test_registering_another_thing_under_a_known_name_is_refused(tmp_path, mixer):
    name, file, _ = mixer
    custom.load(file)
    other = tmp_path / "other.py"
    other.write_text(file.read_text() + "\n")
    with pytest.raises(ValueError, match="already registered"):
        custom.load(other)
    assert MixerConfig.registry.origin(MixerConfig.registry.find(name)).file == str(file)
