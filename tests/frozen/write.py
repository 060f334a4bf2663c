"""`python -m tests.frozen.write`: adds to the frozen tables what they lack. Never changes an entry."""

from tests.frozen import tables


def main() -> None:
    from tests.frozen import identities, leaves

    for module in (identities, leaves):
        new = tables.add(module.TABLE, module.entries(tables.read(module.TABLE)))
        print(f"{module.TABLE}.json: {len(new)} new" + "".join(f"\n  {key}" for key in new[:40]))


if __name__ == "__main__":
    main()
