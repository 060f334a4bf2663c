"""What a run leaves for those after it: the commit at which everything passed, and what each file took."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.selection import changes, durations
from tests.selection.choose import LAST_FULL
from tests.selection.graph import Graph

# Options that leave out tests of the files that run.
NARROW = ("keyword", "markexpr", "deselect", "lf", "ignore", "ignore_glob", "collectonly", "stepwise")


class Record:
    """Made before the first test and written after the last."""

    def __init__(self, root: Path, config: Any):
        options = config.option
        self.root, self.measure = root, bool(config.getoption("--measure"))
        self.full = bool(config.getoption("--full"))
        self.narrow = any(getattr(options, name, None) for name in NARROW) or any(
            "::" in str(name) for name in options.file_or_dir
        )
        self.whole = self.full and not self.narrow and not options.file_or_dir
        self.commit = changes.head(root) if self.whole and changes.clean(root) else None

    def write(self, costs: Mapping[str, float], exitstatus: int) -> None:
        """Nothing where a test failed. The commit: where all tests ran on it, and nothing else was there before or
        after. What files took: of files that ran with a share of their members, and where it was asked for or all ran.
        """
        if exitstatus or self.narrow:
            return
        if self.commit and changes.clean(self.root) and changes.head(self.root) == self.commit:
            (self.root / LAST_FULL).write_text(self.commit + "\n", encoding="utf-8")
        if self.measure or self.whole:
            graph = Graph(self.root)
            turning = {path for path in graph.tests if graph.sources[path].turns} if self.full else set()
            alike = {path: cost for path, cost in costs.items() if path not in turning}
            table = durations.read(self.root / durations.TABLE)
            durations.write(self.root / durations.TABLE, durations.merged(table, alike, graph.tests))
