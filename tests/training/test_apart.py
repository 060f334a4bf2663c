"""A learner apart from its training: it opens without engine, trainer and optax, and whatever the optimizer left."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import icl
from icl.config import Config
from icl.console import evaluating, reading
from icl.handle import Run, load
from icl.models import given
from icl.models.outline import Outline
from icl.runs import checkpoints
from icl.runs.directory import RunDirectory, State
from icl.runs.errors import Incompatible
from icl.runs.index import describe, read_index
from icl.runs.leaves import name_leaves
from icl.runs.strict_json import seal, unseal
from icl.training.session import extend, fork, run_all, train
from icl.training.stored import loader
from tests.compiling import FAST
from tests.faults.shell import icl as shell
from tests.training.test_own_code import TASK, Parts, constants, given_by
from tests.training.test_own_code import TINY as OWN
from tests.training.test_session import tiny

TRAINING = ("icl.training.engine", "icl.training.trainer", "icl.training.session", "optax")
SENTENCE = "holds the optimizer state of another version of optax"


def of_another_optax(run: Run) -> None:
    """What optax may do from one version to the next: a leaf is gone, one has another name, one another shape; all of
    it sound. Bytes of the leaves stay where they are but for those of the leaf that is gone."""
    for path in checkpoints.list_checkpoints(run.directory.checkpoints).values():
        index, data = read_index(path), (path / "leaves.bin").read_bytes()
        kept, left, changed = [], [], 0
        for leaf in index.leaves:
            own, data = data[: leaf.bytes], data[leaf.bytes :]
            if leaf.path.startswith("optimizer."):
                changed += 1
                if changed == 1:
                    continue
                leaf = (
                    leaf._replace(path=f"{leaf.path}.renewed")
                    if changed == 2
                    else leaf._replace(shape=(1, *leaf.shape))
                )
            kept.append(leaf)
            left.append(own)
        assert changed >= 3
        (path / "leaves.bin").write_bytes(b"".join(left))
        (path / "index.json").write_bytes(describe(index._replace(leaves=tuple(kept))))
        checkpoints.verify(path)


def interrupt(run: Run, step: int) -> None:
    """The run as a signal at this step would have left it."""
    for path in [p for s, p in checkpoints.list_checkpoints(run.directory.checkpoints).items() if s > step]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    with run.directory.lock():
        run.directory.set_status(State.INTERRUPTED, step)


def copied(run: Run, root: Path) -> Run:
    shutil.copytree(run.path, root / run.path.name)
    return load(root / run.path.name)


def weights(run: Run) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(run.model) if isinstance(leaf, jax.Array)]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Run:
    """A run as it was written."""
    return train(tiny(), root=tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def aged(fresh, tmp_path_factory) -> Run:
    """The same run, whose optimizer state is of another version of optax."""
    run = copied(fresh, tmp_path_factory.mktemp("aged"))
    of_another_optax(run)
    return run


def test_the_model_opens_at_every_step_whatever_the_optimizer_left(fresh, aged):
    assert aged.steps == fresh.steps
    for step in fresh.steps:
        assert weights(aged.at(step)) == weights(fresh.at(step))
    assert aged.parameters == fresh.parameters
    assert [run.step for run in aged.trajectory()] == list(fresh.steps)


def test_it_is_measured_and_shown_as_before(fresh, aged):
    measured = [
        evaluating.evaluate(run.path.name, run.path.parent, None, [], None, None, 16, None, True)
        for run in (fresh, aged)
    ]
    assert measured[0] == measured[1]
    assert aged.path.name in reading.listing(aged.path.parent, False)
    assert train(tiny(), root=aged.path.parent).path == aged.path  # finished, so nothing has to go on


def test_what_goes_on_from_it_says_why_not_in_a_sentence(aged):
    """And makes nothing: no directory that would then be planned for ever."""
    root = aged.path.parent
    before = sorted(path.name for path in root.iterdir())
    for attempt in (
        lambda: extend(aged, 50),
        lambda: fork(aged, 10, {"training.learning_rate": 1e-4}),
    ):
        with pytest.raises(Incompatible, match=SENTENCE) as error:
            attempt()
        said = str(error.value)
        assert "icl show, evaluate, identify and probe work as before" in said
        assert "leaf" not in said
        assert said.count("\n") == 0
    assert sorted(path.name for path in root.iterdir()) == before


def test_resume_says_it_too(aged, tmp_path):
    run = copied(aged, tmp_path)
    interrupt(run, 10)
    said = shell("resume", run.path.name, "--out", tmp_path)
    assert said.code == 5
    assert said.err.splitlines()[-1].startswith("error: ")
    assert SENTENCE in said.err
    assert "Traceback" not in said.err
    with pytest.raises(Incompatible, match=SENTENCE):
        run_all([run.config], root=tmp_path)
    assert load(run.path).state is State.INTERRUPTED
    assert load(run.path).model(run.task.sample(jax.random.key(0))).mean.shape == (4,)


def test_the_sentence_names_both_versions(aged, tmp_path):
    """Where the manifest knows which one wrote the run."""
    run = copied(aged, tmp_path)
    manifest = run.directory.path / "manifest.json"
    fields = unseal(manifest.read_bytes(), manifest, 1)
    manifest.write_bytes(seal({**fields, "versions": {**fields["versions"], "optax": "0.1.9"}}))
    with pytest.raises(Incompatible, match=r"optax 0\.1\.9 wrote it"):
        extend(Run(RunDirectory.open(run.path)), 50)


def test_leaves_of_another_model_are_still_named(fresh, tmp_path):
    """A missing, an unknown and a reshaped parameter; nothing is said of the optimizer."""
    run = copied(fresh, tmp_path)
    path = checkpoints.directory_of(run.directory.checkpoints, 5)
    index = read_index(path)
    first, second = [leaf.path for leaf in index.leaves if leaf.path.startswith("params.")][:2]
    changes = {first: {"path": "params.unknown"}, second: {"shape": (1, 2, 3, 4)}}
    leaves = tuple(leaf._replace(**changes.get(leaf.path, {})) for leaf in index.leaves)
    (path / "index.json").write_bytes(describe(index._replace(leaves=leaves)))
    with pytest.raises(Incompatible) as error:
        _ = run.at(5).model
    for words in (f"missing leaf {first}", "unexpected leaf 'params.unknown'", f"leaf {second}: expected"):
        assert words in str(error.value)
    with pytest.raises(Incompatible, match="does not fit"):
        extend(run, 50, root=tmp_path / "longer")


def test_constants_are_part_of_the_learner(tmp_path):
    run = icl.train(task=TASK, model=Parts(1), root=tmp_path, **OWN)
    of_another_optax(run)
    assert constants(icl.load(run.path, model=Parts(2)).model) == given_by(1)


OPEN = """
import sys, icl.handle
known = lambda: [name for name in {training} if sys.modules.get(name) is not None]
print(known())
sys.modules["optax"] = None  # as where it is not installed
run = icl.handle.load(sys.argv[1])
import jax, icl
prompt = run.task.sample(jax.random.key(0))
print([one.model(prompt).mean.tolist() for one in (run.at(5), run)])
icl.evaluate({{"model": run.model}}, run.task, key=jax.random.key(1), prompts=8)
print(known())
"""


def test_a_run_opens_and_is_measured_without_engine_trainer_and_optax(fresh):
    done = subprocess.run(
        [sys.executable, "-c", OPEN.format(training=TRAINING), str(fresh.path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(icl.__file__).parents[1]), "XLA_FLAGS": FAST},
    )
    assert done.returncode == 0, done.stderr
    imported, read, measured = done.stdout.splitlines()
    assert imported == measured == "[]"
    prompt = fresh.task.sample(jax.random.key(0))
    expected = [run.model(prompt).mean for run in (fresh.at(5), fresh)]
    np.testing.assert_allclose(json.loads(read), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"model.head": "bars"},
        {"model": {"name": "looped"}},
        {"model": {"name": "given", "source": given.remember(Parts(1)).source}},
        {"training.remat": True, "model.mixer": "s5"},
        {"training.optimizer": "muon", "model.layout": {"name": "joint", "query": "last"}},
    ],
)
def test_an_outline_has_the_arrays_that_training_stores(settings):
    """Name by name, with shape and type: parameters and, where there are some, constants."""
    config = Config.create(TASK, steps=3, **settings)
    outline = Outline.of(config.model, config.task, config.training.remat)
    found = name_leaves({"params": outline.params, "constants": outline.constants})
    state = name_leaves(loader(config)[1])
    expected = {n: leaf for n, leaf in state.items() if n.startswith(("params.", "constants."))}
    assert {n: (leaf.shape, leaf.dtype) for n, leaf in found.items()} == {
        n: (leaf.shape, leaf.dtype) for n, leaf in expected.items()
    }
    assert outline.parameters == sum(leaf.size for n, leaf in expected.items() if n.startswith("params."))
