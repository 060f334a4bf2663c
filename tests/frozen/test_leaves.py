"""Checkpoints of old runs fit today's models, and what probes and papers name inside a model is still there."""

import importlib.metadata

import pytest

from tests.frozen import cases, leaves, tables
from tests.frozen.tables import MISSING, VANISHED

TABLE = tables.read(leaves.TABLE)
SETTINGS = cases.settings()
RENAMED = (
    "{key}: leaves of its checkpoints are not what they were, so that no run that was trained before can be opened: "
    "gone or of another shape {gone}, new {new}. No attribute of a model or of an optimizer's state is renamed, and "
    "what a new field adds to the weights is there only where the field is off its default"
)


SITES = (
    "{key}: sites gone or of another shape: {gone}. Probes, papers and notebooks name them: keep them. A new site is "
    "no harm"
)


@pytest.mark.parametrize("key", SETTINGS)
def test_checkpoints_of_old_runs_fit_and_sites_keep_their_names(key):
    assert key in TABLE, f"{key} {MISSING}"
    config = cases.config(TABLE[key]["settings"])
    then, now = TABLE[key]["leaves"], leaves.leaves(config)
    if importlib.metadata.version("optax") != TABLE[key]["optax"]:
        # Names below `optimizer` are those of optax's own states.
        then, now = ({n: s for n, s in one.items() if not n.startswith("optimizer.")} for one in (then, now))
    gone, new = sorted(set(then.items()) - set(now.items())), sorted(set(now.items()) - set(then.items()))
    assert gone == new == [], RENAMED.format(key=key, gone=gone, new=new)
    gone = sorted(set(TABLE[key]["sites"].items()) - set(leaves.sites(config).items()))
    assert not gone, SITES.format(key=key, gone=gone)


def test_nothing_has_vanished():
    assert not set(TABLE) - set(SETTINGS), f"{sorted(set(TABLE) - set(SETTINGS))} {VANISHED}"
