"""Frozen tables: everything that a user's runs, scripts and files rely on, as it was when it was first written down.

Each table is a JSON file that maps a key to an entry. `python -m tests.frozen.write` adds the entries that are missing,
and only those: an entry that is there is never changed. What a failure means, and what is allowed, stands in the
messages of the tests and in the first lines of the file that computes the table.
"""
