"""The measure of every claim says of hand-set learners what it said when its verdicts were given."""

import numpy as np
import pytest

from tests.conftest import rotate
from tests.frozen import measures, tables
from tests.frozen.tables import MISSING, VANISHED

TABLE = tables.read(measures.TABLE)
KEYS = measures.keys()
MOVED = (
    "{key}: says {now} of the same learners of which it said {then}: the verdicts that it gave are of another "
    "quantity. A mended measure declares a higher `version`, has verdicts of its own and a line in CHANGELOG; then run "
    f"`{tables.ADD}`"
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "measure" in metafunc.fixturenames:
        metafunc.parametrize("measure", rotate(metafunc.config, tuple(KEYS), 7))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("arrays")


def test_a_measure_says_of_known_learners_what_it_said(measure, place):
    now = measures.value(measure, place)
    if measure in measures.ROUNDING:
        (part,) = now
        assert 0 <= np.max(part["values"]) < measures.ROUNDING[measure]
        return
    assert measure in TABLE, f"{measure} {MISSING}"
    then = TABLE[measure]["parts"]
    assert measures.agree(then, now), MOVED.format(key=measure, then=then, now=now)


def test_every_measure_has_its_values():
    wanted = {key for key in KEYS if key not in measures.ROUNDING}
    assert not wanted - set(TABLE), f"{sorted(wanted - set(TABLE))} {MISSING}"
    gone = {key.partition("@")[0] for key in TABLE} - {key.partition("@")[0] for key in wanted}
    assert not gone, f"{sorted(gone)} {VANISHED}"


def test_the_values_could_be_otherwise():
    """No measure says 0 or 1 of all these learners, as it might of any."""
    said = {key: np.concatenate([np.ravel(part["values"]) for part in TABLE[key]["parts"]]) for key in TABLE}
    assert not [key for key, values in said.items() if np.isin(values, (0, 1)).all()]
