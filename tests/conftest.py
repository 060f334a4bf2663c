"""What every test runs under: strict dtypes and ranks, warnings as errors, executed annotations, two CPU devices.

`pytest` runs what changed since the commit in `tests/last_full` touches, a fixed core, and a share that turns with the
number of commits (`tests/selection`). `--since REF` asks for another commit, `--share N` repeats the share that the
header names, `--full` runs all. Files that are named run whole, with a share of the members of their registries.
"""

import dataclasses
import gc
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401 (the hook below finds the checker among loaded modules)
from tests.compiling import FAST
from tests.selection import Selection, changes, durations, record, select

# Tests compile far longer than they run. Flags are read when the backend starts; those given come last and win.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=2 {FAST} {os.environ.get('XLA_FLAGS', '')}"

install_import_hook(["function_classes", "icl"], "tests.typecheck.typechecked")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / "icl-tests-compilation-cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

pytest.register_assert_rewrite("tests.harness")

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# Traced programs are many objects that live as long as their process: to look for cycles among them took a tenth of it.
gc.set_threshold(50_000, 20, 20)

# Members of one registry whose contracts run in one run, where there are many.
MEMBERS = 5
# Maps of memory above which a test process forgets its compiled programs.
MAPS = int(os.environ.get("ICL_TEST_MAPS", 25_000))

ROOT = Path(__file__).parent.parent
SELECTION = pytest.StashKey[Selection]()
RECORD = pytest.StashKey[record.Record]()
# Test file -> processor time of its reports so far.
COSTS: dict[str, float] = defaultdict(float)
# Processor time of this process when the last report was made.
SPENT = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run everything; when green, tests/last_full names the commit")
    parser.addoption("--since", metavar="REF", help="run what changed since this commit touches")
    parser.addoption("--share", type=int, metavar="N", help="which share of files and members runs without --full")
    parser.addoption("--measure", action="store_true", help="write into tests/durations.json what each file took")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")
    # Two test runs that fill the shared cache at once may meet a half-written entry; JAX then just compiles.
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache:UserWarning")
    # xdist would begin with the files of most tests, not with those that take longest.
    config.option.loadscopereorder = False
    config.stash[SPENT] = durations.spent()
    if hasattr(config, "workerinput"):
        config.stash[SELECTION] = Selection(**config.workerinput["selection"])
        return
    config.stash[SELECTION] = selection(config)
    config.stash[RECORD] = record.Record(ROOT, config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Workers do what the first process chose."""
    node.workerinput["selection"] = dataclasses.asdict(node.config.stash[SELECTION])


def selection(config: pytest.Config) -> Selection:
    """What runs: everything of the files that were named, or what a change touches."""
    if config.getoption("--full"):
        return Selection(0, why="everything")
    try:
        found = select(ROOT, since=config.getoption("--since"), share=config.getoption("--share"))
    except changes.Unknown as error:
        raise pytest.UsageError(f"--since: {error}") from error
    return dataclasses.replace(found, files=None, left=()) if config.option.file_or_dir else found


def pytest_report_header(config: pytest.Config) -> str:
    return "selection: " + config.stash[SELECTION].header()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash[SELECTION].left_out(names=config.get_verbosity() > 0):
        terminalreporter.write_line(line)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out files that were not chosen. Nobody imports them then."""
    files = config.stash[SELECTION].files
    if files is None or not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    return None if collection_path.relative_to(ROOT).as_posix() in files else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A worker takes a file at a time: the dearest first, or the last keeps one worker busy alone."""
    costs = durations.read(ROOT / durations.TABLE)
    place = lambda item: item.nodeid.partition("::")[0]  # noqa: E731
    items.sort(key=lambda item: (-costs.get(place(item), durations.UNKNOWN), place(item)))


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[SPENT] = durations.spent()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Says with every report which processor time it took."""
    report = yield
    now = durations.spent()
    report.processor, item.config.stash[SPENT] = now - item.config.stash[SPENT], now
    return report


def pytest_runtest_logreport(report: Any) -> None:
    COSTS[report.nodeid.partition("::")[0]] += getattr(report, "processor", 0.0)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What is left goes with the process: pytest would search all of it for cycles at the end."""
    if (kept := session.config.stash.get(RECORD, None)) is not None:
        kept.write(COSTS, exitstatus)
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    """Every compiled program maps memory, and Linux allows a process 65,530 maps: beyond them the compiler crashes. A
    worker that has run many files forgets its programs; the cache on disk has them still."""
    yield
    make_room()


def make_room() -> None:
    """Forgets compiled programs where there are too many."""
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MAPS:
        jax.clear_caches()


def rotate(
    config: pytest.Config, members: tuple[Any, ...], size: int = MEMBERS, names: Callable[[Any], set[str]] | None = None
) -> tuple[Any, ...]:
    """The members whose contracts run now: about `size`, or a third where that is less, and those that changed.

    `names` says by which registered names a member is known: by default the parts of the strings in it.
    """
    if config.getoption("--full") or len(members) < 6:
        return members
    chosen = config.stash[SELECTION]
    shares = max(3, round(len(members) / size))
    turn = set(range(chosen.share % shares, len(members), shares))
    changed = {*chosen.members, *chosen.modules}
    return tuple(m for i, m in enumerate(members) if i in turn or changed & (names or words)(m))


def words(member: Any) -> set[str]:
    """The parts of the strings in a member: of "batch/markov", of ("markov", 3)."""
    strings = [part for part in (member if isinstance(member, tuple) else (member,)) if isinstance(part, str)]
    return {word for text in strings for word in re.split("/", text)}
