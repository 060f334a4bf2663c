"""What every registered member is at its defaults, and its identity there and with fields off their defaults.

An identity leaves out fields at their defaults, so a default that changes would hide in it; here it cannot. Keys:

    kind/name              "dump" at the defaults, "identity" of it, "versions" of what takes part, where not 1
    kind/name/field        "default"; "values", one off it (and what that needs); "identity" with these, the rest as in
                           `dump`
    kind/name/*            the same with as many fields off their defaults as are valid together
    kind/name/field?N      the N-th new "default" of a field: allowed where `absent=` says the old one
    kind/name@N            version N of the member: the same fields give other data or another function since then
    config/...             "settings" of `Config.create`, the "tree" it makes (sections as in config/base are left out),
                           and the run's "identity"
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

from function_classes import plain
from function_classes.fields import UNSTATED, Fields, Rule
from icl import presets
from icl.config import Config
from icl.models import ModelConfig
from icl.models.heads import HeadConfig
from icl.models.mixers import MixerConfig
from icl.training.optimizers import Optimizer
from icl.training.schedules import Schedule
from tests.frozen import tables, variants
from tests.frozen.members import FAMILIES, PARTS, every, inside, key_of, key_of_part, names

TABLE = "identities"
Table = dict[str, Any]


def hashed(value: Fields) -> str:
    """Of a configuration without its rate: no entry states one, and those of 5f54f58 were other runs than the same
    settings of `Config.create`. They are one run now, and an old one goes on under the identity that it has here."""
    if isinstance(value, Config):
        return value.identity_as({"training": {"learning_rate": None}})
    return hashlib.sha256(plain.canonical(plain.identity(value)).encode()).hexdigest()[:16]


def versions(value: Fields) -> dict[str, int]:
    """Of everything in an object whose version is not 1."""
    return {key_of(part): part.version for part in inside(value) if part.version != 1}


@contextlib.contextmanager
def as_of(value: Fields, then: dict[str, int]) -> Iterator[None]:
    """Everything in an object at the versions that it had when an entry was written."""
    changed = {type(p): then.get(key_of(p), 1) for p in inside(value) if p.version != then.get(key_of(p), 1)}
    before = {cls: cls.__dict__.get("version") for cls in changed}
    try:
        for cls, version in changed.items():
            cls.version = version
        yield
    finally:
        for cls, version in before.items():
            if version is None:
                del cls.version
            else:
                cls.version = version


def member(key: str, cls: type[Fields], table: Table) -> Table:
    """The entries of one member that a table lacks; a field that is there counts with its first default."""
    usual = table[key]["dump"] if key in table else variants.defaults(key, cls)
    found: Table = {}
    single = []
    if key not in table:
        found[key] = _entry(cls, usual, {}, dump=usual)
    elif (now := variants.make(cls, usual).version) != table[key]["version"] and f"{key}@{now}" not in table:
        found[f"{key}@{now}"] = {"version": now}
    for field in dataclasses.fields(cls):
        place = f"{key}/{field.name}"
        if place not in table:
            values = variants.off_default(cls, usual, field.name)
            default = variants.defaults(key, cls)[field.name]
            found[place] = _entry(cls, usual, values, default=default, values=values)
        single.append((table | found)[place]["values"])
        found |= _changed_default(place, field, key, cls, table)
    if f"{key}/*" not in table and single:
        values = variants.all_off(cls, usual, single)
        found[f"{key}/*"] = _entry(cls, usual, values, values=values)
    return found


def _entry(cls: type[Fields], usual: Table, changed: Table, **more: Any) -> Table:
    made = variants.make(cls, usual | changed)
    entry: Table = more | {"identity": hashed(made), "versions": versions(made)}
    if "dump" in more:
        entry["version"] = made.version
    return {name: value for name, value in entry.items() if name != "versions" or value}


def defaults_of(place: str, table: Table) -> list[Any]:
    """Every default that a field has had."""
    later = sorted((key for key in table if key.startswith(f"{place}?")), key=lambda key: int(key.split("?")[1]))
    return [table[key]["default"] for key in (place, *later)]


def _changed_default(place: str, field: dataclasses.Field, key: str, cls: type[Fields], table: Table) -> Table:
    if place not in table:
        return {}
    known, now = defaults_of(place, table), variants.defaults(key, cls)[field.name]
    if same_default(known[-1], now, table) or not keeps_old(field, known[0]):
        return {}
    return {f"{place}?{len(known)}": {"default": now}}


def keeps_old(field: dataclasses.Field, first: Any) -> bool:
    """Whether `absent=` says that a configuration without the field means its first default."""
    rule: Rule = field.metadata["rule"]
    return rule.absent is not UNSTATED and plain.dump(rule.absent) == first


def same_default(then: Any, now: Any, table: Table, kinds: tuple[str, ...] = ()) -> bool:
    """Whether a default is what it was. A nested member may have fields that came later, and fields whose default has
    changed as is allowed."""
    if isinstance(then, list) and isinstance(now, list):
        return len(then) == len(now) and all(same_default(a, b, table) for a, b in zip(then, now, strict=True))
    if not isinstance(then, dict) or not isinstance(now, dict):
        return then == now and isinstance(then, bool) == isinstance(now, bool)
    places = [f"{family.registry.kind}/{then.get('name')}" for family in FAMILIES] + [key_of_part(p) for p in PARTS]
    for name, value in then.items():
        if name not in now:
            return False
        if same_default(value, now[name], table):
            continue
        known = [defaults_of(f"{p}/{name}", table) for p in places if f"{p}/{name}" in table]
        if not any(value in some and now[name] == some[-1] for some in known):
            return False
    return True


def rebuilt(key: str, cls: type[Fields], entry: Table, table: Table) -> Fields:
    """The object that an entry speaks of, from plain values alone, as a run's config.json holds them."""
    owner = key if "dump" in entry else key.rpartition("/")[0]
    return variants.make(cls, table[owner]["dump"] | entry.get("values", {}))


def settings() -> dict[str, dict[str, Any]]:
    """Whole configurations: each class, model, mixer, head, optimizer, schedule and preset in turn."""
    given = {
        "class": {name: {"task": name} for name in names(FAMILIES[0])},
        "model": {name: {"model": name} for name in names(ModelConfig) if name != "given"},
        "mixer": {name: {"model.mixer": name} for name in names(MixerConfig)},
        "head": {name: {"model.head": name} for name in names(HeadConfig)},
        "optimizer": {name: {"training.optimizer": name} for name in names(Optimizer)},
        "schedule": {name: {"training.schedule": name} for name in names(Schedule)},
        "preset": {name: {"preset": name} for name in presets.PRESETS},
        "steps": {"60": {"training.steps": 60}},
    }
    given["class"]["shifted-inputs"] = {"task": {"name": "shifted-inputs", "base": "linear-regression"}}
    given["mixer"]["merged-linear"] |= {"model": "attention-only"}
    given["model"]["own module"] = {"model": {"name": "given", "source": "Net@0123456789"}}
    found = {f"config/{kind}/{name}": words for kind, some in given.items() for name, words in some.items()}
    return {"config/base": {}} | found


def create(words: dict[str, Any]) -> Config:
    """The configuration that a user's settings make."""
    rest = {"model": words["model"]} if "model" in words else {}
    rest |= {name: value for name, value in words.items() if name not in ("task", "preset")}
    task = words.get("task", None if "preset" in words else "linear-regression")
    return Config.create(task, preset=words.get("preset"), **rest)


def whole(table: Table) -> Table:
    """The entries of whole configurations that a table lacks."""
    base = table["config/base"]["tree"] if "config/base" in table else create({}).dump()
    found = {}
    for key, words in settings().items():
        if key not in table:
            config = create(words)
            tree = {n: v for n, v in config.dump().items() if key == "config/base" or v != base[n]}
            found[key] = {"settings": words, "tree": tree, "identity": config.identity}
            found[key] |= {"versions": versions(config)} if versions(config) else {}
    return found


def entries(table: Table) -> Table:
    """Everything that a table lacks."""
    found: Table = {}
    for key, cls in every().items():
        found |= member(key, cls, table)
    return found | whole(table)


def read() -> Table:
    return tables.read(TABLE)
