"""What surrounds a command and would make it compute something else: other packages of our names, settings of JAX."""

import importlib.util
from pathlib import Path

import icl

PACKAGES = ("function_classes", "icl", "probes", "experiments", "figures")


def check_packages() -> None:
    """Raises ImportError where a file or folder of the user's is imported in place of a package of ours, which happens
    with `python -m icl.cli` in a folder that has, say, a `probes.py`. Imports nothing."""
    home = Path(icl.__file__).parent.parent
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        if origin is not None and not Path(origin).is_relative_to(home / name):
            raise ImportError(
                f"{origin} hides the package {name} of icl: rename it, or use the command icl from another folder"
            )
