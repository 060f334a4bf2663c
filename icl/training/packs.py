"""Which runs train as one program, and in which place of it: recorded with a run, and found again when it goes on.

The last digits of a run depend on the program it is part of: how many members it has, how many devices share them, and
how the batch of a single member is split. A run that is resumed therefore returns to its place in a program of the
same kind, whoever of the others is still there: finished, diverged or busy members leave their places empty.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from icl.config import Config
from icl.runs.directory import RunDirectory
from icl.runs.strict_json import dumps
from icl.training.keys import program_key
from icl.training.spreading import split, usual_packing

MOST = 128
"""Members of one program: each holds open files, and a program as long as the sweep gains nothing more."""


class Pack(NamedTuple):
    """One program with `places` members on `devices` devices, and the runs (as indices) at some of its places."""

    places: int
    devices: int
    mode: str
    name: str
    seats: dict[int, int]
    known: bool = True

    def record(self, place: int, config: Config) -> dict[str, Any]:
        """What the manifest of the run at a place says."""
        return {
            "pack": self.name,
            "members": self.places,
            "place": place,
            "devices": self.devices,
            "mode": self.mode,
            "split": split(config, self.places, self.devices),
        }


def new(configs: Sequence[Config], indices: Sequence[int]) -> list[Pack]:
    """Packs of runs that have none: configurations that share a program and its length, at most MOST together."""
    groups: dict[Any, list[int]] = {}
    for index in indices:
        config = configs[index]
        key = program_key(config), config.training.steps, config.training.log_every
        groups.setdefault(key, []).append(index)
    parts = [group[first : first + MOST] for group in groups.values() for first in range(0, len(group), MOST)]
    return [_fresh(configs, part) for part in parts]


def _fresh(configs: Sequence[Config], indices: Sequence[int]) -> Pack:
    name = _name([configs[i].identity for i in indices])
    return Pack(len(indices), jax.local_device_count(), usual_packing(), name, dict(enumerate(indices)))


def torn(configs: Sequence[Config], made: Mapping[int, dict[str, Any]], missing: Sequence[int]) -> list[Pack]:
    """Packs whose making was cut short, with their missing runs alone: `made` are the records of runs that exist. A
    pack is named by all of its runs, so what is missing belongs to it if together they give that name."""
    begun: dict[str, tuple[Pack, list[int]]] = {}
    for index, packing in made.items():
        _, pack = _read(packing)
        if pack is not None:
            begun.setdefault(pack.name, (pack, []))[1].append(index)
    left, found = list(missing), []
    for pack, indices in begun.values():
        if len(indices) < pack.places and left:
            whole = {other.name: other for other in new(configs, sorted([*indices, *left]))}.get(pack.name)
            if whole is not None:
                found.append(pack._replace(seats={place: i for place, i in whole.seats.items() if i in left}))
                left = [index for index in left if index not in whole.seats.values()]
    return found


def recorded(configs: Sequence[Config], directories: Sequence[RunDirectory], indices: Sequence[int]) -> list[Pack]:
    """The packs that unfinished runs belong to, by what their manifests say. Runs that say nothing, or nothing that
    fits this program, are packed anew (`known` is then False)."""
    found: dict[str, Pack] = {}
    unknown = []
    for index in indices:
        place, pack = _read(directories[index].packing)
        if pack is None:
            unknown.append(index)
            continue
        config = configs[index]
        # A changed interval of the log (not science) would give the members of one program different rows.
        key = dumps([pack[:4], program_key(config), config.training.steps, config.training.log_every])
        pack = found.setdefault(key, pack)
        if place in pack.seats:
            unknown.append(index)
        else:
            pack.seats[place] = index
    return [*found.values(), *(pack._replace(known=False) for pack in new(configs, unknown))]


def continued(packing: dict[str, Any], steps: int) -> dict[str, Any] | None:
    """The record of a longer run of a recorded one: members of a pack that are extended alike stay together."""
    _, pack = _read(packing)
    return None if pack is None else {**packing, "pack": _name([pack.name, steps])}


def _read(packing: dict[str, Any]) -> tuple[int, Pack | None]:
    numbers = [packing.get(name) for name in ("members", "place", "devices")]
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        return 0, None
    members, place, devices = (int(str(n)) for n in numbers)
    mode, name = packing.get("mode"), packing.get("pack")
    if not (0 <= place < members <= MOST and devices >= 1 and mode in ("map", "vmap") and isinstance(name, str)):
        return 0, None
    return place, Pack(members, devices, str(mode), name, {})


def _name(words: Sequence[Any]) -> str:
    return hashlib.sha256(dumps(list(words)).encode()).hexdigest()[:10]
