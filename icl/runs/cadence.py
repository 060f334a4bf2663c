"""At which steps a checkpoint is kept: every n steps, or at m steps spaced evenly in the logarithm."""

import dataclasses
import functools


@dataclasses.dataclass(frozen=True)
class Cadence:
    """A pure function of the absolute step and the total number of steps.

    `every` n keeps n, 2n, 3n, ...; `logarithmic` m keeps min(m, total) different steps from 1 to total, near
    total^(i / (m - 1)) for i = 0..m-1. Both together keep the union. Step 0 is never in it, since the configuration
    alone gives the initial state; the state at the end is stored by whoever trains, whatever the cadence.
    """

    every: int | None = None
    logarithmic: int | None = None

    @staticmethod
    def parse(text: str | int) -> "Cadence":
        """`500`, `log:40`, `100,log:40` or `none`. Raises ValueError."""
        given = str(text).strip()
        if given == "none":
            return Cadence()
        found: dict[str, int] = {}
        for part in given.split(","):
            kind, _, number = part.strip().rpartition(":")
            field = {"": "every", "log": "logarithmic"}.get(kind)
            whole = number.isascii() and number.isdecimal() and len(number) < 19  # int() refuses thousands of digits
            if field is None or field in found or not whole or int(number) < 1:
                raise ValueError(f"expected steps such as 500, log:40, 100,log:40 or none, got {given[:80]!r}")
            found[field] = int(number)
        return Cadence(**found)

    def __str__(self) -> str:
        parts = [str(self.every)] if self.every else []
        return ",".join(parts + ([f"log:{self.logarithmic}"] if self.logarithmic else [])) or "none"

    def due(self, step: int, total: int) -> bool:
        if not 0 < step <= total:
            return False
        if self.every is not None and step % self.every == 0:
            return True
        return self.logarithmic is not None and step in _spaced(self.logarithmic, total)

    def steps(self, total: int) -> tuple[int, ...]:
        """All of them, in order."""
        found = set(range(self.every, total + 1, self.every)) if self.every else set()
        return tuple(sorted(found | (_spaced(self.logarithmic, total) if self.logarithmic else set())))


@functools.lru_cache(maxsize=64)
def _spaced(count: int, total: int) -> frozenset[int]:
    count = min(count, total)
    steps: list[int] = []
    for i in range(count):
        ideal = round(total ** (i / (count - 1))) if count > 1 else total
        # Where rounding would repeat a step the next one is taken; the curve is convex, so this never passes total.
        steps.append(max(ideal, steps[-1] + 1) if steps else ideal)
    return frozenset(steps)
