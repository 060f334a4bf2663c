"""`python -m tests.frozen.write`: adds to the frozen tables what they lack. Never changes an entry."""

import os

from tests.compiling import FAST
from tests.frozen import tables


def main() -> None:
    # As the tests compile; read when JAX starts.
    os.environ.setdefault("XLA_FLAGS", FAST)
    from tests.frozen import identities, leaves, measures, names, numbers

    for module in (identities, leaves, measures, names, numbers):
        new = tables.add(module.TABLE, module.entries(tables.read(module.TABLE)))
        print(f"{module.TABLE}.json: {len(new)} new" + "".join(f"\n  {key}" for key in new[:40]))


if __name__ == "__main__":
    main()
