"""Where runs live: the directories of configurations, existing or new, and which of them have steps to go."""

import contextlib
import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from function_classes import sources
from icl.config import Config
from icl.runs import checkpoints, provenance
from icl.runs.directory import RunDirectory, State
from icl.runs.errors import AlreadyARun, Busy, NotARun
from icl.training import packs


def unfinished(configs: Sequence[Config], directories: Sequence[RunDirectory]) -> list[int]:
    """Indices of runs that have steps to go, each directory once. A run whose last checkpoint has been damaged since it
    finished is unfinished again."""
    found: dict[Path, int] = {}
    for index, (config, directory) in enumerate(zip(configs, directories, strict=True)):
        state = directory.status.state
        if state is State.DIVERGED or (state is State.FINISHED and _stands_at(directory) == config.training.steps):
            continue
        found.setdefault(directory.path, index)
    return list(found.values())


def _stands_at(directory: RunDirectory) -> int:
    """The step of the newest checkpoint that is intact: where training will go on."""
    for step, path in reversed(checkpoints.list_checkpoints(directory.checkpoints).items()):
        with contextlib.suppress(NotARun):
            checkpoints.verify(path)
            return step
    return 0


def find(
    configs: Sequence[Config], root: Path, name: str | None, fresh: bool
) -> tuple[list[RunDirectory], list[RunDirectory]]:
    """The directory of every configuration, existing or new, and which of them are new. New ones are packed together:
    what their manifests say of it holds for as long as they train, also where the making of a pack was cut short. A run
    that another process writes to keeps its alias and its place; whoever trains leaves it out."""
    found: dict[int, RunDirectory] = {}
    for index, config in enumerate(configs):
        path = RunDirectory.place(root, config.dump(), config.identity)
        if not (path / "status.json").exists():
            continue
        directory = RunDirectory.open(path)
        try:
            if fresh:
                with directory.lock():
                    shutil.move(path, _aside(path))
            else:
                found[index] = directory if name in (None, directory.name) else directory.called(name)
        except Busy:
            found[index] = directory
    created = []
    first = {config.identity: index for index, config in reversed(list(enumerate(configs)))}
    missing = [i for i, c in enumerate(configs) if i not in found and first[c.identity] == i]
    torn = packs.torn(configs, {i: found[i].packing for i in found}, missing)
    rest = set(missing) - {i for pack in torn for i in pack.seats.values()}
    for pack in [*torn, *packs.new(configs, sorted(rest))]:
        for place, index in pack.seats.items():
            found[index] = create(configs[index], root, name, pack.record(place, configs[index]))
            created.append(found[index])
    return [found.get(i, found[first[c.identity]]) for i, c in enumerate(configs)], created


def create(config: Config, root: Path, name: str | None, packing: Mapping[str, Any]) -> RunDirectory:
    tree = config.dump()
    plugins = [{"name": name, **origin._asdict()} for name, origin in config.origins.items()]
    extra = {"plugins": plugins} | ({"source": "unknown"} if sources.is_unknown(tree) else {})
    manifest = provenance.manifest(tree, config.identity, packing=packing, extra=extra)
    try:
        return RunDirectory.create(root, tree, config.identity, manifest, name)
    except AlreadyARun:  # made by another process since we looked; its lock decides
        return RunDirectory.open(RunDirectory.place(root, tree, config.identity))


def _aside(path: Path) -> Path:
    """Where an earlier run goes when the same configuration is trained anew: nothing is ever deleted."""
    for number in itertools.count(1):
        candidate = path.parent / "replaced" / f"{path.name}-{number}"
        if not candidate.exists():
            candidate.parent.mkdir(parents=True, exist_ok=True)
            return candidate
    raise AssertionError("unreachable")
