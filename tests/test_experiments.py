"""Claims are judged by a criterion that is given; figures draw what experiments trained."""

import numpy as np
import pytest

import experiments
import figures
from experiments import Claim, judge
from icl.runs.errors import NotFound


def claim(values) -> Claim:
    return Claim("s", "here", "q", 1.0, lambda runs: values)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([0.5, 0.6, 0.4, 0.5, 0.7], "reproduced"),
        ([1.5, 1.6, 1.4, 1.5, 1.7], "contradicted"),
        ([0.2, 1.8, 0.4, 1.9, 0.9], "inconclusive"),
        ([0.5, 0.6], "out of reach at this scale"),
    ],
)
def test_verdicts(values, word):
    assert judge(claim(values), "cpu", []).word == word


def test_median_over_seeds_and_every_seed_is_kept():
    verdict = judge(claim([3.0, 1.0, 2.0, 9.0, 0.0]), "cpu", [])
    assert verdict.measured.value == 2.0
    assert verdict.values == (3.0, 1.0, 2.0, 9.0, 0.0)


def test_smoke_scale_runs_and_the_figure_draws_it(tmp_path):
    with pytest.raises(NotFound, match="icl reproduce default-run --scale smoke"):
        figures.draw("distance-to-bayes", scale="smoke", runs=tmp_path, save=tmp_path / "f")
    (verdict,) = experiments.reproduce("default-run", scale="smoke", runs=tmp_path)
    assert verdict.word == "out of reach at this scale"
    assert np.all(np.isfinite(verdict.values))
    paths = figures.draw("distance-to-bayes", scale="smoke", runs=tmp_path, save=tmp_path / "f")
    assert {p.suffix for p in paths} == {".png", ".pdf", ".txt"}
    assert "interval" in (tmp_path / "f" / "distance-to-bayes.txt").read_text()
