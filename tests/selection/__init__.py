"""Which tests run: those that a change touches, a fixed core, and a share that turns with the number of commits.

Plain Python without jax, and without the modules under test: the repository is read, not imported. One commit selects
the same tests on every day, on every machine and in every worker.
"""

from tests.selection.choose import Selection as Selection
from tests.selection.choose import select as select
