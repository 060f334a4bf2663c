"""A room imports only rooms to its left; the entry hall is imported by nobody; importing does no work."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("function_classes", "icl", "probes", "experiments", "figures")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Every module a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_to_their_left(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for path in (p for p in FILES if p.relative_to(ROOT).parts[0] == room):
        if path == ROOT / "icl" / "cli.py":
            continue
        rooms = {name.split(".")[0] for name in imported(path)} & set(ROOMS)
        assert rooms <= allowed, f"{path.relative_to(ROOT)} imports {sorted(rooms - allowed)}"


def test_experiments_neither_train_nor_draw():
    files = [path for path in (ROOT / "experiments").glob("*.py") if "\nEXPERIMENT = " in path.read_text("utf-8")]
    assert files
    for path in files:
        found = {name for name in imported(path) if name.startswith(("matplotlib", "icl.plots", "icl.style"))}
        assert not found | {name for name in imported(path) if name.startswith("icl.training")}, path


def test_what_learns_knows_nothing_of_its_training():
    """A stored learner can be read wherever its files are; and one file alone depends on optax."""
    for folder in ("models", "layouts", "references", "runs"):
        for path in (ROOT / "icl" / folder).rglob("*.py"):
            assert not {name for name in imported(path) if name.startswith("icl.training")}, path
    using = {path.stem for path in FILES if any(name.split(".")[0] == "optax" for name in imported(path))}
    assert using == {"directions", "optimizers"}  # settings name its types, for those who read them


def test_nobody_imports_the_entry_hall():
    for path in FILES:
        assert "icl.cli" not in imported(path), path


def test_function_classes_need_only_numerics():
    """Data sets that come with an extra are imported where they are loaded, which `imported` sees all the same."""
    extras = {"projection.py": {"sklearn"}}
    for path in (ROOT / "function_classes").rglob("*.py"):
        others = {"jax", "numpy", "equinox", "jaxtyping"} | extras.get(path.name, set())
        outside = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - others
        assert outside <= {"function_classes"}, f"{path.name} imports {sorted(outside)}"


def test_no_pickle_yaml_or_eval():
    for path in FILES:
        assert not imported(path) & {"pickle", "yaml", "cloudpickle", "dill"}, path
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = {n.func.id for n in calls if isinstance(n.func, ast.Name)}
        assert not names & {"eval", "exec"}, path


def test_files_hold_one_idea():
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 300}
    assert not long


def test_importing_and_helping_start_no_backend(tmp_path):
    code = "import sys, icl, icl.cli; assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=tmp_path)
    assert not list(tmp_path.iterdir())
