"""Classes and modules of the user's own: whatever they hold, wherever they were typed."""

import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import icl
from function_classes import NotAvailable, Prediction, get, sources
from icl.config import Config
from icl.console import reading
from icl.models import given
from icl.models.base import ModelConfig
from icl.runs.leaves import name_leaves
from icl.training.engine import Program
from tests.cells import CLASS, MODULE

TASK = get("linear-regression", dim=2, points=4)
TINY = {"steps": 6, "batch": 8, "log_every": 3, "validation_prompts": 8, "checkpoint_every": "3", "optimizer": "adam"}
TYPED = CLASS.format(factor=1) + MODULE


class Parts(eqx.Module):
    """Predicts from the inputs alone, and holds every kind of array."""

    weight: jax.Array
    causal: jax.Array
    forbidden: jax.Array
    order: np.ndarray
    count: jax.Array
    key: jax.Array
    lines: np.ndarray

    def __init__(self, seed: int):
        self.weight = jnp.zeros(2)
        self.causal = jnp.tril(jnp.ones((4, 4), bool), seed)
        self.forbidden = jnp.where(jnp.eye(4, dtype=bool), -jnp.inf, float(seed))
        self.order = np.random.default_rng(seed).permutation(2)
        self.count = jnp.asarray(seed, jnp.int32)
        self.key = jax.random.key(seed)
        self.lines = np.full(2, 0.5)  # NumPy's floats are parameters as JAX's are

    def __call__(self, prompt):
        noise = jax.random.normal(self.key, (4,)) + self.count.astype(jnp.float32)
        shift = jnp.where(jnp.isfinite(self.forbidden), self.forbidden, 0.0).sum(1)
        shift = shift + self.causal.astype(jnp.float32).sum(1)
        return Prediction(mean=prompt.xs[:, self.order] @ (self.weight + self.lines) + noise + shift)


def constants(module) -> list[bytes]:
    arrays = [module.causal, module.forbidden, module.order, module.count, jax.random.key_data(module.key)]
    return [np.asarray(a).tobytes() for a in arrays]


def given_by(seed: int) -> list[bytes]:
    return constants(jax.tree.map(jnp.asarray, Parts(seed)))


def same(a, b) -> bool:
    left, right = ([np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)] for tree in (a, b))
    return left == right


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return icl.train(task=TASK, model=Parts(1), root=tmp_path_factory.mktemp("parts"), **TINY)


def test_buffers_keys_and_masks_are_constants_and_floats_are_trained(whole):
    model = whole.model
    assert constants(model) == given_by(1) != given_by(2)
    assert whole.parameters == 4
    assert not np.array_equal(model.weight, Parts(1).weight)
    assert not np.array_equal(model.lines, Parts(1).lines)
    first = whole.at(0).model
    assert constants(first) == constants(model)
    assert whole.task.name == "linear-regression"


def test_a_run_is_whole_whatever_module_it_is_opened_with(whole):
    prompt = TASK.sample(jax.random.key(0))
    before = np.asarray(whole.model(prompt).mean)
    other = icl.load(whole.path, model=Parts(2))
    assert constants(other.model) == constants(whole.model)
    np.testing.assert_array_equal(other.model(prompt).mean, before)


def test_constants_survive_a_resume_bitwise(whole, tmp_path):
    """Stopped at step 3, and resumed with a module of other constants: those of the run count."""
    shorter = icl.train(task=TASK, model=Parts(1), root=tmp_path, **TINY | {"steps": 3, "schedule": "constant"})
    config = icl.extend(shorter, 6)
    icl.load(shorter.path, model=Parts(2))
    given._MODULES[shorter.config.model.source] = Parts(2)
    resumed = icl.train(config, root=tmp_path)
    straight = icl.train(task=TASK, model=Parts(1), root=tmp_path / "b", **TINY | {"schedule": "constant"})
    assert resumed.finished
    assert same(resumed.model.weight, straight.model.weight)
    assert constants(resumed.model) == constants(straight.model)


def test_members_may_have_constants_of_their_own(tmp_path):
    runs = icl.sweep(whole_config(), {"seed": [0, 1], "learning_rate": [1e-3]}, root=tmp_path)
    assert all(run.finished and constants(run.model) == given_by(1) for run in runs)


def whole_config() -> Config:
    return Config.create(TASK, **TINY, model={"name": "given", "source": given.remember(Parts(1)).source})


class Only(eqx.Module):
    """One array, of any kind."""

    array: jax.Array

    def __call__(self, prompt):
        return Prediction(mean=jnp.zeros(prompt.points) + self.array.astype(jnp.float32).sum())


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (jnp.arange(3), "no parameters"),
        (jnp.full(2, -jnp.inf), "no parameters"),
        (jnp.ones(2, jnp.bfloat16), "array is bfloat16, and parameters are float32"),
        (np.ones(2, np.float16), "array is float16"),
        (jnp.ones(2, complex), "array is complex64"),
        (jnp.array([1.0, jnp.nan]), "array has NaN before the first step"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(array, words, tmp_path):
    with pytest.raises(NotAvailable, match=words) as error:
        icl.train(task=TASK, model=Only(array), root=tmp_path, **TINY)
    assert str(error.value).startswith("model: Only cannot be trained: ")
    assert not list(tmp_path.iterdir())


def test_code_without_source_trains_and_is_never_taken_for_another_run(tmp_path):
    names: dict = {"__name__": __name__}  # under the name of a module that has a file
    exec(TYPED, names)
    task, model = names["Slope"](), names["Weight"](jnp.zeros(1))
    first = icl.train(task=task, model=model, root=tmp_path, **TINY)
    second = icl.train(task=task, model=model, root=tmp_path, **TINY)
    assert first.finished
    assert first.path != second.path
    for run in (first, second):
        assert not run.source_known
        assert run.directory.manifest["source"] == "unknown"
        assert isinstance(run.task, names["Slope"])
        np.testing.assert_array_equal(run.model(run.task.sample(jax.random.key(0))).mean.shape, (4,))
    assert same(first.model, second.model)
    assert "finished, source unknown" in reading.listing(tmp_path, False)
    assert "source unknown: " in reading.show(first.path.name, tmp_path, False)
    network = TINY | {"depth": 1, "width": 8, "heads": 2}
    requests = [Config.create(task, **network) for _ in range(2)]
    assert requests[0].identity != requests[1].identity
    assert requests[0].change(seed=0).identity == requests[0].identity


class Shuffled(ModelConfig):
    """A learner from outside whose constants come from the run's seed."""

    width: int = 3

    def make(self, task, *, key):
        return eqx.tree_at(lambda m: (m.order, m.key), Parts(1), (jax.random.permutation(key, 2), key))


def test_constants_drawn_from_the_seed_belong_to_their_run():
    configs = [Config(TASK, Shuffled(), Config.create(TASK, **TINY).training, seed=seed) for seed in range(4)]
    program = Program(configs[0])
    data = program.data(configs)
    _, data = program.prepare(configs, data)
    began = [bytes(np.asarray(key)) for key in program.start(data).constants.key]
    state = program.chunk(program.start(data), 0, 2, data)
    assert [bytes(np.asarray(key)) for key in state.constants.key] == began
    assert len(set(began)) == 4
    third = program.learner(*jax.tree.map(lambda leaf: leaf[2], (state.params, state.constants)))
    assert bytes(np.asarray(jax.random.key_data(third.key))) == began[2]
    assert np.array_equal(third.forbidden, Parts(1).forbidden)


def test_another_process_opens_them_with_the_code(tmp_path):
    names: dict = {}
    exec(TYPED, names)
    run = icl.train(task=names["Slope"](), model=names["Weight"](jnp.zeros(1)), root=tmp_path, **TINY)
    code = (
        f"{TYPED}\nimport icl, sys\nrun = icl.load({str(run.path)!r}, task=Slope, model=Weight(jnp.ones(1)))\n"
        "print(run.model(run.task.sample(jax.random.key(0))).mean.tolist())\n"
        f"again = icl.load({str(run.path)!r})\nassert again.task == run.task\n"
        "print(icl.train(task=Slope(), model=Weight(jnp.zeros(1)), root=sys.argv[1], steps=0).path.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=Path(icl.__file__).parents[1],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, new = done.stdout.splitlines()
    assert said == str(run.model(run.task.sample(jax.random.key(0))).mean.tolist())
    assert new != run.path.name
    with pytest.raises(NotAvailable, match=r"trained on Slope@unknown-.* and this is Line"):
        icl.load(run.path, task=type("Line", (names["Slope"],), {"__module__": "nowhere"}))


def cell(text: str, number: int) -> dict:
    """What a notebook does with a cell: its lines stay known under a file name of their own."""
    import linecache

    name = f"<cell {number}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names: dict = {"__name__": "a_notebook"}
    exec(compile(text, name, "exec"), names)
    return names


HELPER = "SCALE = {scale}\ndef double(x):\n    return {factor} * x * SCALE\n"
USING = "class Uses(eqx.Module):\n    def __call__(self, prompt):\n        return double(prompt)\n"


def test_code_in_cells_is_known_with_everything_it_names(monkeypatch):
    def of(number: int, scale: float = 1.5, factor: int = 2, extra: str = "") -> str | None:
        names = cell("import equinox as eqx\n" + HELPER.format(scale=scale, factor=factor) + extra + USING, number)
        return sources.text(names["Uses"])

    assert of(1) is not None
    assert of(1) == of(2)
    assert of(3, extra="unused = 4\n") == of(1)
    assert len({of(1), of(4, scale=2.5), of(5, factor=3)}) == 3


def test_what_a_cell_names_has_no_address_in_it():
    text = "import equinox as eqx\nimport math\nBOTH = (math.sin, abs, object)\n" + USING.replace("double(", "BOTH[0](")
    found = sources.text(cell(text, 6)["Uses"])
    assert found
    assert " at 0x" not in found


class Told(eqx.Module):
    weight: jax.Array
    inner: list
    size: int = eqx.field(static=True)
    activation: object = jax.nn.relu

    def __call__(self, prompt):
        return Prediction(mean=self.activation(prompt.xs @ self.weight) * float(self.size))


def test_static_fields_and_functions_are_part_of_a_learner():
    linear = eqx.nn.Linear(2, 1, key=jax.random.key(0))

    def of(size: int = 1, inner: int = 1, activation: object = jax.nn.relu) -> str:
        return given.remember(Told(jnp.ones(2), [linear, Told(jnp.ones(2), [], inner)], size, activation)).source

    assert of() == of()
    others = [of(size=2), of(inner=2), of(activation=jax.nn.gelu)]
    others += [of(activation=lambda x: 2 * x), of(activation=lambda x: 3 * x)]
    assert len({of(), *others}) == 6
    assert " at 0x" not in str(sources.bytes_of(jax.nn.relu))
    assert not list(sources.static(linear))


def test_code_in_files_is_known_as_it_was():
    import inspect

    assert sources.text(Parts) == inspect.getsource(Parts)
    assert sources.text(type(TASK)) == inspect.getsource(type(TASK))


def test_checkpoints_of_learners_without_constants_have_the_leaves_they_had():
    program = Program(Config.create("linear-regression", **TINY, depth=1, width=8, heads=2))
    names = name_leaves(program.shapes(program.data([program.config])))
    assert {name.partition(".")[0] for name in names} == set("params optimizer step total count alive culprit".split())
