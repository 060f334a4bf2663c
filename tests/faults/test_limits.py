"""Numbers, lists and files beyond all measure: a sentence within seconds, before anything is built or written."""

import json
import shutil
import time

import pytest

import function_classes as fc
from function_classes import ConfigError
from function_classes.plain import parse
from function_classes.problems import shown, too_deep
from icl import axes as sweeps
from icl.config import Config
from icl.console import options
from icl.runs import strict_json
from icl.runs.errors import NotARun
from icl.training import memory
from icl.training.session import expand
from tests.faults.shell import talk

HUGE = "9" * 400
WORDS = [
    (["--steps", HUGE], "training.steps: expected a whole number, got"),
    (["--steps", "3000000000"], "(whole numbers go up to 2147483647)"),
    (["--steps", "1e18"], "training.steps: expected a whole number, got 1e+18"),
    (["--steps", "9" * 5000], "training.steps: expected a whole number, got"),
    (["--noise-std", HUGE], "(beyond float32)"),
    (["--seed", HUGE], "seed: must be at most 4294967295, got about 10^400"),
    (["--seed", "-" + HUGE], "seed: must be at least 0, got -about 10^400"),
    (["--seeds", "100000000"], "'--seeds'"),
    (["--seeds", HUGE], "'--seeds'"),
    (["--depth", ",".join(["1"] * 20_000)], "model.depth: 20000 values, at most 10000 are read"),
    (["--seed", ",".join(map(str, range(200))), "--depth", ",".join(map(str, range(1, 101)))], "200 x 100 = 20000"),
    (["--width", "60000", "--heads", "1"], "model: the weights, their gradient and the state of muon need at least"),
    (["--mlp-ratio", "1000000000"], "training.batch: 64 prompts of 16 points at a time need at least"),
    (["--validation-prompts", "1000000000"], "training.validation_prompts: 1000000000 prompts for validation need"),
    (["--prompts", "1000000000"], "evaluation.prompts: the errors of 1000000000 prompts need at least"),
    (["--dim", "2147483647"], "need at least"),
    (["--points", "1000000", "--set", "model.layout=joint"], "need a mask of 1999999 x 1999999 tokens"),
    (["--max-points", "10000000"], "model.max_points: must be at most 1000000"),
    (["--set", "model.mixers=" + "[" * 1000], "nested more than 64 deep"),
    (["--set", "task.inputs=" + '{"a":' * 1000 + "1" + "}" * 1000], "nested more than 64 deep"),
    (["--set", "model" + ".a" * 1000 + "=1"], "is nested too deep"),
    (["--checkpoint-every", "9" * 5000], "expected steps such as 500"),
]


def test_words_beyond_measure(tmp_path):
    """One process: what the first import takes, and then two seconds at most for each."""
    files = {
        "deep": "a = " + "[" * 5000,
        "long": "a = 1\n" + "# 45 MB\n" * 6_000_000,
        "digits": '[task]\nname = "linear-regression"\npoints = ' + "9" * 6000,
        "dots": '[task]\nname = "linear-regression"\n[model]\n' + ".".join(["a"] * 5000) + " = 1",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    said_of = {"deep": "nested more than 64 deep", "long": "is larger than 1048576 bytes", "digits": "", "dots": "deep"}
    cases = [(["run", "linear-regression", *words], text) for words, text in WORDS]
    cases += [(["run", "--config", tmp_path / f"{name}.toml"], text) for name, text in said_of.items()]
    cases += [(["list", "references", "--for", "linear-regression", "--dim", HUGE], "whole numbers go up to")]
    here = ["--out", tmp_path / "runs"]
    cases = [([*words, *(here if words[0] == "run" else [])], text) for words, text in cases]
    began = time.monotonic()
    warm = talk(["run", "linear-regression", "--dpeth", "1"])[0]
    once = time.monotonic() - began
    began = time.monotonic()
    said = talk(*(words for words, _ in cases))
    each = (time.monotonic() - began - once) / len(cases)
    assert warm.code == 2
    wrong = [
        f"{str(words)[:150]}: {one.code} {one.err[-500:]!r}"
        for (words, text), one in zip(cases, said, strict=True)
        if one.code != 2 or text not in one.err or "Traceback" in one.err or "defect" in one.err or len(one.err) > 2000
    ]
    assert not wrong, "\n".join(wrong)
    assert each < 1
    assert not (tmp_path / "runs").exists()


def test_questions_beyond_measure(undisturbed):
    here = ["--out", undisturbed.parent]
    cases = [
        (["extend", "last", "--steps", "1000000000000000000", *here], "whole numbers go up to 2147483647"),
        (["extend", "last", "--steps", HUGE, *here], "whole numbers go up to 2147483647"),
        (["fork", "last", "--at", HUGE, *here], "has no checkpoint at step about 10^400"),
        (["evaluate", "last", "--prompts", "1000000000000", *here], "the errors of 1000000000000 prompts need"),
        (["evaluate", "last", "--prompts", HUGE, *here], "prompts need at least"),
        (["evaluate", "last", "--points", HUGE, *here], "whole numbers go up to"),
        (["identify", "last", "--prompts", "1000000000000", *here], "the errors of 1000000000000 prompts need"),
        (["evaluate", "last", "--loops", HUGE, *here], "only a looped network"),
    ]
    said = talk(*(words for words, _ in cases))
    wrong = [
        f"{str(words)[:100]}: {one.code} {one.err[-500:]!r}"
        for (words, text), one in zip(cases, said, strict=True)
        if one.code != 2 or text not in one.err or "Traceback" in one.err or "defect" in one.err
    ]
    assert not wrong, "\n".join(wrong)


def test_values_of_python_beyond_measure():
    deep: dict = {}
    for _ in range(5000):
        deep = {"a": deep}
    endless: list = []
    endless.append(endless)
    for settings in ({"model": deep}, {"model.mixers": endless}, {"task.points": 10**5000}, {"width": -(10**400)}):
        with pytest.raises(ConfigError):
            Config.create("linear-regression", **settings)
    for name, fields in (
        ("mixture", {"classes": endless}),
        ("mixture", {"classes": [deep]}),
        ("dfa", {"points": 1e300}),
    ):
        with pytest.raises(ConfigError):
            fc.get(name, **fields)
    with pytest.raises(ConfigError):
        Config.from_tree(deep)
    with pytest.raises(ConfigError, match="deep"):
        parse("[" * 100_000)
    assert too_deep(endless)
    assert not too_deep({"a": [1, {"b": (2,)}]})
    assert len(shown(list(range(10**6)))) < 200
    assert len(shown("a" * 10**6)) < 200
    assert shown(10**5000) == "about 10^5000"


def test_sweeps_are_counted_before_anything_is_made(monkeypatch):
    made = []
    base = Config.create("linear-regression")
    monkeypatch.setattr(Config, "_build", classmethod(lambda cls, *a: made.append(a) or base))
    for grid in ({"seed": range(10**9)}, {"seed": iter(int, 1)}, {"seed": range(10_001)}):
        with pytest.raises(ConfigError, match="at most 10000"):
            expand(base, grid)
    with pytest.raises(ConfigError, match=r"101 x 100 = 10100 configurations"):
        expand(base, {"seed": range(101), "depth": range(1, 101)})
    assert not made
    axes = [sweeps.values(path, range(100)) for path in ("seed", "depth")]
    sweeps.count_members(axes)
    assert len(expand(base, {"seed": range(10), "depth": range(1, 11)})) == len(made) == 100


def test_a_hundred_lists_are_counted_by_their_product():
    with pytest.raises(ConfigError, match=r"2 x 2 .* = about 10\^"):
        options.configs("linear-regression", [("seed", "1,2")] * 60, None, None)


def test_json_of_a_run_has_a_size():
    with pytest.raises(NotARun, match="no file of a run has more"):
        strict_json.loads(b'{"a": "' + b"x" * strict_json.LARGEST + b'"}', "config.json")


def test_a_run_file_of_forty_five_megabytes(tmp_path, undisturbed):
    names = "config.json", "manifest.json", "status.json"
    for name in names:
        run = tmp_path / name / undisturbed.name
        shutil.copytree(undisturbed, run)
        (run / name).write_text(json.dumps({"a": "x" * 45_000_000}))
    began = time.monotonic()
    said = talk(
        *(
            ["show", f"{tmp_path / name / undisturbed.name}/"]
            for name in ("config.json", "manifest.json", "status.json")
        )
    )
    assert time.monotonic() - began < 30
    assert all(one.code == 5 and "more than the" in one.err for one in said), said


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"width": 60_000, "heads": 1}, "model"),
        ({"depth": 1024, "width": 16384, "batch": 1, "points": 1}, "model"),
        ({"mixers": ["softmax"] * 4, "depth": 4, "width": 60_000, "heads": 1, "batch": 1, "points": 1}, "model"),
        ({"mlp_ratio": 2**31 - 1, "width": 65536}, "training.batch"),
        ({"points": 10**9}, "training.batch"),
    ],
)
def test_sizes_are_estimated_before_anything_is_built(settings, path, monkeypatch):
    monkeypatch.setattr(memory, "_room", lambda: 64 * 10**9)
    config = Config.create("linear-regression", **settings)
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        memory.check([config])
    assert time.monotonic() - began < 5
    assert [p.path for p in caught.value.problems] == [path]


def test_pools_and_tables_of_classes_are_estimated(monkeypatch):
    monkeypatch.setattr(memory, "_room", lambda: 64 * 10**9)
    for name, settings in (("hmm", {"states": 10**6}), ("markov-pool", {"pool_size": 2**31 - 1, "order": 9})):
        with pytest.raises(ConfigError, match="task: one array behind every prompt of"):
            memory.check([Config.create(name, **settings)])


def test_weights_of_a_deep_network_are_those_of_its_shapes():
    """Extrapolated from two blocks, and as counted at four."""
    config = Config.create("linear-regression", depth=4, width=16, heads=2, optimizer="adam")
    exact = memory._weights_bytes(config, config.model)
    assert memory.weights_bytes(config) == exact
    assert (
        memory.weights_bytes(Config.create("linear-regression", depth=8, width=16, heads=2, optimizer="adam")) > exact
    )
    assert exact >= 4 * 4 * 16 * 16 * 12


def test_what_runs_is_not_refused(monkeypatch):
    """Every class at its defaults needs less than 200 MB by this estimate."""
    monkeypatch.setattr(memory, "_room", lambda: 200_000_000)
    memory.check(
        [Config.create(name) for name in ("linear-regression", "markov", "dfa", "gaussian-process", "hmm-mixture")]
    )
