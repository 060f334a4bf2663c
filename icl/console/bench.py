"""`icl bench`: steps, references, packing, sampling and start-up, timed on this machine beside its matmul rate.

Every line names engine, optimizer and layout. Times are the best of several repetitions of compiled programs; compile
times stand beside them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from function_classes.fields import ConfigError, Problem, nearest

Row = dict[str, Any]
ICL = sys.executable, "-m", "icl.cli"


def report(what: str, as_json: bool) -> str:
    """Runs the named part, or all of them. Raises ConfigError for an unknown part."""
    parts = {
        "training": training,
        "mixers": mixers,
        "references": references,
        "packing": packing,
        "sampling": sampling,
        "startup": startup,
    }
    if what != "all" and what not in parts:
        raise ConfigError([Problem("bench", f"unknown part {what!r}{nearest(what, ['all', *parts])}")])
    from icl.console.machine import matmul_rate

    chosen = parts if what == "all" else {what: parts[what]}
    rate = matmul_rate()
    found = {name: part() for name, part in chosen.items()}
    if as_json:
        return json.dumps({"matmul_gflops": rate / 1e9, **found})
    lines = [f"matrix product: {rate / 1e9:.0f} GFLOP/s in float32"]
    for name, rows in found.items():
        lines += ["", name] + ["  " + "  ".join(f"{key} {value}" for key, value in row.items()) for row in rows]
    return "\n".join(lines)


def _seconds(function: Any, repeat: int = 5) -> float:
    import jax

    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        jax.block_until_ready(function())
        best = min(best, time.perf_counter() - start)
    return best


def _step(config: Any, steps: int = 10) -> Row:
    """Milliseconds of a training step, compile seconds, and the floor: 6 operations per parameter and token."""
    import jax

    from icl.console.machine import matmul_rate
    from icl.layouts import Signature
    from icl.training.engine import Program

    program = Program(config)
    data = program.data([config])
    state = program.start(data)
    start = time.perf_counter()
    state = program.chunk(state, 0, 1, data)
    jax.block_until_ready(state.step)
    compiled = time.perf_counter() - start
    best, first = float("inf"), 1
    for _ in range(4):
        start = time.perf_counter()
        state = program.chunk(state, first, first + steps, data)
        jax.block_until_ready(state.step)
        best, first = min(best, (time.perf_counter() - start) / steps), first + steps
    tokens = config.model.layout.length(config.task.points, Signature.of(config.task)) * config.training.batch
    floor = 6 * program.parameters * tokens / matmul_rate()
    layout, optimizer = config.model.layout.name, config.training.optimizer.name
    return {
        "layout": layout,
        "optimizer": optimizer,
        "ms/step": round(1e3 * best, 1),
        "matmul floor ms": round(1e3 * floor, 1),
        "compile s": round(compiled, 1),
    }


def training() -> list[Row]:
    """The default model in two layouts with two optimizers, then the tiny model of Garg et al. 2022."""
    from icl.config import Config

    rows = []
    for layout in ("paired", "interleaved"):
        for optimizer in ("adam", "muon"):
            config = Config.create("linear-regression", layout=layout, optimizer=optimizer)
            rows.append({"model": "default (depth 4, dim 5, 16 points)", **_step(config)})
    garg = {"dim": 20, "points": 41, "noise_std": 0.0, "depth": 3, "heads": 2, "layout": "interleaved", "init": "gpt2"}
    config = Config.create("linear-regression", optimizer="adam", **garg)
    rows.append({"model": "tiny Garg (depth 3, dim 20, 41 points)", **_step(config)})
    return rows


# Steps of a mixer that are timed as one program.
LOOPED = 10


def mixers(tokens: int = 82, width: int = 64, batch: int = 64) -> list[Row]:
    """One layer of every mixer, forward and backward, against softmax attention and against two floors: of the products
    and operations of its form, and of the cheapest form at the rate of a large product (`icl.console.floors`)."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from icl import ranking
    from icl.console.floors import floor, form_floor
    from icl.models.mixers import MixerConfig
    from icl.models.mixers.base import Place

    place, rows, usual = Place(width, 8, 4, tokens), [], 1.0
    x = jax.random.normal(jax.random.key(0), (batch, tokens, width))
    for name in sorted(MixerConfig.registry.names(), key=lambda name: name != "softmax"):
        config = MixerConfig.registry.get(name)
        mixer = config.make(place, key=jax.random.key(1))
        weights, rest = eqx.partition(mixer, eqx.is_inexact_array)

        def loss(pair, rest=rest):
            return jnp.sum(eqx.combine(pair[0], rest).batched(pair[1], None, None) ** 2)

        def step(pair, loss=loss):
            return jax.tree.map(lambda a, g: a - 1e-6 * g, pair, jax.grad(loss)(pair))

        # As in training many steps are one program: a program of one would spend a third of its time on asking for
        # memory that it has just given back.
        steps = jax.jit(lambda pair, step=step: jax.lax.fori_loop(0, LOOPED, lambda i, p: step(p), pair))
        pair = weights, x
        start = time.perf_counter()
        jax.block_until_ready(steps(pair))
        compiled = time.perf_counter() - start
        seconds = _seconds(lambda: steps(pair)) / LOOPED  # noqa: B023
        parameters, state = ranking.sizes(config, place)
        form, least = form_floor(step, pair), floor(config, place, batch)
        usual = usual if rows else seconds  # softmax comes first
        row = {"mixer": name, "ms": round(1e3 * seconds, 2), "of softmax": round(seconds / usual, 2)}
        row |= {"form's floor ms": round(1e3 * form, 2), "of form's floor": round(seconds / form, 1)}
        row |= {"least floor ms": round(1e3 * least, 2), "of least floor": round(seconds / least, 1)}
        row |= {"parameters": parameters, "state bytes": state}
        rows.append(row | {"compile s": round(compiled, 1)})
    return rows


# Where references are timed: the first of these classes that one applies to, at the sizes of the papers.
BENCHES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("linear-regression", {"dim": 20, "points": 41}),
    ("linear-pool", {"dim": 8, "points": 16, "pool_size": 1024}),
    ("linear-mixture", {"dim": 20, "points": 41}),
    ("linear-classification", {"dim": 20, "points": 41}),
    ("permuted-projection", {"dim": 16, "points": 41}),
    ("conjunction", {"dim": 8, "points": 41}),
    ("markov", {"symbols": 3, "points": 128}),
)


def references(prompts: int = 1280, fitted: int = 128) -> list[Row]:
    """Every reference after compilation, at the sizes of the papers: on 1,280 prompts, those that are fitted anew on
    128 prompts at six positions; then all of the standard table together."""
    import function_classes as fc
    from icl import references as family

    tasks = [fc.get(name, **fields) for name, fields in BENCHES]
    rows = []
    for name in family.Reference.registry.names():
        kind = family.Reference.registry.find(name)
        found = ((kind.example(task), task) for task in tasks)
        chosen = next(((one, task) for one, task in found if one.applies(task) is None), None)
        if chosen is None:
            rows.append({"reference": name, "class": "none of the classes that are timed"})
            continue
        (reference, task), count = chosen, prompts
        if kind.cost == "slow":
            places = (2, *(task.points * part // 6 for part in range(1, 6)))
            fields = _fields(reference)
            reference, count = family.get(name, **fields | ({"refit": places} if "refit" in fields else {})), fitted
        seconds = _predicting(reference, task, count)
        rows.append({"reference": name, "class": task.name, "prompts": count, "seconds": round(seconds, 3)})
    standard = [one for one in family.standard(tasks[0]).values() if one.cost == "cheap"]
    total = sum(_predicting(one, tasks[0], prompts) for one in standard)
    together = {"reference": "the standard table together", "class": tasks[0].name, "prompts": prompts}
    return [*rows, together | {"seconds": round(total, 3)}]


def _predicting(reference: Any, task: Any, count: int) -> float:
    """Seconds that a reference takes for so many prompts, after calibration and compilation."""
    import jax

    from icl.errors import run, settle

    batch = jax.vmap(lambda p: p.hide())(jax.jit(lambda key: task.batch(key, count))(jax.random.key(0)))
    settled = settle(reference, task, jax.random.key(1))
    jax.block_until_ready(run(settled, batch))
    return _seconds(lambda: run(settled, batch), 3)


def _fields(reference: Any) -> dict[str, Any]:
    from function_classes import plain

    found = plain.dump(reference)
    return {name: value for name, value in found.items() if name != "name"}


def packing(seeds: int = 4) -> list[Row]:
    """Seeds in one program against the same runs one after another."""
    import jax

    from icl.config import Config
    from icl.training.engine import Program

    config = Config.create("linear-regression")
    program = Program(config)
    rows = []
    for members in (1, seeds):
        data = program.data([config.change(seed=seed) for seed in range(members)])
        program.traces = 0
        state = program.chunk(program.start(data), 0, 1, data)
        jax.block_until_ready(state.step)
        start = time.perf_counter()
        jax.block_until_ready(program.chunk(state, 1, 21, data).step)
        each = (time.perf_counter() - start) / 20 / members
        rows.append({"seeds in one program": members, "ms/step of one": round(1e3 * each, 1)})
    return rows


def sampling() -> list[Row]:
    """Drawing a batch of every function class, beside the training step of the default model that it is drawn for."""
    import jax

    import function_classes as fc
    from icl.config import Config

    rows = []
    for name in fc.names():
        config = Config.create(name)
        task, count = config.task, config.training.batch
        draw = jax.jit(lambda key, task=task, count=count: task.batch(key, count))
        jax.block_until_ready(draw(jax.random.key(0)))
        seconds = _seconds(lambda: draw(jax.random.key(1)), 10)  # noqa: B023
        step = _step(config)["ms/step"]
        share = f"{100 * 1e3 * seconds / step:.0f} %"
        rows.append({"class": name, "ms/batch": round(1e3 * seconds, 2), "ms/step": step, "share": share})
        # Said as it is found: all classes take a quarter of an hour.
        print("  ".join(map(str, rows[-1].values())), file=sys.stderr, flush=True)
    return rows


def startup() -> list[Row]:
    """Seconds from typing to text and to the first training step, each in a process of its own."""
    rows: list[Row] = []
    for words in (["--help"], ["list", "function-classes"]):
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([*ICL, *words], check=True, capture_output=True, timeout=120)
            best = min(best, time.perf_counter() - start)
        rows.append({"command": "icl " + " ".join(words), "seconds": round(best, 2)})
    with tempfile.TemporaryDirectory() as scratch:
        for cache in ("cold", "warm"):
            seconds = _first_step(Path(scratch))
            rows.append({"first step of icl run linear-regression --depth 4, compile cache": cache, "seconds": seconds})
    return rows


def _first_step(scratch: Path) -> float:
    """Seconds until a default run reports its first step; the run is then interrupted."""
    words = ["run", "linear-regression", "--depth", "4", "--no-report", "--fresh", "--out", str(scratch / "runs")]
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment["ICL_CACHE"] = str(scratch / "cache")
    start = time.perf_counter()
    with subprocess.Popen([*ICL, *words], stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stderr is not None
        next((line for line in process.stderr if line.startswith("step ")), None)
        seconds = time.perf_counter() - start
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    return round(seconds, 1)
