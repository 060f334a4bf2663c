"""`python -m tests.frozen.write_runs [COMMIT [FOLDER]]`: trains the runs of `tests.frozen.recipes` with the code of a
commit, checked out beside this one, and packs them.

What says where they were written (host, system, paths) is removed, and the sealed files are sealed again.
"""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icl.runs.strict_json import seal
from tests.frozen import recipes

ROOT = Path(__file__).parents[2]
PICTURES = (".png", ".pdf")


def write(
    commit: str = recipes.COMMIT, folder: Path = recipes.FOLDER, names: Sequence[str] = tuple(recipes.RECIPES)
) -> list[Path]:
    """The archives written. An archive that is there is left alone: runs of that commit exist once."""
    made = []
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", "-q", source, commit], check=True)
        try:
            for name in names:
                target = recipes.archive_of(name, folder)
                if not target.exists():
                    train(name, recipes.RECIPES[name], source, Path(place))
                    made.append(pack(Path(place) / name, target, place))
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", source], check=True)
    return made


def train(name: str, recipe: recipes.Recipe, source: Path, place: Path) -> None:
    """Whole, and once more with Ctrl-C."""
    whole, parts = place / name / "whole", place / name / "interrupted"
    before = [recipes.job(recipe.before, root) for root in (whole, parts) if recipe.before]
    report = [recipes.job(recipe.show, whole)]
    jobs = [*before, recipes.job(recipe.words, whole), *report, recipes.job(recipe.words, parts, recipes.STOP)]
    said = recipes.drive(jobs, source, place / "cache")
    codes = [code for code, _, _ in said]
    if codes != [0] * (len(jobs) - 1) + [130]:
        raise RuntimeError(f"{name}: exit codes {codes}\n" + "\n".join(err for _, _, err in said))


def pack(folder: Path, target: Path, place: str) -> Path:
    """A folder of runs as an archive of fixed owner, time and order, without pictures and without this machine."""
    written = recipes.here() | {"commit": recipes.COMMIT}
    files = {"written.json": json.dumps(written, indent=1).encode()}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix not in PICTURES and path.name != "lock":
            content = path.read_bytes()
            files[str(path.relative_to(folder))] = scrubbed(content, place) if path.name == "manifest.json" else content
    for name, content in files.items():
        if place.encode() in content or str(ROOT).encode() in content:
            raise RuntimeError(f"{name} names a path of this machine")
    with tarfile.open(target, "w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return target


def scrubbed(manifest: bytes, place: str) -> bytes:
    """A manifest without host, system and paths, sealed."""
    fields: dict[str, Any] = json.loads(manifest)
    del fields["checksum"]
    words = [Path(fields["command"][0]).name, *fields["command"][1:]]
    fields["command"] = ["runs" if word.startswith(place) else word for word in words]
    fields["machine"] |= {"host": "", "system": ""}
    return seal(fields)


if __name__ == "__main__":
    for archive in write(*sys.argv[1:2], *map(Path, sys.argv[2:3])):
        print(f"{archive.name}: {archive.stat().st_size} bytes")
