"""What every test runs under: strict dtypes and ranks, warnings as errors, executed annotations, two CPU devices.

Contract tests run over registries. By default a share of the members runs that rotates from day to day: a third, or
about five where there are many (all of them with fewer than six). Where the whole suite is asked for, a sixth of
the files of `FAMILIES` runs a day too: closed forms of a family, which nothing but a change of that family breaks.
`--full` runs all, `--day N` repeats the share of the day that the report header names.
"""

import datetime
import gc
import os
import tempfile
from pathlib import Path

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401 (the hook below finds the checker among loaded modules)
from tests.compiling import FAST

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

TESTS = Path(__file__).parent
# Folders with a file for every family, and the files there that always run.
FAMILIES = {
    "function_classes": {
        "test_contract.py",
        "test_fields.py",
        "test_golden.py",
        "test_least_values.py",
        "test_linear.py",
        "test_markov.py",
        "test_shifts.py",
    },
    "references": {"test_contract.py", "test_closed_forms.py"},
    "models": {"test_mixers.py", "test_learner.py", "test_looped.py", "test_variants.py", "test_heads.py"},
    "probes": {"test_probes.py", "test_page.py"},
}
# Files that run for a minute or so.
LONG = ("test_commands.py", "test_session.py", "test_readme.py", "test_notebook.py", "test_identify.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the contract tests of every registered member")
    parser.addoption("--day", type=int, help="which share of the members runs without --full")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")
    # Two test runs that fill the shared cache at once may meet a half-written entry; JAX then just compiles.
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache:UserWarning")


def pytest_report_header(config: pytest.Config) -> str:
    if config.getoption("--full"):
        return "contracts and families: all"
    return f"contracts, and families where the whole suite runs: a share, --day {current_day(config)}; --full runs all"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the families of other days, unless files were named. Nobody imports them then."""
    folder, name = collection_path.parent, collection_path.name
    if folder.parent != TESTS or folder.name not in FAMILIES or name in FAMILIES[folder.name]:
        return None
    if config.getoption("--full") or config.option.file_or_dir or not name.startswith("test_"):
        return None
    files = sorted(path.name for path in folder.glob("test_*.py") if path.name not in FAMILIES[folder.name])
    return True if name not in files[current_day(config) % 6 :: 6] else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A worker takes a file at a time: the long ones first, or the last keeps one worker busy alone."""
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_sessionfinish() -> None:
    """What is left goes with the process: pytest would search all of it for cycles at the end."""
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


def current_day(config: pytest.Config) -> int:
    """The day that chooses a share of the members: after as many days as there are shares, every member has run."""
    chosen = config.getoption("--day")
    return datetime.date.today().toordinal() if chosen is None else chosen


def rotate(config: pytest.Config, members: tuple[str, ...], size: int = MEMBERS) -> tuple[str, ...]:
    """The members whose contracts run now: about `size`, or a third where that is less."""
    if config.getoption("--full") or len(members) < 6:
        return members
    shares = max(3, round(len(members) / size))
    return members[current_day(config) % shares :: shares]
