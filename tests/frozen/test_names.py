"""What is printed can be typed: names of Python, commands with their options, claims, experiments, figures."""

import contextlib

import pytest

import figures
from experiments import papers
from icl.console import catalog
from tests.frozen import identities, names, tables
from tests.frozen.tables import MISSING, VANISHED

TABLE = tables.read(names.TABLE)
LINES = names.lines()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "experiment" in metafunc.fixturenames:
        left_out = () if metafunc.config.getoption("--full") else names.SLOW
        metafunc.parametrize("experiment", [key for key in of("experiment") if not key.endswith(left_out)])


def of(kind: str) -> list[str]:
    return [key for key in TABLE if key.startswith(f"{kind}/")]


def test_everything_that_is_printed_is_in_the_table():
    now = {*names.words(), *names.commands(), *names.claims(), *names.scales(), *(f"line/{line}" for line in LINES)}
    assert not now - set(TABLE), f"{sorted(now - set(TABLE))} {MISSING}"


def test_names_resolve():
    gone = [key for key in (*of("python"), *of("method")) if not names.resolves(key)]
    assert not gone, f"{gone} {VANISHED}"


def test_a_name_that_is_not_there_does_not_resolve():
    for key in ("python/icl:trian", "python/icl:Config.made", "method/icl:Run.modle", "method/probes:ProbeResult.plat"):
        assert not names.resolves(key)


def test_commands_keep_their_options():
    now = names.commands()
    gone = {key: sorted(set(TABLE[key]) - set(now.get(key, ()))) for key in of("command")}
    assert not any(gone.values()), f"{ {key: words for key, words in gone.items() if words} } {VANISHED}"


def test_figures_and_kinds_are_there():
    gone = {key.removeprefix("figure/") for key in of("figure")} - set(figures.describe())
    gone |= {key.removeprefix("kind/") for key in of("kind")} - set(catalog._registries())
    assert not gone, f"{sorted(gone)} {VANISHED}"


@pytest.mark.parametrize("key", of("line"))
def test_printed_lines_are_understood_and_ask_for_the_same_runs(key):
    line = key.removeprefix("line/")
    names.understood(line)
    if "identities" in TABLE[key]:
        same(names.asked(line), TABLE[key]["identities"], TABLE[key]["versions"], key)


def same(configs, then, versions, key) -> None:
    with contextlib.ExitStack() as stack:
        for config in configs:
            stack.enter_context(identities.as_of(config, versions))
        now = [config.identity for config in configs]
    assert now == then, f"{key} asks for other runs than it did: what was trained for it is not found any more"


def test_claims_stand_as_they_were_written():
    """A verdict is on the words of a claim. To say it otherwise is another claim, with another id."""
    now = names.claims()
    for key in of("claim"):
        assert now.get(key) == TABLE[key], f"{key}: {VANISHED}"
    assert {key.split("/")[1] for key in of("claim")} <= set(papers.names())


def test_experiments_and_their_scales_are_there():
    assert not set(of("experiment")) - set(names.scales()), VANISHED


def test_experiments_ask_for_the_same_runs(experiment):
    then, now = TABLE[experiment], names.runs_of(experiment)
    gone = set(then["runs"]) - set(now["runs"])
    assert not gone, f"{experiment}: {sorted(gone)} {VANISHED}"
    risen = {name for name, number in now["versions"].items() if number > then["versions"].get(name, 1)}
    moved = [name for name, identity in then["runs"].items() if now["runs"][name] != identity]
    assert risen or not moved, f"{experiment}: {moved} are other runs than they were, and what was trained is not found"
