"""From what changed to what runs.

Always: a fixed core (`core.CORE`), and a share of all other files that turns with the number of commits. Then, while
two workers have time: the owners of what changed (tests that changed, and those named after a file that did), the
contracts of changed members, and all other tests that depend on it, the nearest first.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.selection import changes, durations
from tests.selection.core import CORE
from tests.selection.graph import Graph

LAST_FULL = "tests/last_full"
# Seconds that the suite may take on two workers; what workers need before their first test and after the last; and how
# far the sum of what was measured may be from what a machine needs.
BUDGET, START, SLACK = 480, 30, 1.1
WORKERS = 2
# Seconds of one turn of the files outside the core.
TURN = 100
# A file on which more members depend than this belongs to no family: its members turn, and what imports it runs.
FAMILY = 8
# One member takes this part of what the turning share of a contract takes.
PART = 1 / 3


@dataclass(frozen=True)
class Selection:
    """`files` that run (None: all), `members` whose contracts run beside those of the share, `modules` that changed,
    what there was no time for, and in words how this came about."""

    share: int
    files: tuple[str, ...] | None = None
    members: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    members_left: tuple[str, ...] = ()
    seconds: int = 0
    of: int = 0
    why: str = ""

    def header(self) -> str:
        """What runs, and how to run it again."""
        if not self.of:
            return self.why
        if self.files is None:
            return f"{self.why}; --share {self.share} of the members of registries, --full runs all"
        run = f"{len(self.files)} of {self.of} test files, about {self.seconds} s on {WORKERS} workers"
        return f"{self.why}: {run}; --share {self.share}; --full runs all"

    def left_out(self, names: bool) -> list[str]:
        """What the change touches and there was no time for."""
        kinds = (("test files", self.left), ("contracts of", self.members_left))
        return [
            f"left out for time, {kind}: {len(what)}" + (" " + ", ".join(what) if names else " (-v names them)")
            for kind, what in kinds
            if what
        ]


@dataclass
class _Budget:
    """What was taken, file by file, while there is time."""

    costs: dict[str, float]
    taken: dict[str, float] = field(default_factory=dict)

    def cost(self, path: str) -> float:
        return self.costs.get(path, durations.UNKNOWN)

    def seconds(self, more: dict[str, float] | None = None) -> float:
        return START + SLACK * durations.wall(self._with(more or {}).values(), WORKERS)

    def take(self, more: dict[str, float], always: bool = False) -> bool:
        """Adds seconds to files; False where there is no time for them."""
        if not always and self.seconds(more) > BUDGET:
            return False
        self.taken = self._with(more)
        return True

    def _with(self, more: dict[str, float]) -> dict[str, float]:
        return self.taken | {path: self.taken.get(path, 0.0) + cost for path, cost in more.items()}

    def fill(self, paths: Sequence[str]) -> list[str]:
        """Adds files in this order, each where there is time for it, and returns the others."""
        return [p for p in paths if p not in self.taken and not self.take({p: self.cost(p)})]


def select(root: Path, *, since: str | None = None, share: int | None = None, core: Sequence[str] = CORE) -> Selection:
    """What runs at this commit. Raises changes.Unknown where `since` is given and git does not know it."""
    unknown = None
    try:
        share = changes.commits(root) if share is None else share
        reference = since or (root / LAST_FULL).read_text(encoding="utf-8").strip()
        changed = changes.changed(root, reference)
    except (changes.Unknown, OSError) as error:
        if since:
            raise
        unknown, changed, reference = error, (), ""
    share = share or 0
    graph = Graph(root, changed)
    budget = _Budget(durations.read(root / durations.TABLE))
    for path in (*(path for path in core if path in graph.tests), *turn(graph.tests, core, budget.costs, share)):
        budget.take({path: budget.cost(path)}, always=True)
    if unknown:
        why = f"what changed is not known ({unknown}), so only a core and a share"
        return _said(graph, budget, share, why=why)

    near = graph.distances(changed)
    members = changed_members(graph, changed)
    contracts = {path for name in members for path in contracts_of(graph, graph.homes[name])}
    first = owners(graph, changed) | contracts
    left = budget.fill(sorted(first, key=lambda path: (budget.cost(path), path)))
    members_left = []
    for name in members:
        their = [path for path in contracts_of(graph, graph.homes[name]) if path in budget.taken]
        if not budget.take({path: PART * budget.cost(path) for path in their}):
            members_left.append(name)
    others = [path for path in graph.tests if path in near and path not in first]
    left += budget.fill(sorted(others, key=lambda path: (near[path], budget.cost(path), path)))
    kept = tuple(name for name in members if name not in members_left)
    modules = tuple(module for module, path in graph.modules.items() if path in changed)
    when = "" if since else f", the commit of {changes.day(root, reference)} at which everything last ran"
    why = f"{len(changed)} files changed since {reference[:12]}{when}"
    return _said(
        graph, budget, share, members=kept, modules=modules, left=tuple(left), members_left=tuple(members_left), why=why
    )


def _said(graph: Graph, budget: _Budget, share: int, **rest) -> Selection:
    return Selection(share, tuple(sorted(budget.taken)), seconds=round(budget.seconds()), of=len(graph.tests), **rest)


def turn(tests: Sequence[str], core: Sequence[str], costs: dict[str, float], share: int) -> list[str]:
    """The files outside the core whose turn it is: parts of about equal cost, each of which has its turn."""
    cost = {path: costs.get(path, durations.UNKNOWN) for path in tests if path not in set(core)}
    parts = [[] for _ in range(max(math.ceil(sum(cost.values()) / TURN), 1))]
    for path in sorted(cost, key=lambda path: (-cost[path], path)):
        min(parts, key=lambda part: sum(cost[p] for p in part)).append(path)
    return sorted(parts[share % len(parts)])


def owners(graph: Graph, changed: Sequence[str]) -> set[str]:
    """Tests that changed, and those named after a file that did, or after its folder."""
    tests = set(graph.tests)
    found = tests & set(changed)
    for path in changed:
        folder, _, file = path.rpartition("/")
        stem = file.rpartition(".")[0]
        names = {f"test_{stem}.py", f"test_{stem}s.py", f"test_{folder.rpartition('/')[2]}.py"}
        found |= {f"{place}/{name}" for place in mirrors(path) for name in names} & tests
    return found


def mirrors(path: str) -> list[str]:
    """Folders of tests where those of a file may stand, the nearest first: tests/models/mixers, tests/models, tests."""
    parts = path.split("/")[:-1]
    inside = parts[1:] if parts[:1] in (["icl"], ["tests"]) else parts
    return ["/".join(["tests", *inside[:n]]) for n in range(len(inside), -1, -1)]


def contracts_of(graph: Graph, homes: set[str]) -> list[str]:
    """Tests that take a share of the members which stand where these do."""
    places = {place for home in homes for place in mirrors(home)} - {"tests"}
    return [path for path in graph.tests if graph.sources[path].turns and path.rpartition("/")[0] in places]


def changed_members(graph: Graph, changed: Sequence[str]) -> list[str]:
    """Registered names whose file changed, then those whose file depends on a changed one that few depend on."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, homes in graph.homes.items():
        for home in homes:
            names[home].append(name)
    own = sorted(name for home in set(names) & set(changed) for name in names[home])
    family = set()
    for path in changed:
        using = set(graph.distances([path])) & set(names)
        if len(using) <= FAMILY:
            family |= {name for home in using for name in names[home]}
    return [*dict.fromkeys(own), *sorted(family - set(own))]
