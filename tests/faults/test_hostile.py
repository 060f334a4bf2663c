"""Run directories that lie: refused with 5 and the reason, without executing, allocating or following anything."""

import hashlib
import json
import os
import pickle
import shutil
import time
from pathlib import Path

import pytest

from icl.runs.strict_json import seal
from tests.faults.shell import TINY, files, status, talk

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes symbolic links")
LAST = Path("checkpoints") / "step-00000030"


class Canary:
    """Unpickling one makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def reseal(file: Path, change) -> None:
    """Changes a sealed file and gives it the checksum of its new contents, as an attacker would."""
    fields = json.loads(file.read_text())
    del fields["checksum"]
    change(fields)
    file.write_bytes(seal(fields))


def leaf(run: Path, **changes) -> None:
    reseal(run / LAST / "index.json", lambda fields: fields["leaves"][0].update(changes))


def config(run: Path, text: str) -> None:
    (run / "config.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    reseal(run / "manifest.json", lambda fields: fields.update(config_sha256=digest))


def setting(run: Path, section: str, **changes) -> None:
    fields = json.loads((run / "config.json").read_text())
    fields[section].update(changes)
    config(run, json.dumps(fields))


def schema(run: Path, number: int) -> None:
    reseal(run / "manifest.json", lambda fields: fields.update(schema=number))


def link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def report(run: Path, secret: Path) -> None:
    (run / "report").mkdir()
    (run / "report" / "summary.txt").symlink_to(secret)


def pickled(run: Path, canary: Path) -> None:
    data = pickle.dumps(Canary(canary))
    size = (run / LAST / "leaves.bin").stat().st_size
    (run / LAST / "leaves.bin").write_bytes(data.ljust(size, b"."))


def test_refused(tmp_path, undisturbed):
    canary, secret = tmp_path / "canary", tmp_path / "secret"
    secret.write_text("what nobody may read")
    nested = "[" * 100_000
    cases = {
        "pickle": (lambda run: pickled(run, canary), "evaluate", "its checksum does not match; train it from"),
        "object": (lambda run: leaf(run, dtype="object"), "evaluate", "expected float32"),
        "huge": (lambda run: leaf(run, shape=[10**11, 8]), "evaluate", "found float32[100000000000, 8]"),
        "path": (lambda run: leaf(run, path="../../../canary"), "evaluate", "unexpected leaf '../../../canary'"),
        "data": (lambda run: link(run / LAST / "leaves.bin", secret), "evaluate", "step-00000030: is damaged"),
        "index": (lambda run: link(run / LAST / "index.json", secret), "evaluate", "step-00000030: is damaged"),
        "log": (lambda run: link(run / "metrics.jsonl", secret), "compare", "is a symbolic link"),
        "status": (lambda run: link(run / "status.json", secret), "show", "is a symbolic link"),
        "report": (lambda run: report(run, secret), "show", "summary.txt: is a symbolic link"),
        "nested": (lambda run: config(run, nested), "show", "nested more than 64 deep"),
        "depth": (lambda run: setting(run, "model", depth=10**9), "show", "model.depth: must be at most 1024"),
        "width": (lambda run: setting(run, "model", width=4, heads=2), "evaluate", "does not fit: leaf params."),
        "class": (lambda run: setting(run, "task", name="Spikes@0123456789"), "show", "icl --plugin my_file.py"),
        "edited": (lambda run: (run / "config.json").write_text("{}"), "show", "was changed after the run was created"),
        "newer": (lambda run: schema(run, 2), "show", "follows schema 2, this version reads 1: upgrade icl"),
        "older": (lambda run: schema(run, 0), "show", "follows schema 0, which this version (1) no longer reads"),
    }
    commands = []
    for name, (spoil, command, _) in cases.items():
        run = tmp_path / name / undisturbed.name
        shutil.copytree(undisturbed, run)
        spoil(run)
        commands.append([command, f"{run}{os.sep}"])
    before = files(tmp_path)
    began = time.monotonic()
    said = talk(*commands)
    assert time.monotonic() - began < 60
    wrong = [
        f"{name}: {one}"
        for (name, (_, _, reason)), one in zip(cases.items(), said, strict=True)
        if one.code != 5 or reason not in one.err or one.err.count("error:") != 1 or "nobody" in one.out + one.err
    ]
    assert not wrong, "\n".join(wrong)
    assert files(tmp_path) == before
    assert not canary.exists()


def test_the_place_of_a_run_is_taken(tmp_path, undisturbed):
    """Other settings are another run; what is not science changes nothing; a foreign directory is left as it is."""
    for name in ("mine", "foreign"):
        shutil.copytree(undisturbed, tmp_path / name / undisturbed.name)
    foreign = tmp_path / "foreign" / undisturbed.name
    (foreign / "status.json").unlink()
    (foreign / "notes.txt").write_text("mine")
    before = files(foreign)
    run = ["run", *TINY, "--no-report"]
    science, logging, taken = talk(
        [*run, "--learning-rate", "0.01", "--out", tmp_path / "mine"],
        [*run, "--log-every", "3", "--out", tmp_path / "mine"],
        [*run, "--out", tmp_path / "foreign"],
    )
    assert (science.code, logging.code, taken.code) == (0, 0, 5)
    assert len(list((tmp_path / "mine").iterdir())) == 2
    assert "compiling" not in logging.err
    assert "holds notes.txt" in taken.err
    assert "choose another place" in taken.err
    assert files(foreign) == before
    assert all(status(path)["state"] == "finished" for path in (tmp_path / "mine").iterdir())
