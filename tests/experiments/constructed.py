"""An experiment without training: two claims that hold, each of which notes that it was measured.

The environment says where notes go (NOTES), and which claim kills the process while it is measured (KILLED_AT).
"""

import os
import signal

from experiments import Measured, exact
from experiments.base import Experiment, Measure
from experiments.papers import read

PAPER = "von-oswald-2022"


def _note(claim: str) -> None:
    if os.environ.get("KILLED_AT") == claim:
        os.kill(os.getpid(), signal.SIGKILL)
    with open(os.environ["NOTES"], "a", encoding="utf-8") as file:
        file.write(claim + "\n")


def _equality(runs, scale) -> Measured:
    _note("construction-k-steps")
    return Measured(exact("difference", [[1e-12, 2e-12]], ("K = 1", "K = 2"), seeded=False))


def _loss(runs, scale) -> Measured:
    _note("one-layer-loss")
    assert set(runs) == {"one-layer"}
    return Measured(exact("loss", [1.0, 0.99, 1.01, 1.0, 1.0]))


MEASURES = {
    "one-layer-loss": Measure(_loss, needs=("one-layer",)),
    "construction-k-steps": Measure(_equality),
}

EXPERIMENT = Experiment(
    name="constructed",
    paper=PAPER,
    question="Are results kept?",
    scales={"cpu": lambda: {"one-layer": [], "other": []}},
    measures=MEASURES,
    unmeasured={"cpu": {claim: "nothing is trained here" for claim in read(PAPER) if claim not in MEASURES}},
)
