"""No identity moves, no default changes unseen, no member and no field disappears."""

import dataclasses

import pytest

from function_classes import setting
from function_classes.fields import Fields
from icl import presets
from icl.config import Config
from icl.references import Reference
from icl.training.optimizers import Adam
from tests.frozen import identities, tables, variants
from tests.frozen.members import PARTS, every, key_of_part
from tests.frozen.tables import MISSING, VANISHED

TABLE = identities.read()
MEMBERS = every()
SETTINGS = identities.settings()

MOVED = (
    "the identity of {key} moved: every run that was configured so would be trained again. A field that is new needs "
    "`absent=` its old behavior, a default that changes `absent=` the old default. Where the same fields now give "
    "other data or another function, raise the version of what changed and run `" + tables.ADD + "`. An entry of the "
    "table is never changed"
)
CHANGED = (
    "the default of {key} was {then}, is {now}: the same command now asks for another run, and an identity leaves "
    "out fields at their defaults, so that one identity would name two things. Give the field `absent=` its old "
    "default, then run `" + tables.ADD + "`"
)


@pytest.mark.parametrize("key", MEMBERS)
def test_a_member_is_what_it_was(key):
    check(key, MEMBERS[key], TABLE)


def check(key: str, cls: type[Fields], table: dict) -> None:
    """Everything that the table says of one member."""
    assert key in table, f"{key} {MISSING}"
    own = {field.name: field for field in dataclasses.fields(cls)}
    gone = [name for name in fields_of(key, table) if name not in own]
    assert not gone, f"{key}: field {', '.join(gone)} {VANISHED}"
    for name, field in own.items():
        place = f"{key}/{name}"
        assert place in table, f"{place} {MISSING}"
        known, now = identities.defaults_of(place, table), variants.defaults(key, cls)[name]
        assert identities.same_default(known[-1], now, table), CHANGED.format(key=place, then=known[-1], now=now)
        assert len(known) == 1 or identities.keeps_old(field, known[0]), CHANGED.format(
            key=place, then=known[0], now=now
        )
    for place in (key, *(f"{key}/{name}" for name in own), f"{key}/*"):
        if place in table:
            entry = table[place]
            made = identities.rebuilt(place, cls, entry, table)
            with identities.as_of(made, entry.get("versions", {})):
                assert identities.hashed(made) == entry["identity"], MOVED.format(key=place)


def fields_of(key: str, table: dict) -> list[str]:
    """The fields that a table knows of a member."""
    found = (place.removeprefix(f"{key}/") for place in table if place.startswith(f"{key}/"))
    return [name for name in found if name != "*" and "?" not in name]


@pytest.mark.parametrize("key", MEMBERS)
def test_a_version_only_rises_and_its_rise_is_written_down(key):
    first = TABLE[key]["version"]
    now = variants.make(MEMBERS[key], TABLE[key]["dump"]).version
    known = {first} | {TABLE[place]["version"] for place in TABLE if place.startswith(f"{key}@")}
    assert now >= max(known), f"{key}: its version was {max(known)}, is {now}: runs of the two would be taken for one"
    assert now in known, f"{key}: version {now} {MISSING}. All runs of it are then trained again"


def test_no_member_has_vanished():
    found = [key for key in TABLE if key.count("/") == 1 and "@" not in key and key not in MEMBERS]
    assert not [key for key in found if not key.startswith("config/")], f"{found} {VANISHED}"


@pytest.mark.parametrize("key", SETTINGS)
def test_a_whole_configuration_is_found_by_the_same_settings(key):
    assert key in TABLE, f"{key} {MISSING}"
    entry = TABLE[key]
    tree = TABLE["config/base"]["tree"] | entry["tree"]
    config = Config.from_tree(tree)
    with identities.as_of(config, entry.get("versions", {})):
        assert config.identity == entry["identity"], MOVED.format(key=key)
    now = identities.create(entry["settings"]).dump()
    for section, then in tree.items():
        assert identities.same_default(then, now[section], TABLE), CHANGED.format(
            key=f"{section} of {entry['settings']}", then=then, now=now[section]
        )


def test_no_settings_are_refused_that_were_accepted():
    gone = [key for key in TABLE if key.startswith("config/") and key not in SETTINGS]
    assert not gone, f"{gone} {VANISHED}"
    assert {key.removeprefix("config/preset/") for key in TABLE if key.startswith("config/preset/")} == {
        *presets.PRESETS
    }


def test_every_part_of_a_configuration_is_in_the_table():
    """Whatever stands in a configuration and is no choice has a key, or its fields would be unguarded."""
    found = {type(part) for part in identities.inside(identities.create({})) if part.registry is None}
    assert {key_of_part(part) for part in found} == {key_of_part(part) for part in PARTS}


class Guarded(Fields):
    """Something whose fields are changed below, as a careless hand might."""

    size: int = setting(3)
    optimizer: Adam = setting(Adam())
    teacher: Reference | None = setting(None)


class OtherDefault(Guarded):
    size: int = setting(4)


class DefaultKept(Guarded):
    size: int = setting(4, absent=3)


class FieldUnknown(Guarded):
    depth: float = setting(2.0)


class FieldWithAnotherPast(Guarded):
    depth: float = setting(2.0, absent=1.0)


class FieldWithItsPast(Guarded):
    depth: float = setting(1.0, absent=1.0)


class NoScience(Guarded):
    size: int = setting(3, science=False)


class Raised(Guarded):
    version = 2


KEY = "part/Guarded"
for changed in (OtherDefault, DefaultKept, FieldUnknown, FieldWithAnotherPast, FieldWithItsPast, NoScience, Raised):
    changed.__name__ = "Guarded"


def test_the_guard_sees_what_a_careless_hand_does():
    table = identities.member(KEY, Guarded, {})
    check(KEY, Guarded, table)
    for cls, said in ((OtherDefault, "default of"), (FieldUnknown, "depth is not in"), (NoScience, "moved")):
        with pytest.raises(AssertionError, match=said):
            check(KEY, cls, table)
    with pytest.raises(AssertionError, match="gone"):
        check(KEY, Fields, table)


@pytest.mark.parametrize("cls", [OtherDefault, FieldWithAnotherPast, NoScience])
def test_the_writer_does_not_silence_it(cls):
    """The third: configurations that were written without the field get its default, not what its absence means."""
    table = identities.member(KEY, Guarded, {})
    with pytest.raises(AssertionError):
        check(KEY, cls, table | identities.member(KEY, cls, table))


@pytest.mark.parametrize("cls", [DefaultKept, FieldUnknown, FieldWithItsPast, Raised])
def test_the_guard_lets_through_what_is_allowed(cls):
    table = identities.member(KEY, Guarded, {})
    added = identities.member(KEY, cls, table)
    assert added
    assert not set(added) & set(table)
    check(KEY, cls, table | added)


def test_the_writer_adds_and_never_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    assert tables.add("t", {"a": [1, 2.5]}) == ["a"]
    before = (tmp_path / "t.json").read_text()
    assert tables.add("t", {"a": [3]}) == []
    assert (tmp_path / "t.json").read_text() == before
    assert tables.add("t", {"a": [3], "b": None}) == ["b"]
    assert tables.read("t") == {"a": [1, 2.5], "b": None}
