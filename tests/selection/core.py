"""Tests that run at every commit, whatever changed: what was promised to users, and one road through everything."""

CORE = (
    # What was promised: identities, names, numbers and old runs.
    "tests/frozen/test_identities.py",
    "tests/frozen/test_leaves.py",
    "tests/frozen/test_measures.py",
    "tests/frozen/test_names.py",
    "tests/frozen/test_numbers.py",
    "tests/frozen/test_plugins.py",
    "tests/frozen/test_runs.py",
    # The house, its words and its own tools.
    "tests/selection/test_choose.py",
    "tests/selection/test_record.py",
    "tests/test_harness.py",
    "tests/test_house.py",
    "tests/test_readme.py",
    # From the shell to the report; and a run that goes on is the run that was never stopped, bit for bit.
    "tests/console/test_first_run.py",
    "tests/training/test_session.py",
    # What every member promises, for the share whose turn it is.
    "tests/function_classes/test_contract.py",
    "tests/function_classes/test_fields.py",
    "tests/function_classes/test_golden.py",
    "tests/models/test_mixers.py",
    "tests/references/test_contract.py",
)
