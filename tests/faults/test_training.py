"""Divergence, members of a sweep that fail, and the smallest runs there are."""

import json

import numpy as np

from icl.runs import metrics
from tests.faults.shell import TINY, files, icl, only, result, status, talk

SPIKES = '''
import jax
import jax.numpy as jnp
from function_classes import FunctionClass, Real, setting


class Spikes(FunctionClass):
    """A number, and once in a few hundred prompts infinity."""

    points: int = setting(4, "positions", at_least=1)
    x_space = Real((1,))
    y_space = Real()

    def sample_latent(self, key):
        return jax.random.normal(key)

    def sample_inputs(self, latent, key):
        return jax.random.normal(key, (self.points, 1))

    def evaluate(self, latent, xs):
        return jnp.where(latent > 2.6, jnp.inf, latent) * xs[:, 0]


class Broken(Spikes):
    def evaluate(self, latent, xs):
        return latent * xs[:, 0, 0]
'''


def test_divergence(tmp_path):
    """Exit 3 with step, leaf and remedy; what is left is a finite checkpoint and a log that is JSON; nothing is tried
    again. So for a rate that overflows, and for a class of the user's own that returns infinity now and then."""
    file = tmp_path / "spikes.py"
    file.write_text(SPIKES)
    sizes = [*TINY[1:], "--no-report"]
    rate = [
        "run",
        *TINY,
        "--no-report",
        "--checkpoint-every",
        "1",
        "--learning-rate",
        "1e6",
        "--out",
        tmp_path / "rate",
    ]
    overflow = [
        "run",
        *TINY,
        "--no-report",
        "--learning-rate",
        "3e38",
        "--optimizer",
        "sgd",
        "--out",
        tmp_path / "over",
    ]
    spikes = ["run", f"{file}:Spikes", *sizes, "--steps", "300", "--out", tmp_path / "spikes"]
    broken = ["run", f"{file}:Broken", *sizes, "--out", tmp_path / "broken"]
    first, second, over, infinite, bug, orphan = talk(
        rate, rate, overflow, spikes, broken, ["show", "--out", tmp_path / "spikes"]
    )
    for said in (first, second, over, infinite):
        assert said.code == 3, said
        assert "worst in network." in said.err
        assert "try --learning-rate 0.0" in said.err
        assert "Traceback" not in said.err
    assert "at learning rate 1e+06" in first.err
    assert "compiling" in first.err
    assert "compiling" not in second.err
    assert status(only(tmp_path / "rate"))["step"] <= 5
    assert status(only(tmp_path / "over"))["step"] == 0
    assert 0 < status(only(tmp_path / "spikes"))["step"] < 300
    for name in ("rate", "over", "spikes"):
        run = only(tmp_path / name)
        last = max((run / "checkpoints").glob("step-*"))
        assert f"step-{status(run)['step']:08d}" == last.name
        for leaf, values in _leaves(last).items():
            assert np.isfinite(values).all(), leaf
        assert metrics.read(run / "metrics.jsonl")["step"].size == status(run)["step"] // 5
    assert bug.code == 2
    assert (
        f"{file}, line {SPIKES.splitlines().index('        return latent * xs[:, 0, 0]') + 1}, in evaluate" in bug.err
    )
    assert "Traceback" not in bug.err
    assert orphan.code == 0, orphan


def _leaves(path):
    data, found, start = (path / "leaves.bin").read_bytes(), {}, 0
    for leaf in json.loads((path / "index.json").read_text())["leaves"]:
        stop = start + leaf["bytes"]
        found[leaf["path"]] = np.frombuffer(data[start:stop], leaf["dtype"])
        start = stop
    return found


def test_sweep_with_a_member_that_diverges(tmp_path, undisturbed):
    """The others finish; the exit code is the worst; the same command again repeats nothing."""
    sweep = ["run", *TINY, "--no-report", "--learning-rate", "1e-3,1e6", "--name", "rates", "--out", tmp_path]
    (first,) = talk(sweep)
    before = files(tmp_path)
    (again, resumed, table) = talk(
        sweep, ["resume", "rates", "--no-report", "--out", tmp_path], ["compare", "rates", "--out", tmp_path]
    )
    assert (first.code, again.code, table.code) == (3, 3, 0)
    assert "compiling" not in again.err
    assert "1000000.0" in again.err + table.out
    assert sorted(status(run)["state"] for run in tmp_path.iterdir()) == ["diverged", "finished"]
    assert resumed.code == 3
    assert files(tmp_path) == before
    good = next(run for run in tmp_path.iterdir() if status(run)["state"] == "finished")
    assert result(good)["step"] == result(undisturbed)["step"]


def test_the_smallest_runs_in_poor_surroundings(tmp_path):
    """One point, one dimension, one prompt in a batch, one step or none: in a place with spaces and letters beyond
    ASCII, without terminal, display or locale."""
    root = tmp_path / "λ of today"
    single = ["run", *TINY, "--dim", "1", "--batch", "1", "--points", "1", "--prompts", "8", "--references", "none"]
    poor = {"TERM": "dumb", "LC_ALL": "C", "DISPLAY": "", "MPLBACKEND": ""}
    nothing, one = talk(
        [*single, "--steps", "0", "--out", root / "0"],
        [*single, "--steps", "1", "--out", root / "1", "--no-report"],
        **poor,
    )
    assert (nothing.code, one.code) == (0, 0), (nothing, one)
    assert "The trained model is" in nothing.out
    assert "nan" not in nothing.out
    report = only(root / "0") / "report"
    assert len(list(report.glob("*.png"))) == len(list(report.glob("*.pdf"))) == 1
    texts = [file.read_text() for kind in ("txt", "json", "csv") for file in report.glob(f"*.{kind}")]
    assert "\x1b" not in "".join([nothing.out, nothing.err, one.err, *texts])
    assert result(only(root / "1"))["log"].count(b"\n") == 1
    (tmp_path / "file").touch()
    said = icl("show", "--out", root / "0", PYTHONIOENCODING="latin-1", ICL_CACHE=str(tmp_path / "file" / "below"))
    assert said.code == 0, said.err
    assert "\\u03bb of today" in said.out


SOLVES = '''
import jax
import jax.numpy as jnp
from function_classes import FunctionClass, Real, setting


class Solves(FunctionClass):
    """Weights that solve a triangular system of every prompt's own: one batched LAPACK call a training step."""

    points: int = setting(4, "positions", at_least=1)
    x_space = Real((48,))
    y_space = Real()

    def sample_latent(self, key):
        return jax.random.normal(key, (48, 48))

    def sample_inputs(self, latent, key):
        return jax.random.normal(key, (self.points, 48))

    def evaluate(self, latent, xs):
        lower = 0.01 * jnp.tril(latent, -1) + jnp.eye(48)
        return xs @ jax.scipy.linalg.solve_triangular(lower, latent, lower=True, unit_diagonal=True)[:, 0]
'''


def test_batched_solves_of_two_members_end(tmp_path):
    """Each member has a device of its own, and each device waits for threads of the pool that both run on."""
    file = tmp_path / "solves.py"
    file.write_text(SOLVES)
    words = [*TINY[1:], "--batch", "64", "--seeds", "2", "--no-report", "--out", tmp_path / "runs"]
    said = icl("run", f"{file}:Solves", *words)
    assert said.code == 0, said.err
