"""Mistakes at the keyboard: one sentence for each, before anything is compiled, and never a traceback."""

from tests.faults.shell import TINY, icl, talk

WRONG = """
traning = 1
seed = "a"
[task]
name = "linear-regression"
pints = 3
dim = 1.5
[model]
depth = "4"
heads = 0
[training]
steps = -1
learning_rate = nan
batch = true
optimizer = "adm"
"""
EVERY_PROBLEM = (
    "traning: unknown field of Config; did you mean 'training'?",
    "seed: expected a whole number, got 'a'",
    "task.pints: unknown field of linear-regression; did you mean 'points'?",
    "task.dim: expected a whole number, got 1.5",
    "model.depth: expected a whole number, got '4'",
    "model.heads: must be at least 1, got 0",
    "training.steps: must be at least 0, got -1",
    "training.learning_rate: expected a number, got nan (not finite)",
    "training.batch: expected a whole number, got True",
    "training.optimizer: unknown optimizer 'adm'; did you mean 'adam'?",
    "model.wdith: unknown field of transformer; did you mean 'width'?",
    "noise_stdd: unknown setting; did you mean 'noise_std'?",
)


def test_every_problem_at_once_before_anything_is_compiled(tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text(WRONG)
    words = ["--config", file, "--set", "model.wdith=3", "--noise-stdd", "1", "--out", tmp_path / "runs"]
    said = icl("run", *words, JAX_LOG_COMPILES="1")
    assert said.code == 2
    for problem in EVERY_PROBLEM:
        assert f"error: {problem}\n" in said.err
    assert said.err.count("error:") == len(EVERY_PROBLEM)
    assert "ompil" not in said.err
    assert not (tmp_path / "runs").exists()
    assert "Compiling" in icl("run", *TINY, "--dry-run", JAX_LOG_COMPILES="1").err


def test_settings_and_names(tmp_path):
    """Words of `icl run` that cannot be meant, and a place that cannot be written."""
    texts = {
        "twice": '[task]\nname = "linear-regression"\ndim = 1\ndim = 2\n',
        "numbers": 'task = "linear-regression"\nmodel = 3\ntraining = 4\n',
        "text": 'task = "linear-regression"\n',
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
    (tmp_path / "file").write_text("")
    (tmp_path / "syntax.py").write_text("import jax\nx = = 3\n")
    (tmp_path / "absent.py").write_text("import nosuchmodule\n")
    run, toml = ["run", "linear-regression"], lambda name: ["run", "--config", tmp_path / f"{name}.toml"]
    cases = [
        (toml("twice"), 2, "a key appears twice (at line 4"),
        (
            toml("numbers"),
            2,
            "error: model: expected a model, got 3\nerror: training: expected a table of settings, got 4",
        ),
        ([*toml("text"), "--heads", "3"], 2, "model.heads: 3 does not divide model.width = 64; use 1, 2, 4, 8, 16"),
        (toml("absent"), 2, "cannot be read: No such file"),
        ([*run, "--noise-std", "1e39"], 2, "task.noise_std: expected a number, got 1e+39 (beyond float32)"),
        ([*run, "--points", "1000000000"], 2, "64 prompts of 1000000000 points at a time need at least"),
        ([*run, "--seeds", "0"], 2, "'--seeds'"),
        ([*run, "--depth"], 2, "--depth: expects a value"),
        (["run", "--depth", "x", "linear-regression"], 2, "model.depth: expected a whole number, got 'x'"),
        ([*run, "depth=3"], 2, "expected a flag such as --depth 4"),
        ([*run, "--config", tmp_path], 2, "Is a directory"),
        (
            ["run", "linear-regresion"],
            2,
            "task: unknown function class 'linear-regresion'; did you mean 'linear-regression'?",
        ),
        (["run", tmp_path / "syntax.py:Cubic"], 2, "syntax.py, line 2: SyntaxError"),
        (["run", tmp_path / "absent.py:Cubic"], 2, "absent.py, line 1, in <module>: ModuleNotFoundError"),
        ([], 2, ""),
        (["nosuch"], 2, "No such command 'nosuch'"),
        (
            ["run", *TINY, "--out", tmp_path / "file" / "below"],
            4,
            f"cannot create directory {tmp_path / 'file' / 'below'}",
        ),
        (["run", *TINY, "--positions", "none", "--dry-run"], 0, ""),
    ]
    _check(cases)


def test_questions_about_runs(undisturbed):
    """Names that name nothing or too much, prompts the model cannot read, steps that were not kept."""
    run, here = undisturbed.name, ["--out", undisturbed.parent]
    longer = (
        "this model's positions hold 64 points, the prompt has 90; train with model.max_points=90 or model.positions"
    )
    spaces = (
        "a model of linear-regression cannot read prompts of markov: it knows x 5 numbers, y a number; they have x "
    )
    cases = [
        (["evaluate", "last", "--points", "90", *here], 2, longer),
        (["evaluate", "last", "--on", "markov", *here], 2, spaces + "nothing (a stream), y one of 3 symbols"),
        (["evaluate", "last", "--on", "nosuch", *here], 2, "unknown function class 'nosuch'; choose from"),
        (["evaluate", "last", "--points", "0", *here], 2, "points: must be at least 1, got 0"),
        (
            ["evaluate", "last", "--loops", "2", *here],
            2,
            "only a looped network can be run for another number of loops",
        ),
        (["evaluate", "last", "--prompts", "1", *here], 2, "'--prompts'"),
        (["evaluate", "last", "--shift", "scale=2", *here], 2, "unknown shift 'scale'; did you mean 'scale-task'?"),
        (["fork", "last", "--at", "18", *here], 2, f"{run} has no checkpoint at step 18; the nearest is at step 20"),
        (["fork", "last", "--at", "10", "--width", "16", *here], 2, "model: a fork keeps the parent's weights"),
        (["fork", "last", "--at", "10", "--steps", "9", *here], 2, "must be above the step of the fork, 10, got 9"),
        (
            ["fork", "last", "--at", "10", "--set", "training.learning_rate=fast", *here],
            2,
            "expected a number, got 'fast'",
        ),
        (["extend", "last", "--steps", "30", *here], 2, "training.steps: must be above the run's 30, got 30"),
        (["probe", "last", "nosuch", *here], 2, "unknown probe 'nosuch'; choose from"),
        (["show", "nosuch", *here], 2, "is called 'nosuch'; there are linear-regression"),
        (["resume", "depth=7", *here], 2, "no run has model.depth=7; there are 1"),
        (["identify", "dpth=1", *here], 2, "no run has a field 'dpth'; nearest: depth"),
        (["compare", *here], 2, "Missing argument"),
        (["compare", "width=8,seed=1", *here], 2, "no run has seed=1; there are 0"),
        (["show", "last", "--out", undisturbed / "report"], 2, "there are no runs in"),
        (["show", "./nosuch"], 5, "nosuch: does not exist"),
        (["show", f"{undisturbed.parent}/"], 5, "is not a run of icl: config.json, manifest.json, status.json missing"),
    ]
    _check(cases)


def test_other_runs(tmp_path):
    """What depends on the run: ambiguous names, a probe without sense on a stream, a schedule without a prefix."""
    here = ["--out", tmp_path]
    rest = [*TINY[1:], "--no-report", *here]
    stream, cosine = (
        ["run", "markov", *rest],
        ["run", "linear-regression", *rest, "--schedule", "cosine", "--name", "cos"],
    )
    cases = [
        (stream, 0, ""),
        (
            ["probe", "last", "implicit-weights", *here],
            2,
            "implicit-weights: needs vectors in and a number out, and markov",
        ),
        (cosine, 0, ""),
        (
            ["extend", "cos", "--steps", "31", "--no-report", *here],
            0,
            "cosine depends on the number of steps, so training begins from the start",
        ),
        (["show", "linear", *here], 2, "'linear' names 2 runs: linear-regression-"),
        (["evaluate", "depth=1", *here], 2, "'depth=1' names 3 runs"),
    ]
    _check(cases)


def _check(cases):
    wrong = []
    for (words, code, text), said in zip(cases, talk(*(words for words, _, _ in cases)), strict=True):
        if said.code != code or text not in said.err or "Traceback" in said.err:
            wrong.append(f"{words}: expected {code} and {text!r}, got {said.code} and {said.err[-900:]!r}")
        elif code and words:
            assert all(
                line.startswith(("error: ", " ", "task", "model", "prompt", "training", "device", "time", "run"))
                for line in said.err.splitlines()
            ), said.err
    assert not wrong, "\n".join(wrong)
